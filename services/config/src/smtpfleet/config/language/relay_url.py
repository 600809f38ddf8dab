"""The URL of `relay via`: `[scheme://][label@]host[:port]`.

Pure text to parts; says why where it is invalid. Which of it can be carried out is the business of compile_rule.py. OpenSMTPD:
text_to_relayhost (to.c).
"""

import re
from dataclasses import dataclass

_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,253}[A-Za-z0-9_.])?|\[[0-9A-Fa-f:.]+\]")
PORT_MAX = 65535


@dataclass(frozen=True, slots=True)
class Scheme:
    """tls: opportunistic, require, smtps, none, or secure (STARTTLS, then smtps). needs_auth: a label is required."""

    tls: str
    needs_auth: bool = False
    is_lmtp: bool = False
    is_backup: bool = False


SCHEMES = {
    "": Scheme("opportunistic"),
    "smtp": Scheme("none"),
    "smtp+tls": Scheme("opportunistic"),
    "tls": Scheme("require"),
    "smtps": Scheme("smtps"),
    "secure": Scheme("secure"),
    "tls+auth": Scheme("require", needs_auth=True),
    "smtps+auth": Scheme("smtps", needs_auth=True),
    "secure+auth": Scheme("secure", needs_auth=True),
    "lmtp": Scheme("none", is_lmtp=True),
    "backup": Scheme("opportunistic", is_backup=True),
}


@dataclass(frozen=True, slots=True)
class RelayUrl:
    """port: 0 where the URL has none."""

    scheme: Scheme
    label: str
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class BadUrl:
    """reason: for the operator. scheme: what was written as one, where that is what is unknown."""

    reason: str
    scheme: str = ""


def parse_relay_url(text: str) -> RelayUrl | BadUrl:
    """The parts of a relay URL."""
    name, has_scheme, rest = text.rpartition("://")
    scheme = SCHEMES.get(name.lower()) if has_scheme and name else SCHEMES[""] if not has_scheme else None
    if scheme is None:
        return BadUrl(f'unknown scheme "{name}"', name)
    label, has_label, address = rest.rpartition("@")
    if scheme.needs_auth and not label:
        return BadUrl(f"{name}:// needs a label, as in {name}://label@host")
    if has_label and not scheme.needs_auth:
        return BadUrl(f'"{label}@" needs a scheme with +auth, as in tls+auth://label@host')
    host, port = address, 0
    # The last colon outside brackets begins the port; OpenSMTPD takes any last colon and so cannot name an IPv6 host.
    if ":" in address and not address.endswith("]"):
        host, _, digits = address.rpartition(":")
        if not re.fullmatch(r"[0-9]{1,5}", digits) or not 1 <= int(digits) <= PORT_MAX:
            return BadUrl(f'the port must be 1 to {PORT_MAX}, found "{digits}"')
        port = int(digits)
    if not _HOST.fullmatch(host):
        return BadUrl(f'"{host}" is not a host' if host else "it names no host")
    if scheme.is_lmtp and not port:
        return BadUrl("lmtp:// needs a port")
    return RelayUrl(scheme, label, host.lower(), port)
