"""The action of a rule: `deliver to …` to method and target, `relay …` to a RelayAction.

Refuses what OpenSMTPD refuses. Names tables and hosts, never asks them. Called by compile_rule.py. OpenSMTPD: deliver_action and relay
in parse.y.
"""

import re

from smtpfleet.config.language.compile_pki import use_pki
from smtpfleet.config.language.compile_table import ADDRNAME, CREDENTIALS, SOURCE, Service, use_table
from smtpfleet.config.language.entry_checks import is_host_name
from smtpfleet.config.language.relay_url import SCHEMES, BadUrl, RelayUrl, parse_relay_url, refuse_url
from smtpfleet.config.language.scope import Scope
from smtpfleet.config.language.source import Span
from smtpfleet.config.language.tree import (
    Deliver,
    InlineList,
    InlineMapping,
    Relay,
    RelayOption,
    TableName,
    TableUse,
    Word,
)
from smtpfleet.contracts.configuration import RelayAction
from smtpfleet.mail.formats import format_fault

DEFAULT_MAILDIR = "~/Maildir"
FORMAT_HINT = "sender, rcpt, dest, each also with .user or .domain, user.username, user.directory; lowercase, uppercase, strip, raw"
_SENDER = re.compile(r"[^@\x00-\x20\x7f\s<>]+|[^@\x00-\x20\x7f\s<>]*@[^@\x00-\x20\x7f\s<>]+")
"""What else an address may be is the peer's to say; blanks, control characters and brackets could not even be said to him."""


def compile_deliver(scope: Scope, deliver: Deliver) -> tuple[str, str]:
    """Method and target."""
    return deliver.method, compile_target(scope, deliver.method, deliver.argument)


def compile_target(scope: Scope, method: str, argument: Word | None, *, is_modern: bool = False) -> str:
    """Where a method of local delivery leads: a path, a destination or a command; "" for mbox."""
    target = argument.text if argument else ""
    if argument is not None:
        _check_target(scope, method, argument, is_modern=is_modern)
    return DEFAULT_MAILDIR if method == "maildir" and not target else target


def _check_target(scope: Scope, method: str, argument: Word, *, is_modern: bool) -> None:
    """What mail could never be delivered to: OpenSMTPD takes most of it and finds out with every message."""
    target = argument.text
    if method == "lmtp" and ":" not in target and not target.startswith("/"):
        scope.diagnostics.error(argument.span, f"invalid lmtp destination: {target}", "host:port or /path")
    elif method == "mda" and not target.strip():
        scope.diagnostics.error(argument.span, "invalid mda command: it is empty")
    elif method == "maildir" and target.startswith("~") and not target.startswith("~/"):
        scope.diagnostics.error(
            argument.span, f"invalid maildir path: {target}", "a home is ~/, and always the recipient's"
        )
    elif fault := format_fault(target, is_modern=is_modern):
        scope.diagnostics.error(argument.span, f"invalid {method} format: {fault}", FORMAT_HINT)


def compile_relay(scope: Scope, relay: Relay) -> RelayAction:
    """The relay with every option it was given; the last one of each counts."""
    options = {option.name: option for option in relay.options}
    url = _url(scope, relay, options)
    if "hostnames" in options and "source" not in options:
        warn_of_names_without_source(scope, options["hostnames"].span, "hostnames", "source")
    tls = url.scheme.tls if url else "require" if "tls" in options else "opportunistic"
    is_backup = url is not None and url.scheme.is_backup
    return RelayAction(
        host=url.host if url and not is_backup else "",
        port=url.port if url and not is_backup else 0,
        tls=tls,
        verify="verify" in options,
        auth=_auth(scope, options.get("auth"), url),
        source=_table(scope, options.get("source"), SOURCE),
        helo=compile_helo(scope, option.argument) if (option := options.get("hostname")) else "",
        pki=_pki(scope, options.get("pki")),
        # `relay backup NAME` is `relay via backup://NAME` in OpenSMTPD: the MX of the destination, minus those not better than NAME.
        backup=url.host if url and is_backup else _backup(scope, options.get("backup")),
        mail_from=_mail_from(scope, options.get("as")),
        helo_source=_table(scope, options.get("hostnames"), ADDRNAME),
        is_lmtp=url is not None and url.scheme.is_lmtp,
    )


