"""The Received header and the date text that stands in it.

Owns their form (RFC 5321 §4.4, OpenSMTPD 7.8's line breaks; 5.4.1 put a semicolon after each clause, which RFC 5322 §3.6.7 does not
allow). Whatever is not a host name is written as unknown, so no DNS text can add a line to a header. Called by smtp-in for each message
and by whoever needs a Date. OpenSMTPD: smtp_session.c smtp_message_begin; to.c time_to_text.
"""

import re
import time
from functools import lru_cache

UNKNOWN_HOST = "<unknown>"
"""What stands for a peer without a usable PTR name (OpenSMTPD)."""

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
# PTR names with underscores exist and do no harm here; blanks, brackets of comments and controls would.
_is_host_text = re.compile(r"[A-Za-z0-9._:\[\]-]{1,255}").fullmatch
_is_submitter = re.compile(r"[0-9]{1,10}@localhost").fullmatch
_is_no_user_text = re.compile(r"[^A-Za-z0-9._@+=-]")
_is_peer_text = re.compile(r"[A-Za-z0-9.:%_-]{1,100}").fullmatch


def received_header(
    *,
    helo: str,
    hostname: str,
    peer: str,
    smtpname: str,
    protocol: str,
    msgid: str,
    rcpt: str,
    date_text: str,
    tls: str = "",
    user: str = "",
    is_masked: bool = False,
) -> bytes:
    """The header, folded, CRLF ended. rcpt is "" unless the message has exactly one recipient (others must not learn of it).

    tls: VERSION:CIPHER:BITS:VERIFIED of the session, user: who authenticated, each "" where it is not to be told. is_masked: nothing is
    told of where the message came from.
    """
    clause = f"\r\n\tfor <{rcpt}>" if rcpt else ""
    if tls or user:
        clause = _access(tls, user) + clause
    origin = "" if is_masked else _origin(helo, hostname, peer)
    return (
        f"Received: {origin}by {smtpname} (smtpfleet) with {protocol} id {msgid}{clause};\r\n\t{date_text}\r\n"
    ).encode("ascii", "replace")


@lru_cache(maxsize=1024)
def _origin(helo: str, hostname: str, peer: str) -> str:
    """The from clause: the same for all messages of a session, and for most sessions of a peer."""
    return f"from {_host(helo)} ({_host(hostname)} [{_literal(peer)}])\r\n\t"


def date_text(epoch_s: float, *, offset_s: int = 0, zone: str = "UTC") -> str:
    """`Mon, 2 Nov 2026 12:00:00 +0000 (UTC)`: day without a leading zero, English whatever the locale. offset_s: east of UTC."""
    return _date_text(int(epoch_s), offset_s, zone)


@lru_cache(maxsize=16)
def _date_text(epoch_s: int, offset_s: int, zone: str) -> str:
    at = time.gmtime(epoch_s + offset_s)
    sign, minutes = ("-" if offset_s < 0 else "+"), abs(offset_s) // 60
    return (
        f"{_DAYS[at.tm_wday]}, {at.tm_mday} {_MONTHS[at.tm_mon - 1]} {at.tm_year} "
        f"{at.tm_hour:02d}:{at.tm_min:02d}:{at.tm_sec:02d} {sign}{minutes // 60:02d}{minutes % 60:02d} ({zone})"
    )


def _access(tls: str, user: str) -> str:
    """7.8's words; `auth=` stands in a comment here, because RFC 5321 §4.4 knows no such clause."""
    words = [f"({tls})"] if tls else []
    if user:
        words.append(f"(auth=yes user={_is_no_user_text.sub('?', user)})")
    return "\r\n\t" + " ".join(words)


def _host(text: str) -> str:
    return text if _is_host_text(text) or _is_submitter(text) else UNKNOWN_HOST


def _literal(peer: str) -> str:
    """The peer as in an address literal (RFC 5321 §4.1.3): IPv6 with its prefix."""
    if not _is_peer_text(peer):
        return "unknown"
    return f"IPv6:{peer}" if ":" in peer and peer[:5].upper() != "IPV6:" else peer
