"""Addresses beyond ASCII, as RFC 6531 §3.3 extends RFC 5321: local parts in UTF-8, domains in U-labels.

Owns which of them are valid and their one form: the domain always becomes A-labels (`xn--…`), so rules, DNS and relays see what they
have always seen, and only the local part may stay beyond ASCII. Called by grammar where the peer asked for SMTPUTF8, or where nothing but
the domain is beyond ASCII.
"""

import re
import unicodedata

import idna

from smtpfleet.mail.address import DOMAIN_LIMIT, LOCAL_PART_LIMIT, Mailbox, is_valid_domain, parse_mailbox

# Atoms of RFC 5321 with UTF8-non-ascii; which of those characters are fit is asked of Unicode below.
_is_dot_string = re.compile(r"[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~\x80-\U0010ffff]++(?:\.[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~\x80-\U0010ffff]++)*+").fullmatch  # fmt: skip
_is_quoted_string = re.compile(r'"(?:[ !#-\[\]-~\x80-\U0010ffff]|\\[ -~])++"').fullmatch
_JOINERS = "\u200c\u200d"  # part of the spelling of some scripts


def parse_internationalized(text: str) -> Mailbox | None:
    """`text` as a mailbox, or None. ASCII is judged by address alone."""
    if text.isascii():
        return parse_mailbox(text)
    user, at, domain = text.rpartition("@")
    ascii_domain = domain if domain.isascii() else domain_in_ascii(domain)
    if not at or ascii_domain is None or not is_valid_domain(ascii_domain):
        return None
    if user.isascii():
        return parse_mailbox(f"{user}@{ascii_domain}")
    # RFC 5321 counts octets.
    if len(user.encode()) > LOCAL_PART_LIMIT or not all(_is_fit(char) for char in user):
        return None
    return Mailbox(user, ascii_domain) if _is_dot_string(user) or _is_quoted_string(user) else None


def domain_in_ascii(domain: str) -> str | None:
    """U-labels as A-labels (RFC 5891), or None where IDNA does not allow them."""
    if len(domain) > DOMAIN_LIMIT:
        return None
    try:
        return idna.encode(domain, uts46=True).decode("ascii")
    except idna.IDNAError:
        return None


def _is_fit(char: str) -> bool:
    """Whether a character may stand in a local part: no control, format, separator, private or unassigned one."""
    return char.isascii() or char in _JOINERS or unicodedata.category(char)[0] not in "CZ"
