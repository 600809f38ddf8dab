"""What we say of ourselves at EHLO: the greeting and the extensions we offer, in OpenSMTPD's order.

Owns the lines that depend on listener and configuration alone, made once per entrance; STARTTLS and AUTH depend on the session and are
put in by it. Decides nothing. Called by entrance and session. RFC 5321 §4.1.1.1; RFC 9422 for LIMITS. OpenSMTPD: smtp_session.c smtp_proceed_ehlo.
"""

from smtpfleet.contracts.configuration import Configuration, Listener
from smtpfleet.contracts.status import Status

ANNOUNCED_MAX = 999_999
"""A limit that is announced is 1 to this (RFC 9422 §4)."""


def extension_lines(configuration: Configuration, listener: Listener) -> tuple[Status, ...]:
    """The lines between greeting and HELP."""
    limits = configuration.limits
    texts = ["8BITMIME", "ENHANCEDSTATUSCODES", f"SIZE {configuration.max_message_size_bytes}"]
    if not listener.no_dsn:
        texts.append("DSN")
    texts += ["PIPELINING", "SMTPUTF8", "CHUNKING"]
    # 0 takes nothing, as in OpenSMTPD (config warns of it). Such a limit cannot be announced; the peer hears of it at MAIL or RCPT.
    counts = {"MAILMAX": limits.max_mails, "RCPTMAX": limits.max_rcpt}
    if announced := [f"{name}={min(count, ANNOUNCED_MAX)}" for name, count in counts.items() if count]:
        texts.append(f"LIMITS {' '.join(announced)}")
    return tuple([Status(250, "", text) for text in texts])


LAST_LINE = Status(250, "", "HELP")


def hello(name: str, helo: str, peer: str) -> str:
    """The text of the greeting; IPv6 as in an address literal (RFC 5321 §4.1.3)."""
    return f"{name} Hello {helo} [{f'IPv6:{peer}' if ':' in peer else peer}], pleased to meet you"
