"""Mail addresses and domain names: which texts are valid, and the one form in which a valid one is kept.

Owns the syntax of RFC 5321 §4.1.2 (Mailbox, Domain, address literals). Local part and domain are always judged apart from each other
(CVE-2020-7247 came from skipping one for the sake of the other). Never looks anything up. Used by grammar, expand and the services.
OpenSMTPD: util.c valid_localpart, valid_domainpart; to.c text_to_mailaddr.
"""

import ipaddress
import re

from msgspec import Struct

LOCAL_PART_LIMIT = 255
"""OpenSMTPD SMTPD_MAXLOCALPARTSIZE; RFC 5321 §4.5.3.1.1 demands 64 at least."""
DOMAIN_LIMIT = 255
"""OpenSMTPD SMTPD_MAXDOMAINPARTSIZE, RFC 5321 §4.5.3.1.2. A label has at most 63 octets (RFC 1035 §2.3.4)."""
SUBADDRESS_DELIMITER = "+"
"""OpenSMTPD TAG_CHAR; what a configuration that says nothing else has (Configuration.subaddress_delimiter)."""

_ATEXT = r"[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~]"
_DOT_STRING = rf"{_ATEXT}++(?:\.{_ATEXT}++)*+"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_DOMAIN = rf"{_LABEL}(?:\.{_LABEL})*+"

_is_dot_string = re.compile(_DOT_STRING).fullmatch
_is_domain_name = re.compile(_DOMAIN).fullmatch
_is_plain_mailbox = re.compile(rf"({_DOT_STRING})@({_DOMAIN})").fullmatch
_is_quoted_mailbox = re.compile(r'"((?:[ !#-\[\]-~]|\\[ -~])++)"@([!-~]++)').fullmatch
_is_address_literal = re.compile(
    r"\[(?:(?P<v4>[0-9.]{7,15})|IPv6:(?P<v6>[0-9A-Fa-f:.]{2,45}))\]", re.IGNORECASE
).fullmatch
_QUOTED_PAIR = re.compile(r"\\(.)")
_NOT_ASCII = re.compile(r"[^\x00-\x7f]")
_MUST_ESCAPE = re.compile(r'(["\\])')


class Mailbox(Struct, frozen=True):
    """A valid address. user is in wire form (quoted only where it must be), domain as written, "" only for a bare postmaster."""

    user: str
    domain: str

    @property
    def text(self) -> str:
        """`user@domain`, as in an envelope."""
        return f"{self.user}@{self.domain}" if self.domain else self.user


def parse_mailbox(text: str) -> Mailbox | None:
    """`text` as a mailbox, or None where it is not `local-part@domain` by RFC 5321. ASCII only; no route, no angle brackets."""
    plain = _is_plain_mailbox(text)
    if plain is not None:
        user, domain = plain.groups()
        return Mailbox(user, domain) if len(user) <= LOCAL_PART_LIMIT and len(domain) <= DOMAIN_LIMIT else None
    quoted = _is_quoted_mailbox(text)
    if quoted is not None:
        user, domain = _canonical_quoted(quoted.group(1)), quoted.group(2)
    else:
        user, _, domain = text.rpartition("@")
        if not is_valid_local_part(user):
            return None
    return Mailbox(user, domain) if len(user) <= LOCAL_PART_LIMIT and is_valid_domain(domain) else None


def complete_mailbox(local_part: str, domain: str) -> Mailbox | None:
    """An address that came without a domain, at `domain`; None unless each is valid without the other (CVE-2020-7247)."""
    return parse_mailbox(f"{local_part}@{domain}") if is_valid_local_part(local_part) else None


def _canonical_quoted(inner: str) -> str:
    """Two spellings of one local part become one text: quotes and escapes stay only where the plain form is impossible."""
    return local_part(_QUOTED_PAIR.sub(r"\1", inner))


def local_content(user: str) -> str:
    """What a local part says, without quotes and escapes."""
    return _QUOTED_PAIR.sub(r"\1", user[1:-1]) if user.startswith('"') else user


def local_part(content: str) -> str:
    """The local part that says this, quoted only where it must be. Letters beyond ASCII need no quotes (RFC 6531 §3.3)."""
    if _is_dot_string(content if content.isascii() else _NOT_ASCII.sub("a", content)):
        return content
    return '"' + _MUST_ESCAPE.sub(r"\\\1", content) + '"'


def is_valid_local_part(text: str) -> bool:
    """Whether `text` is a Dot-string, or a Quoted-string that is not empty."""
    if len(text) > LOCAL_PART_LIMIT:
        return False
    return _is_dot_string(text) is not None or _is_quoted_mailbox(f"{text}@a") is not None


def is_valid_domain(text: str) -> bool:
    """Whether `text` is a host name (no underscore, no trailing dot) or an address literal such as `[192.0.2.9]`, `[IPv6:::1]`."""
    if len(text) > DOMAIN_LIMIT:
        return False
    if text.startswith("["):
        return is_address_literal(text)
    return _is_domain_name(text) is not None


def is_address_literal(text: str) -> bool:
    """Whether `text` is `[IPv4]` or `[IPv6:…]` with a real address in it."""
    found = _is_address_literal(text)
    if found is None:
        return False
    try:
        if found["v4"] is not None:
            ipaddress.IPv4Address(found["v4"])
        else:
            ipaddress.IPv6Address(found["v6"])
    except ValueError:
        return False
    return True


def is_valid_helo(text: str) -> bool:
    """Whether a peer may call itself this: the rule for domains (OpenSMTPD smtp_session.c valid_domainpart at HELO)."""
    return is_valid_domain(text)


def split_address(text: str) -> Mailbox:
    """The halves of an address that has been valid once, such as an envelope's. The null sender gives two empty halves."""
    user, at, domain = text.rpartition("@")
    return Mailbox(user, domain) if at else Mailbox(text, "")


def local_name(user: str, delimiter: str = SUBADDRESS_DELIMITER) -> str:
    """The name a local part is looked up by: without quotes, lower case, cut at the first delimiter (reference 3.1)."""
    return strip_tag(full_name(user), delimiter)


def full_name(user: str) -> str:
    """As local_name, with the subaddress."""
    return local_content(user).lower()


def strip_tag(name: str, delimiter: str) -> str:
    """A name without its subaddress; "" parts nothing."""
    return name.partition(delimiter)[0] if delimiter else name


def without_tag(user: str, delimiter: str) -> str:
    """A local part without its subaddress; a quoted one keeps its quotes only where it still needs them."""
    if not user.startswith('"'):
        return strip_tag(user, delimiter)
    content = strip_tag(local_content(user), delimiter)
    return local_part(content) if content else ""


def tag_of(user: str, delimiter: str) -> str:
    """The subaddress of a local part, "" where it has none."""
    return local_content(user).partition(delimiter)[2] if delimiter else ""


def table_keys(name: str) -> tuple[str, ...]:
    """What a table of users may call `name`, which comes without quotes: the name, and, where it needs quotes, first the local part.

    One with an `@` is asked for in quotes alone: `"root@other.example"@ours.example` is not the entry of `root@other.example`.
    """
    written = local_part(name) if name else name
    if written == name:
        return (name,)
    return (written,) if "@" in name else (written, name)
