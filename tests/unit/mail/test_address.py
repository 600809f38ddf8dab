"""Addresses and names: what is valid, what form it is kept in, and that nothing else ever gets through."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpfleet.mail import address
from smtpfleet.mail.address import Mailbox, parse_mailbox

VALID = [
    pytest.param("alice@example.test", "alice", "example.test", id="plain"),
    pytest.param("Alice@Example.Test", "Alice", "Example.Test", id="letter case is kept"),
    pytest.param("a.b+tag@x", "a.b+tag", "x", id="dots, a tag, a single label"),
    pytest.param("!#$%&'*+-/=?^_`{|}~@x.y", "!#$%&'*+-/=?^_`{|}~", "x.y", id="every atom character of RFC 5321"),
    pytest.param('"alice"@x.y', "alice", "x.y", id="needless quotes are dropped"),
    pytest.param(r'"a\l\i\c\e"@x.y', "alice", "x.y", id="needless escapes are dropped"),
    pytest.param('"a b"@x.y', '"a b"', "x.y", id="a blank needs quotes"),
    pytest.param('"a@b"@x.y', '"a@b"', "x.y", id="an at sign inside quotes"),
    pytest.param(r'"a\"b"@x.y', r'"a\"b"', "x.y", id="an escaped quote"),
    pytest.param('"..."@x.y', '"..."', "x.y", id="dots that are no dot-string stay quoted"),
    pytest.param("a@[192.0.2.9]", "a", "[192.0.2.9]", id="IPv4 literal"),
    pytest.param("a@[IPv6:2001:db8::1]", "a", "[IPv6:2001:db8::1]", id="IPv6 literal"),
    pytest.param('"a b"@[IPv6:::1]', '"a b"', "[IPv6:::1]", id="quotes and literal"),
    pytest.param("a@xn--bcher-kva.example", "a", "xn--bcher-kva.example", id="an A-label"),
    pytest.param("a@" + "l" * 63 + ".x", "a", "l" * 63 + ".x", id="the longest label"),
    pytest.param("u" * 255 + "@x.y", "u" * 255, "x.y", id="the longest local part"),
]

INVALID = [
    pytest.param("", id="empty"),
    pytest.param("alice", id="no domain"),
    pytest.param("@x.y", id="no local part"),
    pytest.param("alice@", id="empty domain"),
    pytest.param('""@x.y', id="an empty quoted local part"),
    pytest.param('"a@x.y', id="an open quote"),
    pytest.param('a"b@x.y', id="a quote inside an atom"),
    pytest.param(r'"a\"@x.y', id="an escaped closing quote"),
    pytest.param(".a@x.y", id="leading dot"),
    pytest.param("a.@x.y", id="trailing dot in the local part"),
    pytest.param("a..b@x.y", id="two dots"),
    pytest.param("a b@x.y", id="a blank"),
    pytest.param("a@b@x.y", id="two at signs"),
    pytest.param("a@x.y.", id="trailing dot of the domain"),
    pytest.param("a@.x", id="leading dot of the domain"),
    pytest.param("a@x..y", id="an empty label"),
    pytest.param("a@-x.y", id="a label that begins with a hyphen"),
    pytest.param("a@x-.y", id="a label that ends with a hyphen"),
    pytest.param("a@x_y.z", id="an underscore"),
    pytest.param("a@" + "l" * 64 + ".x", id="a label that is too long"),
    pytest.param("a@" + "l." * 128 + "x", id="a domain that is too long"),
    pytest.param("u" * 256 + "@x.y", id="a local part that is too long"),
    pytest.param('"' + "u " * 127 + '"@x.y', id="a quoted local part that is too long"),
    pytest.param("a@x.y\n", id="a line end at the end"),
    pytest.param("a@x.y\r\nRCPT", id="an injected line"),
    pytest.param("a\x00@x.y", id="NUL"),
    pytest.param('"a\x01"@x.y', id="a control in quotes"),
    pytest.param('"a\\\x7f"@x.y', id="an escaped DEL"),
    pytest.param("ä@x.y", id="not ASCII"),
    pytest.param("a@ü.y", id="a domain that is not ASCII"),
    pytest.param("a@[192.0.2.256]", id="no IPv4 address"),
    pytest.param("a@[192.0.2.9", id="an open literal"),
    pytest.param("a@[2001:db8::1]", id="IPv6 without its tag"),
    pytest.param("a@[IPv6:::1%eth0]", id="a scoped literal"),
    pytest.param("a@[x:y]", id="a general literal"),
    pytest.param("<a@x.y>", id="angle brackets"),
    pytest.param("@r.test:a@x.y", id="a route"),
]


@pytest.mark.parametrize(("text", "user", "domain"), VALID)
def test_a_valid_address_is_kept_in_canonical_form(text: str, user: str, domain: str) -> None:
    assert parse_mailbox(text) == Mailbox(user, domain)


@pytest.mark.parametrize("text", INVALID)
def test_an_invalid_address_is_none(text: str) -> None:
    assert parse_mailbox(text) is None


@pytest.mark.parametrize(
    ("user", "name"),
    [
        pytest.param("Alice", "alice", id="lower case"),
        pytest.param("alice+a+b", "alice", id="cut at the first delimiter"),
        pytest.param("+tag", "", id="nothing before the delimiter"),
        pytest.param('"A b+c"', "a b", id="without its quotes"),
    ],
)
def test_the_name_a_local_part_is_looked_up_by(user: str, name: str) -> None:
    assert address.local_name(user) == name


@pytest.mark.parametrize(
    ("text", "is_valid"),
    [
        pytest.param("client.example", True, id="a host name"),
        pytest.param("localhost", True, id="one label"),
        pytest.param("[192.0.2.9]", True, id="a literal"),
        pytest.param("[IPv6:::1]", True, id="an IPv6 literal"),
        pytest.param("192.0.2.9", True, id="bare digits are labels"),
        pytest.param("my_host", False, id="an underscore"),
        pytest.param("a b", False, id="a blank"),
        pytest.param("", False, id="empty"),
        pytest.param("x\n", False, id="a line end"),
    ],
)
def test_helo_names(text: str, is_valid: bool) -> None:
    assert address.is_valid_helo(text) is is_valid


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        pytest.param("a@b", Mailbox("a", "b"), id="an address"),
        pytest.param('"x@y"@b', Mailbox('"x@y"', "b"), id="the last at sign"),
        pytest.param("", Mailbox("", ""), id="the null sender"),
        pytest.param("postmaster", Mailbox("postmaster", ""), id="a bare postmaster"),
    ],
)
def test_split_address(text: str, parts: Mailbox) -> None:
    assert address.split_address(text) == parts
    assert parts.text == text


@given(st.one_of(st.text(), st.text(alphabet=string.ascii_letters + '."\\@+[]: \r\n\x00-', max_size=40)))
def test_whatever_is_accepted_is_printable_ascii_and_stable(text: str) -> None:
    mailbox = parse_mailbox(text)
    kept = "" if mailbox is None else mailbox.text
    assert kept.isascii() and (kept.isprintable())
    assert mailbox is None or (parse_mailbox(kept) == mailbox and address.split_address(kept) == mailbox)
    assert mailbox is None or (mailbox.user and mailbox.domain)


_ATOM = st.text(alphabet=string.ascii_letters + string.digits + "!#$%&'*+-/=?^_`{|}~", min_size=1, max_size=20)
_LABEL = st.from_regex(r"\A[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?\Z")


@given(st.lists(_ATOM, min_size=1, max_size=4), st.lists(_LABEL, min_size=1, max_size=4))
def test_every_dot_string_at_a_host_is_accepted_unchanged(atoms: list[str], labels: list[str]) -> None:
    user, domain = ".".join(atoms), ".".join(labels)
    assert parse_mailbox(f"{user}@{domain}") == Mailbox(user, domain)


@given(st.text(alphabet=[chr(code) for code in range(32, 127)], min_size=1, max_size=60))
def test_every_printable_text_can_be_a_quoted_local_part(content: str) -> None:
    escaped = content.replace("\\", "\\\\").replace('"', '\\"')
    mailbox = parse_mailbox(f'"{escaped}"@x.y')
    assert mailbox is not None
    assert address.local_name(mailbox.user) == content.partition("+")[0].lower()
