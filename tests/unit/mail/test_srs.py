"""SRS addresses: made as others would make them, read back whole, and believed only as they were given out.

The signatures were computed with pysrs 1.0.3 (SRS.Base.hash_create over what stands behind `HHHH=`), those of OpenSMTPD with openssl.
"""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpfleet.mail.address import local_part, parse_mailbox
from smtpfleet.mail.srs import ADDRESS_LIMIT, SrsFault, decode, encode, is_srs, rewrite_domain

KEY, DAY, TTL = "topsecret", 20000, 4
OURS = "SRS0=6oA6=RA=example.org=alice@example.test"
VECTORS = [
    pytest.param(KEY, 20000, "alice@example.org", "example.test", OURS, id="plain"),
    pytest.param(
        KEY, 20000, "Alice.Liddell@Example.ORG", "example.test",
        "SRS0=cpIF=RA=Example.ORG=Alice.Liddell@example.test", id="capitals are kept",
    ),
    pytest.param(
        "another key", 20479, "bob+tag@sub.example.net", "mx.example.test",
        "SRS0=e8JN=77=sub.example.net=bob+tag@mx.example.test", id="the last day of a round",
    ),
    pytest.param(
        KEY, 20480, "user=with=equals@example.org", "example.test",
        "SRS0=t5Y5=AA=example.org=user=with=equals@example.test", id="the first day of the next",
    ),
    pytest.param(
        "schlüssel", 20001, "дмитрий@xn--e1aybc.test", "example.test",
        "SRS0=QpaV=RB=xn--e1aybc.test=дмитрий@example.test", id="beyond ASCII",
    ),
    pytest.param(
        KEY, 20000, '"a b"@example.org', "example.test",
        '"SRS0=4m02=RA=example.org=a b"@example.test', id="a quoted local part",
    ),
    pytest.param(
        KEY, 20000, "SRS0=LUT3=RA=example.org=alice@first.example", "example.test",
        "SRS1=6Rzi=first.example==LUT3=RA=example.org=alice@example.test", id="of another forwarder",
    ),
    pytest.param(
        KEY, 20000, "SRS1=Wi5K=first.example==LUT3=RA=example.org=alice@second.example", "example.test",
        "SRS1=6Rzi=first.example==LUT3=RA=example.org=alice@example.test", id="of the second forwarder",
    ),
]  # fmt: skip
FORMER = "SRS0=LUT3=RA=example.org=alice@first.example"
OPENSMTPD = {"alice@example.org": "LkRG", FORMER: "C/cH"}
STAMPS = {20000: "RA", 20479: "77", 20480: "AA"}


@pytest.mark.parametrize(("key", "day", "sender", "domain", "rewritten"), VECTORS)
def test_vectors(key: str, day: int, sender: str, domain: str, rewritten: str) -> None:
    assert encode(sender, domain, key, day) == rewritten
    back = decode(rewritten, [key], day, TTL)
    assert back == (FORMER if sender.startswith("SRS1") else sender)


_ATEXT = string.ascii_letters + string.digits + "!#$%&'*+-/=?^_`{|}~"
_users = st.one_of(
    st.from_regex(rf"[{_ATEXT[:62]}!#$%&'*+/=?^_`{{|}}~-]{{1,20}}(\.[{_ATEXT[:62]}=+-]{{1,10}})?", fullmatch=True),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=20).map(local_part),
    st.text("дмитрийüλ", min_size=1, max_size=10),
)
_domains = st.sampled_from(["example.org", "a.b.c.example.net", "[192.0.2.1]", "xn--e1aybc.test", "Example.ORG"])


@given(_users, _domains, _domains, st.text(min_size=1), st.integers(0, 100_000), st.integers(0, TTL))
def test_what_is_encoded_comes_back(user: str, domain: str, ours: str, key: str, day: int, age: int) -> None:
    sender = f"{user}@{domain}"
    rewritten = encode(sender, ours, key, day)
    assert not isinstance(rewritten, SrsFault)
    assert rewritten.endswith("@" + ours) and (not rewritten.isascii() or parse_mailbox(rewritten) is not None)
    assert is_srs(rewritten)
    assert decode(rewritten, ["other", key], day + age, TTL) == sender


