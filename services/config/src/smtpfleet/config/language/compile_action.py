"""The action of a rule: `deliver to …` to method and target, `relay …` to a RelayAction.

Refuses what OpenSMTPD refuses, then what is not supported yet. Called by compile_rule.py. OpenSMTPD: deliver_action and relay in
parse.y.
"""

import re

from smtpfleet.config.language.compile_table import SOURCE, use_table
from smtpfleet.config.language.diagnostics import did_you_mean
from smtpfleet.config.language.relay_url import SCHEMES, BadUrl, RelayUrl, parse_relay_url
from smtpfleet.config.language.scope import Scope
from smtpfleet.config.language.source import Span
from smtpfleet.config.language.tree import Deliver, InlineList, InlineMapping, Relay, RelayOption, TableName, Word
from smtpfleet.contracts.configuration import RelayAction

DEFAULT_MAILDIR = "~/Maildir"
_AS = re.compile(r"[^@\s]+|[^@\s]*@[^@\s]+")


def compile_deliver(scope: Scope, deliver: Deliver) -> tuple[str, str]:
    """Method and target."""
    target = deliver.argument.text if deliver.argument else ""
    if deliver.method == "maildir":
        return "maildir", target or DEFAULT_MAILDIR
    if deliver.method == "lmtp" and deliver.argument and ":" not in target and not target.startswith("/"):
        scope.diagnostics.error(deliver.argument.span, f"invalid lmtp destination: {target}", "host:port or /path")
    else:
        scope.not_supported_yet(deliver.span, f'"deliver to {deliver.method}"', "deliver to maildir is")
    return deliver.method, target


def compile_relay(scope: Scope, relay: Relay) -> RelayAction:
    """The relay with every option it was given; the last one of each counts."""
    options = {option.name: option for option in relay.options}
    url = _url(scope, relay, options)
    tls = url.scheme.tls if url else "require" if "tls" in options else "opportunistic"
    return RelayAction(
        host=url.host if url else "",
        port=url.port if url else 0,
        tls=tls,
        verify="verify" in options,
        auth="",
        source=_source(scope, options.get("source")),
        helo=_text(options, "hostname"),
        pki=_pki(scope, options.get("pki")),
        backup=_backup(scope, options.get("backup")),
        mail_from=_mail_from(scope, options.get("as")),
    )


def _url(scope: Scope, relay: Relay, options: dict[str, RelayOption]) -> RelayUrl | None:
    """The parsed URL; None where there is none, or none that is right (reported)."""
    if "hostnames" in options:
        scope.not_supported_yet(options["hostnames"].span, '"hostnames" of relay', "hostname NAME is")
    if relay.url is None:
        return None
    url = parse_relay_url(relay.url.text)
    if isinstance(url, BadUrl):
        known = [f"{name}://" for name in SCHEMES if name and name != "backup"]
        suggestion = did_you_mean(f"{url.scheme}://", known) if url.scheme else ""
        hint = f"{url.reason}; {suggestion}" if suggestion else url.reason
        scope.diagnostics.error(relay.url.span, f"invalid url: {relay.url.text}", hint)
        return None
    if url.scheme.needs_auth and "auth" not in options:
        scope.diagnostics.error(relay.url.span, "error: auth without auth table", "add auth <credentials>")
    elif "verify" in options and url.scheme.tls not in ("require", "smtps", "secure"):
        message = 'cannot "verify" with insecure protocol'
        scope.diagnostics.error(options["verify"].span, message, "use tls://, smtps:// or secure://")
    else:
        _check_support(scope, url, relay.url.span, options)
    return url


def _check_support(scope: Scope, url: RelayUrl, span: Span, options: dict[str, RelayOption]) -> None:
    if url.scheme.is_lmtp:
        scope.not_supported_yet(span, "relay over LMTP")
    elif url.scheme.is_backup:
        scope.not_supported_yet(span, "backup:// as a URL", "write relay backup")
    elif url.scheme.needs_auth:
        scope.not_supported_yet(span, "relay with authentication")
    elif url.scheme.tls == "secure":
        scope.not_supported_yet(span, "secure://", "tls:// (STARTTLS) and smtps:// are")
    elif "auth" in options:  # OpenSMTPD reads it and never uses it
        scope.diagnostics.warning(options["auth"].span, "auth has no effect here", "only URLs with +auth authenticate")


def _text(options: dict[str, RelayOption], name: str) -> str:
    argument = options[name].argument if name in options else None
    return argument.text if isinstance(argument, Word) else ""


def _source(scope: Scope, option: RelayOption | None) -> str:
    if option is not None and isinstance(option.argument, TableName | InlineList | InlineMapping):
        return use_table(scope, option.argument, SOURCE)
    return ""


def _pki(scope: Scope, option: RelayOption | None) -> str:
    if option is None or not isinstance(option.argument, Word):
        return ""
    name = option.argument.text.lower()
    if name not in scope.pkis:
        hint = did_you_mean(name, scope.pkis) or "a pki is declared before it is used"
        scope.diagnostics.error(option.argument.span, f"pki name not found: {option.argument.text}", hint)
    return name


def _backup(scope: Scope, option: RelayOption | None) -> str:
    """The name under which this host is a backup MX: the server name unless it is given."""
    if option is None:
        return ""
    return option.argument.text.lower() if isinstance(option.argument, Word) else scope.host.server_name


def _mail_from(scope: Scope, option: RelayOption | None) -> str:
    """`user@domain` or `@domain`; `user` alone gets the server name, as OpenSMTPD does."""
    if option is None or not isinstance(option.argument, Word):
        return ""
    text = option.argument.text
    if not _AS.fullmatch(text):
        scope.diagnostics.error(option.argument.span, f'invalid "as" address: {text}', "user, @domain or user@domain")
    return text if "@" in text else f"{text}@{scope.host.server_name}"
