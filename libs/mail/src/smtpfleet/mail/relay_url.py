"""The relay URLs of the modern form: `[scheme://][label@]host[:port]`, in `host` of an action and in tables of relays.

Pure text to parts; says why where it is no URL. Used by walk for what a table answers and by config for what the file says; the classic
form has schemes of its own, which only config meets. OpenSMTPD: to.c text_to_relayhost of 6.4 to 7.8 (reference 11.2).
"""

import re
from dataclasses import dataclass

PORT_MAX = 65535
"""OpenSMTPD: IPPORT_HILASTAUTO."""

COLON_IN_LABEL = "a label has no colon: user:password stands in the table of auth, the label is its key there"
"""A password in a label would go over the bus and into logs."""

_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,253}[A-Za-z0-9_.])?|\[[0-9A-Fa-f:.]+\]").fullmatch
_PORT = re.compile(r"[0-9]{1,5}").fullmatch


@dataclass(frozen=True, slots=True)
class RelayScheme:
    """tls: as RelayAction.tls. may_have_label: a label, so a password, is sent through TLS that is certain only."""

    tls: str
    may_have_label: bool = False
    is_lmtp: bool = False


RELAY_SCHEMES = {
    "smtp": RelayScheme("opportunistic"),
    "smtp+tls": RelayScheme("require", may_have_label=True),
    "smtp+notls": RelayScheme("none"),
    "smtps": RelayScheme("smtps", may_have_label=True),
    "lmtp": RelayScheme("none", is_lmtp=True),
}


@dataclass(frozen=True, slots=True)
class RelayUrl:
    """host: lower case, an IPv6 address in brackets. port: 0 where the URL has none. label: "" for none."""

    scheme: RelayScheme
    label: str
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class BadRelayUrl:
    """reason: for the operator."""

    reason: str


def parse_modern_relay(text: str) -> RelayUrl | BadRelayUrl:
    """The parts of a relay URL; without a scheme it is smtp://."""
    name, has_scheme, rest = text.rpartition("://")
    scheme = RELAY_SCHEMES.get(name.lower() if has_scheme else "smtp")
    if scheme is None:
        return BadRelayUrl(f'unknown scheme "{name}"')
    label, has_label, address = rest.rpartition("@")
    if has_label and not label:
        return BadRelayUrl("an empty label")
    if has_label and not scheme.may_have_label:
        return BadRelayUrl("a label needs smtp+tls:// or smtps://")
    if ":" in label:
        return BadRelayUrl(COLON_IN_LABEL)
    parts = parse_relay_address(address, needs_port=scheme.is_lmtp)
    return parts if isinstance(parts, BadRelayUrl) else RelayUrl(scheme, label, *parts)


def shown_relay(text: str) -> str:
    """The URL as it may be repeated to an operator: what may be a password in it is left out."""
    begin = text.find("://") + 3 if "://" in text else 0
    label, at, address = text[begin:].rpartition("@")
    return f"{text[:begin]}...{at}{address}" if ":" in label else text


def parse_relay_address(address: str, *, needs_port: bool) -> tuple[str, int] | BadRelayUrl:
    """Host and port of `host[:port]`, for the URLs of both forms; the port is 0 where there is none."""
    host, port = address, 0
    # The port is after the last colon outside brackets; OpenSMTPD 5.4 takes any last colon and so cannot name an IPv6 host.
    if ":" in address and not address.endswith("]"):
        host, _, digits = address.rpartition(":")
        if not _PORT(digits) or not 1 <= int(digits) <= PORT_MAX:
            return BadRelayUrl(f'the port must be 1 to {PORT_MAX}, found "{digits}"')
        port = int(digits)
    if not _HOST(host):
        return BadRelayUrl(f'"{host}" is not a host' if host else "it names no host")
    if needs_port and not port:
        return BadRelayUrl("lmtp:// needs a port")
    return host.lower(), port