def _url(scope: Scope, relay: Relay, options: dict[str, RelayOption]) -> RelayUrl | None:
    """The parsed URL; None where there is none, or none that is right (reported)."""
    if relay.url is None:
        return None
    url = parse_relay_url(relay.url.text)
    if isinstance(url, BadUrl):
        known = [f"{name}://" for name in SCHEMES if name and name != "backup"]
        suggestion = scope.diagnostics.suggest(f"{url.scheme}://", known) if url.scheme else ""
        hint = f"{url.reason}; {suggestion}" if suggestion else url.reason
        refuse_url(scope.diagnostics, relay.url.span, relay.url.text, hint)
        return None
    if url.scheme.needs_auth and "auth" not in options:
        scope.diagnostics.error(relay.url.span, "error: auth without auth table", "add auth <credentials>")
    elif "verify" in options and url.scheme.tls not in ("require", "smtps", "secure"):
        message = 'cannot "verify" with insecure protocol'
        scope.diagnostics.error(options["verify"].span, message, "use tls://, smtps:// or secure://")
    return url


def _auth(scope: Scope, option: RelayOption | None, url: RelayUrl | None) -> str:
    """`table:label`; "" where the URL does not ask for it, as OpenSMTPD reads the table and never uses it."""
    table = _table(scope, option, CREDENTIALS)
    if option is None or url is None:
        return ""
    if not url.scheme.needs_auth:
        hint = "only URLs with +auth authenticate, as in tls+auth://label@host"
        scope.diagnostics.warning(option.span, "auth has no effect here", hint)
        return ""
    return f"{table}:{url.label}"


def _table(scope: Scope, option: RelayOption | None, service: Service) -> str:
    if option is not None and isinstance(option.argument, TableName | InlineList | InlineMapping):
        return use_table(scope, option.argument, service)
    return ""


def _pki(scope: Scope, option: RelayOption | None) -> str:
    return use_pki(scope, option.argument) if option is not None and isinstance(option.argument, Word) else ""


def _backup(scope: Scope, option: RelayOption | None) -> str:
    """The name under which this host is a backup MX: the server name unless it is given."""
    if option is None:
        return ""
    return option.argument.text.lower() if isinstance(option.argument, Word) else scope.host.server_name


def _mail_from(scope: Scope, option: RelayOption | None) -> str:
    if option is None or not isinstance(option.argument, Word):
        return ""
    return compile_sender(scope, option.argument, f'invalid "as" address: {option.argument.text}')


def compile_helo(scope: Scope, argument: Word | TableUse | None) -> str:
    """Our name in EHLO; one that cannot be said there is reported."""
    if not isinstance(argument, Word):
        return ""
    if not is_host_name(argument.text):
        scope.diagnostics.error(argument.span, f"invalid hostname: {argument.text}", "it is sent to peers as our name")
    return argument.text


def warn_of_names_without_source(scope: Scope, span: Span, names: str, source: str) -> None:
    """Names are found by the address that `source` chooses, not by the one that the kernel will (reference 7.7)."""
    hint = f"a name is found by an address of {source}; without, only by SMTPFLEET_SOURCE_ADDRESS of mta"
    scope.diagnostics.warning(span, f"{names} without {source}", hint)


def compile_sender(scope: Scope, word: Word, message: str) -> str:
    """`user@domain` or `@domain`; `user` alone gets the server name, as OpenSMTPD does. What is none of them is reported as `message`."""
    if not _SENDER.fullmatch(word.text):
        scope.diagnostics.error(word.span, message, "user, @domain or user@domain")
    return word.text if "@" in word.text else f"{word.text}@{scope.host.server_name}"
