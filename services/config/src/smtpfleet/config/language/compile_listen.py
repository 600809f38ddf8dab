"""`listen on` to Listeners: one for every address the name, interface or literal stands for, and for every way TLS begins.

Addresses are resolved here and once, on the machine config runs on. Combinations are refused as OpenSMTPD does. Called by compiler.py.
OpenSMTPD: create_listener, config_listener, interface, host in parse.y.
"""

import ipaddress
import re
import socket

import msgspec

from smtpfleet.config.language.compile_filter import use_filter
from smtpfleet.config.language.compile_pki import use_pki
from smtpfleet.config.language.compile_table import ADDRNAME, CREDENTIALS, MAILADDRMAP, Service, use_table
from smtpfleet.config.language.scope import Scope
from smtpfleet.config.language.tree import (
    InlineList,
    InlineMapping,
    ListenOption,
    ListenStatement,
    Number,
    TableName,
    Word,
)
from smtpfleet.contracts.configuration import Listener

SMTP_PORT = 25
SMTPS_PORT = 465
PORT_MAX = 65534
"""OpenSMTPD refuses 65535 (parse.y: port)."""
TAG_LIMIT = 31
"""OpenSMTPD MAX_TAG_SIZE of 5.4.1 without its NUL."""
SOCKET = "socket"
"""The address of the listener for local submission."""
SOCKET_TAG = "local"
"""Its tag unless it is given another (reference 4.9)."""
EGRESS = "egress"
"""OpenSMTPD: the interface group of the default route. In a container that is the only interface there is: every address of it."""
_LOOPBACK_NAMES = {"lo0": "lo", "lo": "lo0"}
"""The loopback interface as the BSDs and Linux call it: a file from either works on the other."""
_SERVICE_PORTS = {"smtp": 25, "smtps": 465, "submission": 587, "submissions": 465}
"""Known without /etc/services, which slim images do not have."""
_STARTTLS_OPTIONS = ("tls", "tls-require", "secure")
_SMTPS_OPTIONS = ("smtps", "secure")
_HOST_NAME = re.compile(r"[A-Za-z0-9_.-]{1,255}|\[[0-9A-Za-z:.]+\]")

_Options = dict[str, ListenOption]


def compile_listen(scope: Scope, statement: ListenStatement, tag_limit: int = TAG_LIMIT) -> None:
    """Adds the listeners of one statement. tag_limit: characters of a tag."""
    options = {option.name: option for option in statement.options}  # the last one of each counts
    if (tag := _word(options, "tag")) is not None and len(tag.text) > tag_limit:
        scope.diagnostics.error(tag.span, f"tag name too long: {tag.text}", f"at most {tag_limit} characters")
    if statement.is_socket:
        _compile_socket(scope, statement, options)
        return
    _check_tls(scope, statement, options)
    _check_auth(scope, options)
    listener = _listener(scope, options)
    endpoints = _endpoints(scope, options)
    for address in _addresses(scope, statement.on, options):
        for port, tls in endpoints:
            endpoint = msgspec.structs.replace(listener, address=address, port=port, tls=tls)
            if (address, port) in scope.endpoints:
                scope.diagnostics.error(statement.on.span, f"{address} port {port} is listened on twice")
            else:
                scope.listeners.append(endpoint)
                scope.endpoints.update([(address, port)] if port else [])


def _compile_socket(scope: Scope, statement: ListenStatement, options: _Options) -> None:
    if (SOCKET, 0) in scope.endpoints:
        scope.diagnostics.error(statement.span, "socket listener already configured")
        return
    scope.endpoints.add((SOCKET, 0))
    listener = _listener(scope, options)
    scope.listeners.append(
        msgspec.structs.replace(listener, address=SOCKET, hostname="localhost", tag=listener.tag or SOCKET_TAG)
    )


def _listener(scope: Scope, options: _Options) -> Listener:
    """What the options say, without address, port and TLS."""
    tag, hostname = _word(options, "tag"), _word(options, "hostname")
    if hostname is not None and not _HOST_NAME.fullmatch(hostname.text):
        scope.diagnostics.error(hostname.span, f"invalid hostname: {hostname.text}", "it is sent to peers as our name")
    pki, name = _word(options, "pki"), _word(options, "filter")
    auth = "auth" if "auth" in options else "auth-optional"
    return Listener(
        address="",
        port=0,
        hostname=hostname.text if hostname else scope.host.server_name,
        tag=tag.text if tag else "",
        verify="verify" in options,
        pki=(use_pki(scope, pki),) if pki else (),
        auth="required" if "auth" in options else "optional" if "auth-optional" in options else "none",
        auth_table=_table(scope, options, auth, CREDENTIALS),
        hostnames=_table(scope, options, "hostnames", ADDRNAME),
        senders=_table(scope, options, "senders", MAILADDRMAP),
        is_masquerade="masquerade" in options,
        filters=use_filter(scope, name) if name else (),
        mask_source="mask-source" in options,
        no_dsn="no-dsn" in options,
        received_auth="received-auth" in options,
        # Where both are written the newer form counts, because a peer speaks only one.
        proxy="v2" if "proxy-v2" in options else "v1" if "proxy-v1" in options else "none",
        mends_line_ends="mend-line-ends" in options,
    )


