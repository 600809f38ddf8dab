"""The URL of `relay via` in the classic form: `[scheme://][label@]host[:port]`, with the schemes that form has.

Text to parts; says why where it is invalid, and reports that for both forms. Host and port are read by mail.relay_url, as for the modern
form. Called by compile_action.py. OpenSMTPD: text_to_relayhost (to.c).
"""

from dataclasses import dataclass

from smtpfleet.config.language.diagnostics import Diagnostics
from smtpfleet.config.language.source import Span
from smtpfleet.mail.relay_url import COLON_IN_LABEL, BadRelayUrl, parse_relay_address, shown_relay


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
        return BadUrl("a label needs a scheme with +auth, as in tls+auth://label@host")
    if ":" in label:
        return BadUrl(COLON_IN_LABEL)
    parts = parse_relay_address(address, needs_port=scheme.is_lmtp)
    return BadUrl(parts.reason) if isinstance(parts, BadRelayUrl) else RelayUrl(scheme, label, *parts)


def refuse_url(diagnostics: Diagnostics, span: Span, text: str, hint: str) -> None:
    """Reports a URL that is wrong, of either form, without repeating what may be a password in it."""
    shown = shown_relay(text)
    if shown != text:
        span.source.secret_lines.add(span.line)
    diagnostics.error(span, f"invalid url: {shown}", hint)