@given(_users, st.integers(0, 100_000))
def test_a_chain_of_forwarders_leads_back_to_the_first(user: str, day: int) -> None:
    first = encode(f"{user}@example.org", "first.example", "1", day)
    second = encode(str(first), "second.example", "2", day)
    third = encode(str(second), "third.example", "3", day)
    assert str(third).strip('"').startswith("SRS1=")
    assert decode(str(third), ["3"], day, TTL) == decode(str(second), ["2"], day, TTL) == first


@given(st.text(), st.text())
def test_nothing_a_peer_may_say_breaks_the_reader(user: str, domain: str) -> None:
    for tag in ("SRS0=", "SRS1=", "srs0=AAAA=AA=", "SRS1=AAAA=a=="):
        assert isinstance(decode(f"{tag}{user}@{domain}", [KEY], DAY, TTL), SrsFault)


@pytest.mark.parametrize("address", [OURS.lower(), OURS.upper(), OURS.replace("SRS0", "sRs0")])
def test_a_mailer_that_folds_case_does_no_harm(address: str) -> None:
    back = decode(address, [KEY], DAY, TTL)
    assert not isinstance(back, SrsFault) and back.lower() == "alice@example.org"


@pytest.mark.parametrize(
    ("address", "fault"),
    [
        pytest.param("SRS0=6oA6=RA=example.org=bob@example.test", SrsFault.FORGED, id="another user"),
        pytest.param("SRS0=6oA6=RA=example.com=alice@example.test", SrsFault.FORGED, id="another domain behind it"),
        pytest.param("SRS0=6oA6=RA=example.or=galice@example.test", SrsFault.FORGED, id="parts that only add up"),
        pytest.param("SRS0=6oA6=RB=example.org=alice@example.test", SrsFault.FORGED, id="another day"),
        pytest.param("SRS0=6oA7=RA=example.org=alice@example.test", SrsFault.FORGED, id="another signature"),
        pytest.param("SRS0=6oA=RA=example.org=alice@example.test", SrsFault.FORGED, id="a shorter signature"),
        pytest.param("SRS0=6oA6=RA=example.org=alice@foreign.test", SrsFault.FORGED, id="another domain of ours"),
        pytest.param("SRS0=LUT3=RA=example.org=alice@first.example", SrsFault.FORGED, id="of another forwarder"),
        pytest.param("SRS1=6Rzi=evil.example==LUT3=RA=example.org=alice@example.test", SrsFault.FORGED, id="SRS1"),
        pytest.param("SRS0=6oA6=R1=example.org=alice@example.test", SrsFault.UNREADABLE, id="no day"),
        pytest.param("SRS0=6oA6=R\u212a=example.org=alice@example.test", SrsFault.UNREADABLE, id="a day in Kelvin"),
        pytest.param("SRS0=6oA6=RA=example.org=@example.test", SrsFault.UNREADABLE, id="no user"),
        pytest.param("SRS0=alice@example.test", SrsFault.UNREADABLE, id="no parts"),
        pytest.param("alice@example.test", SrsFault.UNREADABLE, id="no SRS"),
    ],
)
def test_refused(address: str, fault: SrsFault) -> None:
    assert decode(address, [KEY], DAY, TTL) == fault


def test_without_the_key_nothing_is_believed_and_an_old_key_counts_as_long_as_it_is_given() -> None:
    assert decode(OURS, [], DAY, TTL) == SrsFault.FORGED
    assert decode(OURS, ["new"], DAY, TTL) == SrsFault.FORGED
    assert decode(OURS, ["new", KEY], DAY, TTL) == "alice@example.org"


