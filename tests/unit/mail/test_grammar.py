"""MAIL and RCPT arguments: what is understood, which refusal the rest gets, and that no octets break the parser."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpfleet.contracts.status import Status
from smtpfleet.mail import grammar
from smtpfleet.mail.grammar import MailArgs, RcptArgs, parse_mail_from, parse_rcpt_to

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
    pytest.param(b"FROM:<a@b.test> AUTH=<>", MailArgs("a@b.test"), id="AUTH is ignored"),
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
    pytest.param("FROM:<ä@b.test>".encode(), grammar.S553_NOT_ASCII, id="UTF-8"),
    pytest.param(b"FROM:<\xff@b.test>", grammar.S553_NOT_ASCII, id="8 bit that is not UTF-8"),
    pytest.param(
        b"FROM:<a@b.test> RET=FULL", Status(555, "5.5.4", "Unsupported option RET"), id="DSN is not offered yet"
    ),
    pytest.param(b"FROM:<a@b.test> SMTPUTF8", Status(555, "5.5.4", "Unsupported option SMTPUTF8"), id="SMTPUTF8"),
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
    pytest.param("TO:<ü@b.test>".encode(), grammar.S553_NOT_ASCII, id="UTF-8"),
    pytest.param(
        b"TO:<a@b.test> NOTIFY=NEVER", Status(555, "5.5.4", "Unsupported option NOTIFY"), id="DSN is not offered yet"
    ),
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


@pytest.mark.parametrize(("arg", "status"), RCPT_REFUSED)
def test_rcpt_is_refused(arg: bytes, status: Status) -> None:
    assert parse_rcpt_to(arg) == status


def test_a_long_unknown_option_is_repeated_in_part() -> None:
    refusal = parse_mail_from(b"FROM:<> " + b"X" * 900)
    assert refusal == Status(555, "5.5.4", "Unsupported option " + "X" * grammar.PARAMETER_ECHO_LIMIT)


_OCTETS = st.one_of(st.binary(max_size=80), st.lists(st.sampled_from([b"<", b">", b'"', b"\\", b"a", b"@", b".", b" ", b":", b"\x00", b"\xff", b"SIZE=1", b"="]), max_size=20).map(b"".join))  # fmt: skip


@given(st.sampled_from([b"", b"FROM:", b"FROM:<a@b.test>", b"FROM:<"]), _OCTETS)
def test_mail_never_breaks_and_never_lets_a_control_through(prefix: bytes, octets: bytes) -> None:
    answer = parse_mail_from(prefix + octets)
    text = answer.text if isinstance(answer, Status) else answer.sender
    assert text.isascii() and (not text or text.isprintable())
    assert not isinstance(answer, Status) or answer.code in (501, 553, 555)


@given(st.sampled_from([b"", b"TO:", b"TO:<a@b.test>", b"TO:<"]), _OCTETS)
def test_rcpt_never_breaks_and_never_lets_a_control_through(prefix: bytes, octets: bytes) -> None:
    answer = parse_rcpt_to(prefix + octets)
    text = answer.text if isinstance(answer, Status) else answer.rcpt
    assert text and text.isascii() and text.isprintable()
