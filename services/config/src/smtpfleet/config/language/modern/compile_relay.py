"""`action NAME relay …` to a RelayAction.

One URL is compiled to host, port and TLS; a table of them stays a table. Options that OpenSMTPD looks up only when mail is sent (pki, ca)
are looked up here. Called by compile_action.py. OpenSMTPD: dispatcher_remote in parse.y.
"""

from dataclasses import dataclass

from smtpfleet.config.language.compile_action import compile_helo, compile_sender, warn_of_names_without_source
from smtpfleet.config.language.compile_pki import use_pki
from smtpfleet.config.language.compile_table import ADDRNAME, CREDENTIALS, SOURCE, Service
from smtpfleet.config.language.compile_tls import check_ciphers, check_protocols
from smtpfleet.config.language.modern.compile_filter import use_filters
from smtpfleet.config.language.modern.options import names_of, options_by_name, table_of, text_of, word_of
from smtpfleet.config.language.modern.relay_url import hint_for_url
from smtpfleet.config.language.modern.table_use import RELAYHOST, RELAYHOST_BY_DOMAIN, use_modern_table
from smtpfleet.config.language.modern.tree import ActionStatement, Option
from smtpfleet.config.language.relay_url import refuse_url
from smtpfleet.config.language.scope import Scope
from smtpfleet.config.language.tree import InlineList, Word
from smtpfleet.contracts.configuration import RelayAction
from smtpfleet.mail.relay_url import BadRelayUrl, RelayUrl, parse_modern_relay

_SUFFIX = " for this dispatcher"
_PLACES = {
    "host": ("host", "host mapping"),
    "domain": ("host", "host mapping"),
    "src": ("src", "source mapping"),
    "helo-src": ("helo-src", "helo-source mapping"),
    "auth": ("auth", "auth mapping"),
}
_Options = dict[str, Option]


@dataclass(frozen=True, slots=True)
class _Route:
    """Where mail goes: one URL, or a table of them, or neither for the MX of the destination."""

    url: RelayUrl | None = None
    hosts: str = ""
    domains: str = ""


def compile_relay(scope: Scope, statement: ActionStatement) -> RelayAction:
    """The relay with every option it was given."""
    options = options_by_name(scope, statement.options, _PLACES, _SUFFIX)
    _check_order(scope, statement)
    if "backup" in options and ("host" in options or "domain" in options):
        later = max((options[name] for name in ("backup", "host", "domain") if name in options), key=_place)
        scope.diagnostics.error(later.span, "backup and host are mutually exclusive")
    if "srs" in options and not scope.modern.srs_key:
        message = "an srs key is required for srs to be specified in an action"
        scope.diagnostics.error(options["srs"].span, message, "declare it above with srs key")
    route = _route(scope, options)
    tls, verify = _tls(scope, options, route)
    _check_entries(scope, options, route)
    _check_tls_options(scope, options, route, tls, is_verifying=verify)
    if "helo-src" in options and "src" not in options:
        warn_of_names_without_source(scope, options["helo-src"].span, "helo-src", "src")
    filters = names_of(options, "filter")
    return RelayAction(
        host=route.url.host if route.url else "",
        port=route.url.port if route.url else 0,
        tls=tls,
        verify=verify,
        auth=_auth(scope, options, route),
        source=_table(scope, options, "src", SOURCE, "source"),
        helo=compile_helo(scope, word_of(options, "helo")),
        pki=use_pki(scope, pki) if (pki := word_of(options, "pki")) else "",
        backup=_backup(scope, options),
        mail_from=_mail_from(scope, options),
        helo_source=_table(scope, options, "helo-src", ADDRNAME, "helo-source"),
        ca=use_ca(scope, ca) if (ca := word_of(options, "ca")) else "",
        hosts=route.hosts,
        domains=route.domains,
        is_lmtp=route.url is not None and route.url.scheme.is_lmtp,
        is_srs="srs" in options,
        ciphers=text_of(options, "ciphers"),
        protocols=text_of(options, "protocols"),
        filters=use_filters(scope, filters) if filters else (),
    )


def use_ca(scope: Scope, name: Word) -> str:
    """The name of a ca, whether it is declared or not (reported)."""
    key = name.text.lower()
    if key not in scope.modern.cas:
        hint = scope.diagnostics.suggest(key, scope.modern.cas) or "a ca is declared before it is used"
        scope.diagnostics.error(name.span, f"ca name not found: {name.text}", hint)
    return key


def _place(option: Option) -> tuple[int, int, int]:
    return option.span.source.order, option.span.line, option.span.column


def _check_order(scope: Scope, statement: ActionStatement) -> None:
    """OpenSMTPD takes credentials only after the hosts they are for."""
    has_host = False
    for option in statement.options:
        has_host |= option.name in ("host", "domain")
        if option.name == "auth" and not has_host:
            message = "auth may not be specified without host on a dispatcher"
            scope.diagnostics.error(option.span, message, "write host or domain before it")
            return