@pytest.mark.parametrize(("age", "is_good"), [(-2, False), (-1, True), (0, True), (4, True), (5, False), (512, False)])
@pytest.mark.parametrize("day", STAMPS)
def test_age(age: int, is_good: bool, day: int) -> None:
    for sender in ("alice@example.org", f"SRS0=xxxx={STAMPS[day]}=a.test=b@c.test"):
        rewritten = encode(sender, "example.test", KEY, day)
        back = decode(str(rewritten), [KEY], day + age, TTL)
        assert back == (sender if is_good else SrsFault.EXPIRED)


@pytest.mark.parametrize(
    ("address", "original"),
    [
        ("SRS0=DIGEST=RA=example.org=alice@example.test", "alice@example.org"),
        ("SRS1=DIGEST=first.example==LUT3=RA=example.org=alice@example.test", FORMER),
    ],
)
def test_what_opensmtpd_has_signed_is_believed(address: str, original: str) -> None:
    signed = address.replace("DIGEST", OPENSMTPD[original])
    assert decode(signed, [KEY], DAY, TTL) == original
    assert decode(signed, ["other"], DAY, TTL) == SrsFault.FORGED
    assert decode(signed, [KEY], DAY + TTL + 1, TTL) == SrsFault.EXPIRED


@pytest.mark.parametrize(
    "sender", ["SRS0=x@a.test", "SRS0=HHHH=no=day@a.test", "SRS1=HHHH=a.test==HHHH=no=day@b.test", "srs0@a.test"]
)
def test_what_only_looks_like_srs_is_a_sender_like_others(sender: str) -> None:
    rewritten = encode(sender, "example.test", KEY, DAY)
    assert str(rewritten).startswith("SRS0=") and decode(str(rewritten), [KEY], DAY, TTL) == sender


def test_a_separator_that_others_use_is_kept() -> None:
    rewritten = encode("SRS0+LUT3=RA=example.org=alice@first.example", "example.test", KEY, DAY)
    assert str(rewritten).startswith("SRS1=") and "=first.example=+LUT3=" in str(rewritten)
    assert decode(str(rewritten), [KEY], DAY, TTL) == "SRS0+LUT3=RA=example.org=alice@first.example"


def test_beyond_64_octets_it_goes_on_until_mail_cannot_carry_it() -> None:
    long = encode(f"{'u' * 64}@example.org", "example.test", KEY, DAY)
    assert decode(str(long), [KEY], DAY, TTL) == f"{'u' * 64}@example.org"
    label = "d" * 60
    room = ADDRESS_LIMIT - len(f"SRS0=HHHH=RA={label}.test=@example.test")
    at_the_limit = encode(f"{'u' * room}@{label}.test", "example.test", KEY, DAY)
    assert len(str(at_the_limit)) == ADDRESS_LIMIT and at_the_limit != SrsFault.TOO_LONG
    assert encode(f"{'u' * (room + 1)}@{label}.test", "example.test", KEY, DAY) == SrsFault.TOO_LONG
    assert encode(f"{'д' * 130}@a.test", "b.c", KEY, DAY) == SrsFault.TOO_LONG


@pytest.mark.parametrize(
    ("sender", "rcpt", "dest", "domain"),
    [
        pytest.param("a@b.test", "alice@ours.test", "bob@else.test", "ours.test", id="forwarded"),
        pytest.param("a@ours.test", "alice@ours.test", "bob@else.test", "ours.test", id="a sender of ours"),
        pytest.param("", "alice@ours.test", "bob@else.test", "", id="a bounce"),
        pytest.param("a@b.test", "bob@else.test", "bob@else.test", "", id="relayed"),
        pytest.param("a@b.test", "postmaster", "bob@else.test", "mx.test", id="postmaster forwarded"),
        pytest.param("a@b.test", "postmaster", "postmaster@mx.test", "", id="postmaster relayed"),
        pytest.param("root", "alice@ours.test", "bob@else.test", "", id="a sender without a domain"),
    ],
)
def test_whose_sender_is_rewritten(sender: str, rcpt: str, dest: str, domain: str) -> None:
    assert rewrite_domain(sender, rcpt, dest, "mx.test") == domain
