"""Format strings (reference 1.7, 13.2) and that no address escapes the folder a format names."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpfleet.contracts.envelope import Envelope, LocalDispatcher
from smtpfleet.mail.address import parse_mailbox
from smtpfleet.mail.formats import FormatError, expand_format, format_fault


def envelope(*, sender: str = "s@peer.test", rcpt: str = "User+Tag@Example.org", dest: str = "") -> Envelope:
    return Envelope(
        evpid="0" * 24,
        sender=sender,
        rcpt=rcpt,
        dest=dest or rcpt,
        dispatcher=LocalDispatcher("maildir", "~/Maildir", "user", "users"),
        tag="",
        helo="client.test",
        hostname="client.test",
        peer="192.0.2.9",
        smtpname="mx.example.test",
        created_at_ms=0,
        expire_s=345600,
    )


def expanded(text: str, **addresses: str) -> str:
    return expand_format(text, envelope=envelope(**addresses), home="/home/user", username="user")


@pytest.mark.parametrize(
    ("text", "result"),
    [
        pytest.param("~/Maildir", "/home/user/Maildir", id="the home"),
        pytest.param("/var/~/x", "/var/~/x", id="a tilde elsewhere"),
        pytest.param("~user/x", "~user/x", id="a tilde without its slash"),
        pytest.param("%{rcpt:lowercase|strip}", "user@example.org", id="modifiers"),
        pytest.param("%{rcpt.domain[0:6]}", "Example", id="a range"),
        pytest.param("%{rcpt.domain[-3:]}", "org", id="the last three"),
        pytest.param("%{rcpt.domain[0:-4]}", "Example", id="all but the last four"),
        pytest.param("%{rcpt.domain[:2]}", "Exa", id="the first three"),
        pytest.param("%{rcpt.domain[5:1000]}", "le.org", id="an end beyond the end"),
        pytest.param("%{rcpt.domain[0]}", "E", id="one character"),
        pytest.param("%{rcpt.domain[-1]}", "g", id="the last character, which OpenSMTPD refuses by mistake"),
        pytest.param(
            "%{rcpt.domain[0]:lowercase}", "e", id="a range and a modifier, which OpenSMTPD refuses by mistake"
        ),
        pytest.param("%{rcpt.domain[:2]:uppercase|raw}", "EXA", id="a range and modifiers"),
        pytest.param("%{RCPT.User}", "User+Tag", id="token names in any letter case"),
        pytest.param("%{dest.user:strip}", "User", id="strip a local part"),
        pytest.param("%{sender.user}.%{sender.domain}.%{sender}", "s.peer.test.s@peer.test", id="the sender"),
        pytest.param("%{user.username}:%{user.directory}", "user:/home/user", id="the user"),
        pytest.param("100%", "100%", id="a percent sign"),
        pytest.param("%u", "%u", id="another percent sequence"),
        pytest.param("%%{rcpt}", "%{rcpt}", id="a doubled percent sign"),
    ],
)
def test_expansion(text: str, result: str) -> None:
    assert expanded(text) == result


@pytest.mark.parametrize(
    ("text", "result"),
    [
        pytest.param("%{rcpt.user}", "a:b::", id="slash and wildcards"),
        pytest.param("%{rcpt.user:raw}", "a:b*?", id="raw keeps wildcards, never a slash"),
    ],
)
def test_values_are_made_harmless(text: str, result: str) -> None:
    assert expanded(text, rcpt="a/b*?@x.test") == result


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("%{foo}", id="an unknown token"),
        pytest.param("%{}", id="an empty token"),
        pytest.param("%{rcpt:shout}", id="an unknown modifier"),
        pytest.param("%{rcpt.domain[99]}", id="beyond the end"),
        pytest.param("%{rcpt.domain[99:]}", id="a range beyond the end"),
        pytest.param("%{rcpt.domain[3:1]}", id="a range that ends before it begins"),
        pytest.param("%{rcpt.domain[-99]}", id="before the beginning"),
        pytest.param("%{rcpt.domain[-1025:]}", id="an offset beyond the limit"),
        pytest.param("%{rcpt.domain[a]}", id="no number"),
        pytest.param("%{rcpt.domain[]}", id="an empty range"),
        pytest.param("%{rcpt.user}" * 200, id="a result that is too long"),
    ],
)
def test_faults(text: str) -> None:
    with pytest.raises(FormatError):
        expanded(text)


def test_an_empty_value_is_a_fault() -> None:
    with pytest.raises(FormatError, match=r"empty: sender\.user"):
        expanded("/bounces/%{sender.user}", sender="")


def test_characters_of_a_quoted_address_cannot_climb() -> None:
    with pytest.raises(FormatError, match="climb"):
        expanded("/mail/%{rcpt.user[1:2]}/x", rcpt='"..."@x.test')


def test_climbing_that_the_operator_wrote_is_his() -> None:
    assert expanded("~/../shared") == "/home/user/../shared"


@given(st.text(alphabet='./*?ab"\\ +', min_size=1, max_size=12), st.integers(-4, 4), st.integers(-4, 4))
def test_no_local_part_leaves_the_folder(content: str, begin: int, end: int) -> None:
    quoted = content.replace("\\", "\\\\").replace('"', '\\"')
    mailbox = parse_mailbox(f'"{quoted}"@x.test')
    assert mailbox is not None
    try:
        path = expanded(f"/mail/%{{rcpt.user[{begin}:{end}]}}/%{{dest.user:raw}}", rcpt=mailbox.text)
    except FormatError:
        path = "/mail/-/-"
    assert path.count("/") == 3 and ".." not in path.split("/")


# The modern form


def modern(text: str, delimiter: str = "+", **addresses: str) -> str:
    return expand_format(
        text, envelope=envelope(**addresses), home="/home/user", username="user", is_modern=True, delimiter=delimiter
    )


@pytest.mark.parametrize(
    ("text", "addresses", "result"),
    [
        pytest.param("x%{sender.user}y", {"sender": ""}, "xy", id="an empty value is allowed"),
        pytest.param("%{sender.user[0:3]}", {"sender": ""}, "", id="with a range, too"),
        pytest.param("%{mbox.from}", {"sender": ""}, "MAILER-DAEMON", id="the name of the null sender"),
        pytest.param("%{mbox.from}", {}, "s@peer.test", id="the sender"),
        pytest.param("%{rcpt.user}", {"rcpt": "!#$%&'*?`{|}~@x.test"}, ":" * 13, id="what a shell might read"),
        pytest.param("%{rcpt.user:raw}", {"rcpt": "a!#/b@x.test"}, "a!#:b", id="raw keeps all but slashes"),
    ],
)
def test_the_modern_form(text: str, addresses: dict[str, str], result: str) -> None:
    assert modern(text, **addresses) == result


def test_strip_cuts_at_the_delimiter_of_the_configuration() -> None:
    assert modern("%{rcpt:strip}", "-", rcpt="a+b-c@x.test") == "a+b@x.test"
    assert modern("%{rcpt.user:strip|lowercase}", "+", rcpt="A+b-c@x.test") == "a"


def test_tokens_of_the_modern_form_are_unknown_to_the_classic_one() -> None:
    with pytest.raises(FormatError):
        expanded("%{mbox.from}")


@given(st.text(alphabet="%{}[]:|~/.*-0123 rcpt.userdomainlowerawstrip", max_size=60), st.booleans())
def test_no_format_breaks_the_expander(text: str, is_modern: bool) -> None:
    try:
        result = expand_format(
            text, envelope=envelope(), home="/home/user", username="user", is_modern=is_modern, delimiter="+"
        )
    except FormatError as fault:
        assert str(fault)
    else:
        assert len(result) <= 1024


@pytest.mark.parametrize(
    ("rcpt", "text", "result"),
    [
        pytest.param('"a b+c d"@x.test', "%{rcpt.user:strip}", '"a b"', id="quotes stay where they must"),
        pytest.param('"a+c d"@x.test', "%{rcpt.user:strip}", "a", id="and go where they need not"),
        pytest.param('"a+c@d"@x.test', "%{rcpt:strip}", "a@x.test", id="an @ of the subaddress"),
        pytest.param('"a+c@d"@x.test', "%{rcpt.user:strip}", "a", id="also where no domain follows"),
        pytest.param('"a@d"@x.test', "%{rcpt.user:strip}", '"a@d"', id="no subaddress"),
    ],
)
def test_strip_of_quoted_local_parts(rcpt: str, text: str, result: str) -> None:
    assert expanded(text, rcpt=rcpt) == result


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        pytest.param("~/%{rcpt.user}/%%{nosuch}/%u/100%", "", id="nothing wrong"),
        pytest.param("%{RCPT.User[0:2]:Lowercase|raw}%{dest[-3:]}", "", id="in any letter case, with ranges"),
        pytest.param("%{nosuch}", "unknown format token: nosuch", id="token"),
        pytest.param("%{}", "unknown format token: ", id="nothing between the braces"),
        pytest.param("%{rcpt:lower}", "unknown format modifier: lower", id="modifier"),
        pytest.param("%{rcpt[4:2]}", "format range out of bounds: rcpt[4:2]", id="a range that is never there"),
        pytest.param("%{rcpt[2000]}", "format range out of bounds: rcpt[2000]", id="an offset that is never there"),
        pytest.param("%{rcpt[400]}", "", id="an offset that may be there"),
        pytest.param("%{mbox.from}", "unknown format token: mbox.from", id="a token of the modern form"),
    ],
)
def test_what_no_envelope_can_expand(text: str, fault: str) -> None:
    assert format_fault(text) == fault


def test_a_token_of_the_modern_form_in_the_modern_form() -> None:
    assert format_fault("%{mbox.from}", is_modern=True) == ""
