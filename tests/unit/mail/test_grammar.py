"""MAIL and RCPT arguments: what is understood, which refusal the rest gets, and that no octets break the parser."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpfleet.contracts.envelope import DsnNotify
from smtpfleet.contracts.status import Status
from smtpfleet.mail import grammar
from smtpfleet.mail.grammar import MailArgs, RcptArgs, parse_mail_from, parse_rcpt_to
from smtpfleet.mail.parameters import PARAMETER_ECHO_LIMIT
from smtpfleet.mail.rcpt_parameters import decode_orcpt
from smtpfleet.mail.xtext import decode_unitext, decode_xtext, encode_unitext, encode_xtext

MAIL_ACCEPTED = [
    pytest.param(b"FROM:<a@b.test>", MailArgs("a@b.test"), id="plain"),
    pytest.param(b"from:<a@b.test>", MailArgs("a@b.test"), id="any letter case"),
    pytest.param(b"FROM:  <a@b.test>", MailArgs("a@b.test"), id="blanks after the colon"),
    pytest.param(b"FROM:<a@b.test>  ", MailArgs("a@b.test"), id="blanks at the end"),
    pytest.param(b"FROM:<>", MailArgs(""), id="the null path"),
    pytest.param(b"FROM:<> SIZE=10", MailArgs("", 10), id="the null path with a parameter"),
    pytest.param(b"FROM:<@r.test,@s.test:a@b.test>", MailArgs("a@b.test"), id="a source route is dropped"),
    pytest.param(b'FROM:<"a>b"@c.test>', MailArgs('"a>b"@c.test'), id="a bracket inside quotes"),
    pytest.param(rb'FROM:<"a\"> "@c.test>', MailArgs(r'"a\"> "@c.test'), id="an escaped quote"),
    pytest.param(b'FROM:<"a"@c.test>', MailArgs("a@c.test"), id="canonical form"),
    pytest.param(b"FROM:<a@[192.0.2.1]>", MailArgs("a@[192.0.2.1]"), id="a literal"),
    pytest.param(
        b"FROM:<a@b.test> SIZE=1000 BODY=8BITMIME", MailArgs("a@b.test", 1000, "8BITMIME"), id="SIZE and BODY"
    ),
    pytest.param(b"FROM:<a@b.test> body=7bit", MailArgs("a@b.test", 0, "7BIT"), id="parameters in any letter case"),
    pytest.param(b"FROM:<a@b.test> SIZE=99999999999999999999", MailArgs("a@b.test", 10**20 - 1), id="the largest SIZE"),
    pytest.param(b"FROM:<a@b.test> AUTH=<>", MailArgs("a@b.test"), id="AUTH of nobody"),
    pytest.param(b"FROM:<a@b.test> AUTH=e+3Dmc2@c.test", MailArgs("a@b.test", auth="e=mc2@c.test"), id="AUTH"),
    pytest.param(
        b"FROM:<a@b.test> RET=full ENVID=a+2Bb",
        MailArgs("a@b.test", dsn_ret="FULL", dsn_envid="a+2Bb"),
        id="RET and ENVID",
    ),
    pytest.param(
        "FROM:<jürgen@BÜCHER.test> SMTPUTF8".encode(),
        MailArgs("jürgen@xn--bcher-kva.test", is_utf8=True),
        id="UTF-8, and the domain in A-labels",
    ),
    pytest.param(
        "FROM:<a@straße.test> SMTPUTF8".encode(), MailArgs("a@xn--strae-oqa.test", is_utf8=True), id="IDNA of 2008"
    ),
]

BAD_SENDER, NO_FROM = grammar.S553_SENDER_SYNTAX, grammar.S501_MAIL_SYNTAX
MAIL_REFUSED = [
    pytest.param(b"", NO_FROM, id="nothing"),
    pytest.param(b"<a@b.test>", NO_FROM, id="no FROM"),
    pytest.param(b"FROM <a@b.test>", NO_FROM, id="no colon"),
    pytest.param(b"FROM :<a@b.test>", NO_FROM, id="a blank before the colon"),
    pytest.param(b"TO:<a@b.test>", NO_FROM, id="the other command's word"),
    pytest.param(b"FROM:a@b.test", BAD_SENDER, id="no brackets"),
    pytest.param(b"FROM:<a@b.test", BAD_SENDER, id="an open bracket"),
    pytest.param(b"FROM:<<a@b.test>>", BAD_SENDER, id="double brackets"),
    pytest.param(b"FROM:<a@b.test>SIZE=1", BAD_SENDER, id="no blank before a parameter"),
    pytest.param(b"FROM:<a>", BAD_SENDER, id="no domain"),
    pytest.param(b"FROM:<@>", BAD_SENDER, id="an at sign alone"),
    pytest.param(b"FROM:<;sh -c x;@>", BAD_SENDER, id="CVE-2020-7247: an invalid local part with an empty domain"),
    pytest.param(b"FROM:<;sh -c x;>", BAD_SENDER, id="CVE-2020-7247: an invalid local part alone"),
    pytest.param(b"FROM:<@r.test>", BAD_SENDER, id="a route without an address"),
    pytest.param(b"FROM:<@r_t:a@b.test>", BAD_SENDER, id="a malformed route"),
    pytest.param(b"FROM:<a\x00@b.test>", BAD_SENDER, id="NUL"),
    pytest.param(b"FROM:<a\x7f@b.test>", BAD_SENDER, id="DEL"),
    pytest.param(b"FROM:<a@b.test\n>", BAD_SENDER, id="a bare LF"),
    pytest.param(b"FROM:<a@b.test\r>", BAD_SENDER, id="a bare CR"),
    pytest.param("FROM:<ä@b.test>".encode(), grammar.S553_NEEDS_SMTPUTF8, id="UTF-8"),
    pytest.param(b"FROM:<\xff@b.test>", grammar.S553_SENDER_SYNTAX, id="8 bit that is not UTF-8"),
    pytest.param(b"FROM:<a@b.test> RET=ALL", Status(501, "5.5.4", "Invalid value of option RET"), id="RET"),
    pytest.param(b"FROM:<a@b.test> ENVID=a+b", Status(501, "5.5.4", "Invalid value of option ENVID"), id="ENVID"),
    pytest.param(b"FROM:<a@b.test> AUTH=\xff", Status(501, "5.5.4", "Invalid value of option AUTH"), id="AUTH"),
    pytest.param(b"FROM:<a@b.test> SMTPUTF8=1", Status(501, "5.5.4", "Invalid value of option SMTPUTF8"), id="UTF8=1"),
    pytest.param("FROM:<ä\u202e@b.test> SMTPUTF8".encode(), BAD_SENDER, id="a format character"),
    pytest.param("FROM:<ä@b\u2044.test> SMTPUTF8".encode(), BAD_SENDER, id="a domain that IDNA refuses"),
    pytest.param(b"FROM:<\xe4@b.test> SMTPUTF8", BAD_SENDER, id="Latin-1"),
    pytest.param(b"FROM:<a@b.test> x-y=1 SIZE=1", Status(555, "5.5.4", "Unsupported option X-Y"), id="unknown"),
    pytest.param(b"FROM:<a@b.test> =1", Status(501, "5.5.4", "Option syntax error"), id="a nameless parameter"),
    pytest.param(b"FROM:<a@b.test> X\x00Y", Status(501, "5.5.4", "Option syntax error"), id="a control in a parameter"),
    pytest.param(b"FROM:<a@b.test> SIZE=a", Status(501, "5.5.4", "Invalid value of option SIZE"), id="SIZE, no number"),
    pytest.param(b"FROM:<a@b.test> SIZE", Status(501, "5.5.4", "Invalid value of option SIZE"), id="SIZE, no value"),
    pytest.param(
        b"FROM:<a@b.test> SIZE=" + b"1" * 21, Status(501, "5.5.4", "Invalid value of option SIZE"), id="SIZE, too long"
    ),
    pytest.param(
        b"FROM:<a@b.test> SIZE=1 size=1", Status(501, "5.5.4", "Invalid value of option SIZE"), id="SIZE twice"
    ),
    pytest.param(
        b"FROM:<a@b.test> BODY=BINARYMIME", Status(501, "5.5.4", "Invalid value of option BODY"), id="BINARYMIME"
    ),
]

BAD_RCPT = grammar.S501_RECIPIENT_SYNTAX
RCPT_ACCEPTED = [
    pytest.param(b"TO:<a@b.test>", "a@b.test", id="plain"),
    pytest.param(b"to: <a@b.test> ", "a@b.test", id="letter case and blanks"),
    pytest.param(b"TO:<postmaster>", "postmaster", id="postmaster without a domain"),
    pytest.param(b"TO:<PostMaster>", "PostMaster", id="postmaster in any case"),
    pytest.param(b"TO:<@r.test:a@b.test>", "a@b.test", id="a source route is dropped"),
]
RCPT_REFUSED = [
    pytest.param(b"TO:<>", BAD_RCPT, id="the null path"),
    pytest.param(b"TO:<a>", BAD_RCPT, id="no domain"),
    pytest.param(b"TO:a@b.test", BAD_RCPT, id="no brackets"),
    pytest.param(b"TO:<a@b.test>x", BAD_RCPT, id="something behind the path"),
    pytest.param(b"TO:<a\t@b.test>", BAD_RCPT, id="a control"),
    pytest.param(b"FROM:<a@b.test>", grammar.S501_RCPT_SYNTAX, id="the other command's word"),
    pytest.param("TO:<ü@b.test>".encode(), grammar.S553_NEEDS_SMTPUTF8, id="UTF-8"),
    pytest.param(b"TO:<a@b.test> NOTIFY=", Status(501, "5.5.4", "Option syntax error"), id="NOTIFY"),
    pytest.param(b"TO:<a@b.test> ORCPT=a@b", Status(501, "5.5.4", "Invalid value of option ORCPT"), id="ORCPT"),
    pytest.param(b"TO:<a@b.test> \xff", Status(501, "5.5.4", "Option syntax error"), id="a malformed parameter"),
]


@pytest.mark.parametrize(("arg", "args"), MAIL_ACCEPTED)
def test_mail_is_understood(arg: bytes, args: MailArgs) -> None:
    assert parse_mail_from(arg) == args


@pytest.mark.parametrize(("arg", "status"), MAIL_REFUSED)
def test_mail_is_refused(arg: bytes, status: Status) -> None:
    assert parse_mail_from(arg) == status


@pytest.mark.parametrize(("arg", "rcpt"), RCPT_ACCEPTED)
def test_rcpt_is_understood(arg: bytes, rcpt: str) -> None:
    assert parse_rcpt_to(arg) == RcptArgs(rcpt)


@pytest.mark.parametrize(
    ("path", "address"),
    [
        pytest.param("a", "a@mx.test", id="a user"),
        pytest.param('"a b"', '"a b"@mx.test', id="quoted"),
        pytest.param('"a@b"', '"a@b"@mx.test', id="an at sign in quotes"),
        pytest.param('"a"', "a@mx.test", id="canonical form"),
        pytest.param("@r.test:a", "a@mx.test", id="behind a source route"),
        pytest.param("ä", "ä@mx.test", id="beyond ASCII"),
        pytest.param("a@b.test", "a@b.test", id="with a domain"),
        pytest.param(";sh -c x;", None, id="CVE-2020-7247: an invalid local part alone"),
        pytest.param(";id;@", None, id="CVE-2020-7247: an invalid local part with an empty domain"),
        pytest.param("a@", None, id="an empty domain"),
        pytest.param("@", None, id="an at sign alone"),
        pytest.param("@r.test:", None, id="nothing behind a source route"),
        pytest.param("@r.test", None, id="a route alone"),
        pytest.param("a..b", None, id="an empty atom"),
        pytest.param("a" * 256, None, id="too long"),
        pytest.param("ä\u202e", None, id="a format character"),
        pytest.param("ä b", None, id="a blank"),
    ],
)
def test_where_mail_begins_an_address_may_lack_its_domain(path: str, address: str | None) -> None:
    mail = parse_mail_from(f"FROM:<{path}> SMTPUTF8".encode(), own_domain="mx.test")
    assert mail == (BAD_SENDER if address is None else MailArgs(address, is_utf8=True))
    rcpt = parse_rcpt_to(f"TO:<{path}>".encode(), is_utf8=True, own_domain="mx.test")
    assert rcpt == (BAD_RCPT if address is None else RcptArgs(address))


def test_postmaster_and_the_null_path_stay_without_a_domain() -> None:
    assert parse_rcpt_to(b"TO:<Postmaster>", own_domain="mx.test") == RcptArgs("Postmaster")
    assert parse_mail_from(b"FROM:<>", own_domain="mx.test") == MailArgs("")
    assert parse_rcpt_to(b"TO:<>", own_domain="mx.test") == BAD_RCPT


@given(st.text(st.sampled_from('a;|"\\@.: \n<>$(é'), max_size=12))
def test_what_is_completed_is_an_address_by_itself(path: str) -> None:
    answer = parse_mail_from(f"FROM:<{path}> SMTPUTF8".encode(), own_domain="mx.test")
    if isinstance(answer, MailArgs) and answer.sender:
        again = parse_mail_from(f"FROM:<{answer.sender}> SMTPUTF8".encode())
        assert again == answer


@pytest.mark.parametrize(("arg", "status"), RCPT_REFUSED)
def test_rcpt_is_refused(arg: bytes, status: Status) -> None:
    assert parse_rcpt_to(arg) == status


def test_a_long_unknown_option_is_repeated_in_part() -> None:
    refusal = parse_mail_from(b"FROM:<> " + b"X" * 900)
    assert refusal == Status(555, "5.5.4", "Unsupported option " + "X" * PARAMETER_ECHO_LIMIT)


_OCTETS = st.one_of(st.binary(max_size=80), st.lists(st.sampled_from([b"<", b">", b'"', b"\\", b"a", b"@", b".", b" ", b":", b"\x00", b"\xff", b"SIZE=1", b"="]), max_size=20).map(b"".join))  # fmt: skip


@given(st.sampled_from([b"", b"FROM:", b"FROM:<a@b.test>", b"FROM:<"]), _OCTETS)
def test_mail_never_breaks_and_never_lets_a_control_through(prefix: bytes, octets: bytes) -> None:
    answer = parse_mail_from(prefix + octets)
    text = answer.text if isinstance(answer, Status) else answer.sender
    assert text.isascii() and (not text or text.isprintable())
    assert not isinstance(answer, Status) or answer.code in (501, 553, 555)


@given(st.text())
def test_with_utf8_a_sender_is_printable_and_its_domain_ascii(octets: str) -> None:
    answer = parse_mail_from(f"FROM:<{octets}@b.test> SMTPUTF8".encode("utf-8", "surrogatepass"))
    if isinstance(answer, MailArgs):
        user, _, domain = answer.sender.rpartition("@")
        assert domain.isascii() and user.replace("\u200c", "").replace("\u200d", "").isprintable()


@pytest.mark.parametrize(
    ("arg", "args"),
    [
        pytest.param(b"TO:<a@b.test> NOTIFY=NEVER", RcptArgs("a@b.test", int(DsnNotify.NEVER)), id="never"),
        pytest.param(
            b"TO:<a@b.test> NOTIFY=delay,SUCCESS ORCPT=rfc822;x+2By@c.test",
            RcptArgs("a@b.test", int(DsnNotify.DELAY | DsnNotify.SUCCESS), "rfc822;x+2By@c.test"),
            id="both",
        ),
    ],
)
def test_rcpt_parameters_are_understood(arg: bytes, args: RcptArgs) -> None:
    assert parse_rcpt_to(arg) == args


@pytest.mark.parametrize("name", ["RET=FULL", "ENVID=1"])
def test_without_dsn_mail_knows_no_parameter_of_it(name: str) -> None:
    refusal = parse_mail_from(f"FROM:<> {name}".encode(), has_dsn=False)
    assert refusal == Status(555, "5.5.4", f"Unsupported option {name.partition('=')[0]}")


@given(st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126)))
def test_xtext_comes_back(text: str) -> None:
    assert decode_xtext(encode_xtext(text)) == text


@given(st.text(st.characters(exclude_categories=("C", "Z"))))
def test_unitext_comes_back(text: str) -> None:
    assert encode_unitext(text).isascii() and decode_unitext(encode_unitext(text)) == text


@given(st.text())
def test_no_decoded_text_has_a_control_character(text: str) -> None:
    for decoded in (
        decode_xtext(text),
        decode_orcpt(text),
        decode_orcpt(f"utf-8;{text}"),
        decode_orcpt(f"rfc822;{text}"),
    ):
        assert decoded is None or decoded.isprintable()


@pytest.mark.parametrize(
    ("text", "decoded"),
    [
        pytest.param("rfc822;a+2Bb@c.test", "rfc822;a+b@c.test", id="xtext"),
        pytest.param(r"utf-8;j\x{FC}rgen@c.test", "utf-8;jürgen@c.test", id="unitext"),
        pytest.param("utf-8;jürgen@c.test", "utf-8;jürgen@c.test", id="UTF-8"),
        pytest.param(r"utf-8;\x{D800}@c.test", None, id="a surrogate"),
        pytest.param(r"utf-8;\x{FFFFFF}@c.test", None, id="beyond Unicode"),
        pytest.param(r"utf-8;\x{0A}", None, id="a line end"),
        pytest.param("rfc822;jürgen@c.test", None, id="not ASCII"),
        pytest.param("rfc 822;a", None, id="a bad type"),
    ],
)
def test_original_recipients(text: str, decoded: str | None) -> None:
    assert decode_orcpt(text) == decoded


@given(st.sampled_from([b"", b"TO:", b"TO:<a@b.test>", b"TO:<"]), _OCTETS)
def test_rcpt_never_breaks_and_never_lets_a_control_through(prefix: bytes, octets: bytes) -> None:
    answer = parse_rcpt_to(prefix + octets)
    text = answer.text if isinstance(answer, Status) else answer.rcpt
    assert text and text.isascii() and text.isprintable()