def _table(scope: Scope, options: _Options, name: str, service: Service, words: str) -> str:
    use = table_of(options, name)
    return use_modern_table(scope, use, service, words) if use is not None else ""


def _route(scope: Scope, options: _Options) -> _Route:
    use = table_of(options, "host")
    if isinstance(use, InlineList) and len(use.items) == 1:
        text, span = use.items[0].text, use.items[0].span
        url = parse_modern_relay(text)
        if isinstance(url, BadRelayUrl):
            refuse_url(scope.diagnostics, span, text, hint_for_url(text, url))
            return _Route()
        return _Route(url=url)
    return _Route(
        hosts=_table(scope, options, "host", RELAYHOST, "host"),
        domains=_table(scope, options, "domain", RELAYHOST_BY_DOMAIN, "host"),
    )


def _tls(scope: Scope, options: _Options, route: _Route) -> tuple[str, bool]:
    """The mode, and whether certificates must verify: always where TLS is demanded, unless the operator says otherwise."""
    tls = route.url.scheme.tls if route.url else "opportunistic"
    demand = options.get("tls")
    if demand is not None and tls == "none":
        scheme = "lmtp://" if route.url and route.url.scheme.is_lmtp else "smtp+notls://"
        scope.diagnostics.error(demand.span, f'"tls" contradicts {scheme}', "mail could never be sent")
    if demand is not None and tls == "opportunistic":
        tls = "require"
    is_lax = demand is not None and demand.detail == "no-verify"
    has_demand = tls in ("require", "smtps") or bool(route.hosts or route.domains)
    return tls, has_demand and not is_lax


def _check_entries(scope: Scope, options: _Options, route: _Route) -> None:
    """Entries of a table of relays that this action cannot use; those of a database are looked at when mail comes (walk)."""
    declared = scope.tables.get(route.hosts or route.domains)
    if declared is None:
        return
    for key, value in declared.table.entries.items():
        text = key if route.hosts else value
        url, span = parse_modern_relay(text), declared.entry_spans.get(key)
        if isinstance(url, BadRelayUrl) or span is None:
            continue
        if "tls" in options and url.scheme.tls == "none":
            hint = f"the tls of line {options['tls'].span.line} could not be had"
            scope.diagnostics.error(span, f'"{text}" contradicts "tls"', hint)
        if url.label and "auth" not in options:
            message = f'the label "{url.label}" needs auth, which the action lacks'
            scope.diagnostics.warning(span, message, "recipients are refused for now until it has auth <credentials>")


def _check_tls_options(scope: Scope, options: _Options, route: _Route, tls: str, *, is_verifying: bool) -> None:
    """What cannot be spoken, and options of TLS that are silently without effect."""
    check_ciphers(scope.diagnostics, word_of(options, "ciphers"))
    check_protocols(scope.diagnostics, word_of(options, "protocols"))
    if "ca" in options and not is_verifying:
        hint = "only with tls, which may not say no-verify, or a URL with smtp+tls:// or smtps:// is anybody verified"
        scope.diagnostics.warning(options["ca"].span, "ca has no effect here", hint)
    if tls == "none" and route.url is not None:
        for name in ("pki", "ciphers", "protocols"):
            if name in options:
                scope.diagnostics.warning(
                    options[name].span, f"{name} has no effect here", "the URL is one without TLS"
                )


def _auth(scope: Scope, options: _Options, route: _Route) -> str:
    """`table:label` where there is one URL, else the table: each URL brings its label."""
    table = _table(scope, options, "auth", CREDENTIALS, "auth")
    label = route.url.label if route.url else ""
    host = options.get("host")
    if label and "auth" not in options and host is not None:
        message = f'the label "{label}" has no effect without auth'
        scope.diagnostics.warning(host.span, message, "add auth <credentials>")
    if not table or route.url is None:
        return table
    if not label:
        hint = "only a URL with a label authenticates, as in smtp+tls://label@host"
        scope.diagnostics.warning(options["auth"].span, "auth has no effect here", hint)
        return ""
    return f"{table}:{label}"


def _backup(scope: Scope, options: _Options) -> str:
    """The name under which this host is a backup MX: the server name unless it is given."""
    if "backup" not in options:
        return ""
    return text_of(options, "backup").lower() or scope.host.server_name


def _mail_from(scope: Scope, options: _Options) -> str:
    """`user@domain` or `@domain`; `user` alone gets the server name. Empty means as it is."""
    word = word_of(options, "mail-from")
    if word is None or not word.text:
        return ""
    return compile_sender(scope, word, f"invalid mail-from: {word.text}")