def _check_tls(scope: Scope, statement: ListenStatement, options: _Options) -> None:
    """What OpenSMTPD exits on; the first that applies."""
    has_starttls = any(name in options for name in _STARTTLS_OPTIONS)
    has_smtps = any(name in options for name in _SMTPS_OPTIONS)
    fault = ""
    if has_starttls and has_smtps and "port" in options:
        fault = "tls/smtps on same port"
    elif ("auth" in options or "auth-optional" in options) and not (has_starttls or has_smtps):
        fault = "auth requires tls/smtps"
    elif "pki" in options and not (has_starttls or has_smtps):
        fault = "pki requires tls/smtps"
    elif (has_starttls or has_smtps) and "pki" not in options:
        fault = "tls/smtps requires pki"
    if fault:
        scope.diagnostics.error(statement.span, f"invalid listen option: {fault}")


def _check_auth(scope: Scope, options: _Options) -> None:
    """What is silently without effect in OpenSMTPD."""
    auth = options.get("auth") or options.get("auth-optional")
    if auth is not None and auth.argument is None:
        hint = f"name a table of passwords, as in {auth.name} <credentials>; containers have no accounts to ask"
        scope.diagnostics.warning(auth.span, f"{auth.name} without a table asks the accounts of the system", hint)
    if auth is None:
        for name in ("senders", "received-auth"):
            if name in options:
                hint = "it is about sessions that authenticated; add auth or auth-optional"
                scope.diagnostics.warning(options[name].span, f"{name} has no effect here", hint)


def _endpoints(scope: Scope, options: _Options) -> list[tuple[int, str]]:
    """Ports and how TLS begins there. Without `port`, smtps is on its own one, also next to STARTTLS."""
    starttls = "none"
    if any(name in options for name in _STARTTLS_OPTIONS):
        # OpenSMTPD up to 6.0.2 loses the requirement where no port is written; we keep it.
        starttls = "require" if "tls-require" in options else "starttls"
    has_smtps = any(name in options for name in _SMTPS_OPTIONS)
    if "port" in options:
        return [(_port(scope, options["port"]), "smtps" if has_smtps else starttls)]
    endpoints = [(SMTPS_PORT, "smtps")] if has_smtps else []
    if starttls != "none" or not has_smtps:
        endpoints.append((SMTP_PORT, starttls))
    return endpoints


def _table(scope: Scope, options: _Options, name: str, service: Service) -> str:
    argument = options[name].argument if name in options else None
    if isinstance(argument, TableName | InlineList | InlineMapping):
        return use_table(scope, argument, service)
    return ""


def _word(options: _Options, name: str) -> Word | None:
    argument = options[name].argument if name in options else None
    return argument if isinstance(argument, Word) else None


def _port(scope: Scope, option: ListenOption) -> int:
    """The port, or 0 where it is wrong (reported)."""
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
                hint = (
                    "write a number without quotes"
                    if text.isdigit()
                    else scope.diagnostics.suggest(text, _SERVICE_PORTS)
                )
                scope.diagnostics.error(span, f"invalid port: {text}", hint)
    return 0


def _addresses(scope: Scope, on: Word, options: _Options) -> list[str]:
    """Interface first, then literal, then name; inet4 and inet6 choose among the addresses of an interface only."""
    wanted = [version for version, name in ((4, "inet4"), (6, "inet6")) if name in options] or [4, 6]
    found = _interface_addresses(scope, on.text)
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
        hint = "for every address write 0.0.0.0 or ::" if on.text in ("all", "any") else ""
        hint = hint or scope.diagnostics.suggest(on.text, (name for name, _ in scope.host.interfaces if name))
        scope.diagnostics.error(on.span, f"invalid virtual ip or interface: {on.text}", hint)
    return resolved


def _interface_addresses(scope: Scope, name: str) -> list[str]:
    """Addresses of the interface, or of what its name means here; [] where it is none."""
    interfaces = scope.host.interfaces
    for known in (name, _LOOPBACK_NAMES.get(name, "")):
        if found := [address for interface, address in interfaces if interface == known and known]:
            return found
    if name != EGRESS:
        return []
    versions = {ipaddress.ip_address(address).version for _, address in interfaces}
    return ["0.0.0.0", "::"] if 6 in versions else ["0.0.0.0"]  # noqa: S104 what the operator asks for
