"""`listen on` to Listeners: one for every address the name, interface or literal stands for.

Addresses are resolved here and once, on the machine config runs on. TLS and AUTH options are checked as OpenSMTPD does, then refused as
not supported yet. Called by compiler.py. OpenSMTPD: create_listener, interface, host in parse.y.
"""

import ipaddress
import re
import socket

from smtpfleet.config.language.diagnostics import did_you_mean
from smtpfleet.config.language.scope import Scope
from smtpfleet.config.language.tree import ListenOption, ListenStatement, Number, Word
from smtpfleet.contracts.configuration import Listener

SMTP_PORT = 25
PORT_MAX = 65534
"""OpenSMTPD refuses 65535 (parse.y: port)."""
TAG_LIMIT = 31
"""OpenSMTPD MAX_TAG_SIZE without its NUL."""
_SERVICE_PORTS = {"smtp": 25, "smtps": 465, "submission": 587, "submissions": 465}
"""Known without /etc/services, which slim images do not have."""
_TLS_OPTIONS = ("tls", "smtps", "secure", "tls-require")
_NOT_SUPPORTED_YET = (*_TLS_OPTIONS, "auth", "auth-optional", "hostnames", "mask-source")
_HOST_NAME = re.compile(r"[A-Za-z0-9_.-]{1,255}|\[[0-9A-Za-z:.]+\]")


def compile_listen(scope: Scope, statement: ListenStatement) -> None:
    """Adds the listeners of one statement."""
    options = {option.name: option for option in statement.options}  # the last one of each counts
    _check_tls(scope, statement, options)
    for name in _NOT_SUPPORTED_YET:
        if name in options:
            scope.not_supported_yet(options[name].span, f'"{name}" on a listener')
    port = _port(scope, options.get("port"))
    tag, hostname = _word(options, "tag"), _word(options, "hostname")
    if tag is not None and len(tag.text) > TAG_LIMIT:
        scope.diagnostics.error(tag.span, f"tag name too long: {tag.text}", f"at most {TAG_LIMIT} characters")
    if hostname is not None and not _HOST_NAME.fullmatch(hostname.text):
        scope.diagnostics.error(hostname.span, f"invalid hostname: {hostname.text}", "it is sent to peers as our name")
    for address in _addresses(scope, statement.on, options):
        listener = Listener(
            address=address,
            port=port or SMTP_PORT,
            hostname=hostname.text if hostname else scope.host.server_name,
            tag=tag.text if tag else "",
        )
        if port and any((other.address, other.port) == (address, port) for other in scope.listeners):
            scope.diagnostics.error(statement.on.span, f"{address} port {port} is listened on twice")
        else:
            scope.listeners.append(listener)


def _check_tls(scope: Scope, statement: ListenStatement, options: dict[str, ListenOption]) -> None:
    """What OpenSMTPD exits on; the first that applies."""
    has_tls = any(name in options for name in _TLS_OPTIONS)
    auth = options.get("auth") or options.get("auth-optional")
    pki = options.get("pki")
    fault = ""
    if "secure" in options and "port" in options:
        fault = "tls/smtps on same port"
    elif auth and not has_tls:
        fault = "auth requires tls/smtps"
    elif pki and not has_tls:
        fault = "pki requires tls/smtps"
    elif has_tls and not pki:
        fault = "tls/smtps requires pki"
    if fault:
        scope.diagnostics.error(statement.span, f"invalid listen option: {fault}")
    elif pki and isinstance(pki.argument, Word) and pki.argument.text.lower() not in scope.pkis:
        hint = did_you_mean(pki.argument.text, scope.pkis)
        scope.diagnostics.error(pki.argument.span, f"pki name not found: {pki.argument.text}", hint)


def _word(options: dict[str, ListenOption], name: str) -> Word | None:
    argument = options[name].argument if name in options else None
    return argument if isinstance(argument, Word) else None


def _port(scope: Scope, option: ListenOption | None) -> int:
    """The port, or 0 where it is wrong (reported)."""
    if option is None:
        return SMTP_PORT
    match option.argument:
        case Number(value, span):
            if 1 <= value <= PORT_MAX:
                return value
            scope.diagnostics.error(span, f"invalid port: {value}", f"1 to {PORT_MAX}")
        case Word(text, span):
            if text in _SERVICE_PORTS:
                return _SERVICE_PORTS[text]
            try:
                return socket.getservbyname(text, "tcp")
            except (OSError, UnicodeError, ValueError):
                hint = "write a number without quotes" if text.isdigit() else did_you_mean(text, _SERVICE_PORTS)
                scope.diagnostics.error(span, f"invalid port: {text}", hint)
    return 0


def _addresses(scope: Scope, on: Word, options: dict[str, ListenOption]) -> list[str]:
    """Interface first, then literal, then name; inet4 and inet6 choose among the addresses of an interface only."""
    wanted = [version for version, name in ((4, "inet4"), (6, "inet6")) if name in options] or [4, 6]
    found = [address for interface, address in scope.host.interfaces if interface == on.text]
    if found:
        chosen = [address for address in found if ipaddress.ip_address(address).version in wanted]
        if not chosen:
            scope.diagnostics.error(on.span, f"invalid virtual ip or interface: {on.text}", "it has no such address")
        return chosen
    try:
        return [str(ipaddress.ip_address(on.text))]
    except ValueError:
        pass
    resolved = list(scope.host.resolve(on.text))
    if not resolved:
        hint = "for every address write 0.0.0.0 or ::" if on.text in ("all", "any", "egress") else ""
        hint = hint or did_you_mean(on.text, (name for name, _ in scope.host.interfaces if name))
        scope.diagnostics.error(on.span, f"invalid virtual ip or interface: {on.text}", hint)
    return resolved
