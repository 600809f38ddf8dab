"""SRS, the Sender Rewriting Scheme: a sender of forwarded mail becomes an address in our domain that leads back to it.

    SRS0=HHHH=TT=domain=user@ours             stands for user@domain, since day TT
    SRS1=HHHH=first==HHHH=TT=domain=user@ours  stands for SRS0=HHHH=TT=domain=user@first, of an earlier forwarder

Owns both forms, the signature HHHH and the age TT; pure: keys and the day are given. Only config has keys, so only config signs and
verifies. A signature is four digits because other forwarders expect that many, some 20 bits once case is ignored: it keeps us from being
a relay for bounces to anybody, no more. OpenSMTPD: srs.c, which signs with another digest: that one is still believed, so that mail sent
before a move is not cut off from its bounces; ours also survives a mailer that folds case.
"""

import hashlib
import hmac
import re
from base64 import b64encode
from collections.abc import Sequence
from enum import StrEnum

from smtpfleet.mail.address import LOCAL_PART_LIMIT, Mailbox, local_content, local_part, split_address
from smtpfleet.mail.internationalized import parse_internationalized

ADDRESS_LIMIT = 254
"""RFC 5321 §4.5.3.1.3: a path has 256 octets with its angle brackets. The 64 octets of §4.5.3.1.1 for a local part, which every mailer must
take at least, are no limit here: rewritten senders are often longer, mailers take them, and what else could be sent fails SPF."""
DAYS = 1024
"""The days TT tells apart."""

_BASE32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_SIGNATURE_DIGITS = 4
_FUTURE_DAYS = 1
"""A clock may be a day ahead (OpenSMTPD timestamp_check_range)."""
_FLAGS = re.IGNORECASE | re.ASCII | re.DOTALL
# The parts after the first separator, which with some forwarders is + or -.
_PARTS = r"[-+=](?P<signature>[^=]+)=(?P<day>[A-Z2-7]{2})=(?P<domain>[^=]+)=(?P<user>.+)"
_read_srs0 = re.compile(f"SRS0{_PARTS}", _FLAGS).fullmatch
_read_srs1 = re.compile(r"SRS1[-+=](?P<signature>[^=]+)=(?P<first>[^=]+)=(?P<srs0>[-+=].+)", _FLAGS).fullmatch


class SrsFault(StrEnum):
    """Why an address was not rewritten, or leads nowhere; the value is for the log."""

    TOO_LONG = "the rewritten sender would be too long"
    UNREADABLE = "not an SRS address"
    FORGED = "the signature does not fit"
    EXPIRED = "older than srs ttl"


def is_srs(user: str) -> bool:
    """Whether a local part looks like one of ours. `SRS0+…` and `SRS0-…` are others'."""
    return user.lstrip('"')[:5].upper() in ("SRS0=", "SRS1=")


def rewrite_domain(sender: str, rcpt: str, dest: str, hostname: str) -> str:
    """The domain that forwarded mail is sent in the name of: that of the recipient as given; "" where the sender stays as it is, because
    it is null or the mail is not forwarded (OpenSMTPD mta_session.c: dest and rcpt are the same)."""
    rcpt_domain = split_address(rcpt).domain
    if "@" not in sender or dest == (rcpt if rcpt_domain else f"{rcpt}@{hostname}"):
        return ""
    return rcpt_domain or hostname


def encode(sender: str, domain: str, key: str, now_day: int) -> str | SrsFault:
    """`sender`, which is not null, as an address in `domain`. now_day: days since 1970."""
    mailbox = split_address(sender)
    content = local_content(mailbox.user)
    srs1 = _read_srs1(content)
    if srs1 and _read_srs0("SRS0" + srs1["srs0"]):
        # The forwarder before us is left out: a bounce goes from us to the first one.
        tag, rest = "SRS1", f"{srs1['first']}={srs1['srs0']}"
    elif _read_srs0(content):
        tag, rest = "SRS1", f"{mailbox.domain}={content[4:]}"
    else:  # also what only looks like SRS: we could not tell its age when it comes back
        day = now_day % DAYS
        tag, rest = "SRS0", f"{_BASE32[day >> 5]}{_BASE32[day & 31]}={mailbox.domain}={content}"
    user = local_part(f"{tag}={_signature(key, f'{rest}@{domain}')}={rest}")
    rewritten = Mailbox(user, domain).text
    if len(user.encode()) > LOCAL_PART_LIMIT or len(rewritten.encode()) > ADDRESS_LIMIT:
        return SrsFault.TOO_LONG
    return rewritten


def decode(address: str, keys: Sequence[str], now_day: int, ttl_days: int) -> str | SrsFault:
    """Whom `address` stands for, where one of the keys has signed it at most ttl_days ago. The signature covers the domain, so an address
    is good as a whole or not at all."""
    mailbox = split_address(address)
    content = local_content(mailbox.user)
    srs0, srs1 = _read_srs0(content), _read_srs1(content)
    found = srs0 or srs1
    if not found:
        return SrsFault.UNREADABLE
    rest = content[found.end("signature") + 1 :]
    if not _is_signed(found["signature"], f"{rest}@{mailbox.domain}", keys):
        return SrsFault.FORGED
    if srs1:
        srs0 = _read_srs0("SRS0" + srs1["srs0"])
        user, domain = f"SRS0{srs1['srs0']}", srs1["first"]
    else:
        user, domain = found["user"], found["domain"]
    original = parse_internationalized(f"{local_part(user)}@{domain}")
    if srs0 is None or original is None:
        return SrsFault.UNREADABLE
    return original.text if _age_days(srs0["day"], now_day) <= ttl_days else SrsFault.EXPIRED


def _age_days(day: str, now_day: int) -> int:
    high, low = (_BASE32.index(digit) for digit in day.upper())
    age_days = (now_day - (high << 5 | low)) % DAYS
    return 0 if age_days >= DAYS - _FUTURE_DAYS else age_days


def _signature(key: str, text: str) -> str:
    """Of the address after HHHH=, in lower case, because some mailers fold it; of bytes, so that ASCII alone is folded."""
    return b64encode(hmac.digest(key.encode(), text.encode().lower(), "sha1"))[:_SIGNATURE_DIGITS].decode()


def _opensmtpd_signature(key: str, text: str) -> str:
    """What srs.c signs with: a plain digest, of the text as it is."""
    digest = hashlib.sha1((key + text).encode(), usedforsecurity=False).digest()
    return b64encode(digest)[:_SIGNATURE_DIGITS].decode()


def _is_signed(signature: str, text: str, keys: Sequence[str]) -> bool:
    """Takes the same time whichever digit differs."""
    given = signature.encode()
    fits = False
    for key in keys:
        fits |= hmac.compare_digest(given.lower(), _signature(key, text).encode().lower())
        fits |= hmac.compare_digest(given, _opensmtpd_signature(key, text).encode())
    return fits
