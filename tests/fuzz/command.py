"""A command line: verb and argument, the addresses and parameters of MAIL and RCPT, the name of EHLO, relay URLs.

What is taken has one form, is taken again in that form, and holds nothing that could cut a line or a key behind us.
"""

import re
from collections.abc import Sequence

from smtpfleet.contracts.status import Status
from smtpfleet.mail.address import (
    DOMAIN_LIMIT,
    LOCAL_PART_LIMIT,
    full_name,
    is_valid_domain,
    is_valid_helo,
    is_valid_local_part,
    parse_mailbox,
    split_address,
)
from smtpfleet.mail.grammar import parse_mail_from, parse_rcpt_to
from smtpfleet.mail.internationalized import parse_internationalized
from smtpfleet.mail.mail_parameters import MailArgs
from smtpfleet.mail.parameters import PARAMETER_ECHO_LIMIT
from smtpfleet.mail.rcpt_parameters import RcptArgs, decode_orcpt
from smtpfleet.mail.relay_url import RelayUrl, parse_modern_relay
from smtpfleet.mail.xtext import decode_unitext, decode_xtext, encode_unitext, encode_xtext
from smtpfleet.smtp_in.command import parse_line

WORDS: Sequence[bytes] = (
    b"MAIL FROM:<", b"RCPT TO:<", b">", b"<", b"@", b".", b"..", b'"', b"\\", b'\\"', b"joe", b"d.org", b"[192.0.2.1]", b"[IPv6:2001:db8::1]", b"[IPv6:",
    b"]", b"@a,@b:", b"postmaster", b" SIZE=", b"10", b" BODY=8BITMIME", b" BODY=BINARYMIME", b" SMTPUTF8", b" RET=HDRS", b" ENVID=", b" AUTH=", b"<>",
    b" NOTIFY=", b"NEVER", b"SUCCESS,FAILURE", b" ORCPT=rfc822;", b" ORCPT=utf-8;", b"\\x{E9}", b"+2B", b"+0A", b"\\x{110000}", b"\\x{D800}", b"\xc3\xa9",
    b"\xe2\x80\x8d", b"\xe3\x80\x82", b"xn--", b"xn--a", b"\xef\xbc\xa0", b"\xf0\x9f\x92\xa9", b"EHLO ", b"\t", b" ", b"\r\n", b"\n", b"\r", b"\0", b"\x7f", b"-", b"_",
    b"smtp+tls://", b"l@h:25", b"%", b"!", b"A" * 64, b"a." * 40, "ß".encode(), "İ".encode(), "\u0660".encode(), "\u05d0".encode(),
)  # fmt: skip
_is_unsafe = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]").search


def check(data: bytes) -> None:
    """One line; and its parts as if they had come alone."""
    line = data.partition(b"\n")[0]
    assert isinstance(parse_line(line.rstrip(b"\r") + b"\n"), Status), "a line that ends in LF alone is no command"
    parsed = parse_line(line.removesuffix(b"\r") + b"\r\n")
    if isinstance(parsed, Status):
        assert parsed.code == 500
    else:
        verb, arg = parsed
        assert verb.isupper() or not verb
        assert not re.search(rb"[\x00-\x08\x0a-\x1f\x7f]", arg) and not arg.endswith((b" ", b"\t"))
        for is_utf8 in (False, True):
            for has_dsn in (False, True):
                _check_mail(arg, has_dsn)
                _check_rcpt(arg, has_dsn, is_utf8)
    text = data.decode("utf-8", "replace")
    _check_texts(text)
    _check_url(text)


def _check_mail(arg: bytes, has_dsn: bool) -> None:
    args = parse_mail_from(arg, has_dsn=has_dsn)
    if not isinstance(args, MailArgs):
        _check_refusal(args)
        return
    assert args.is_utf8 or args.sender.isascii()
    if args.sender:
        _check_address(args.sender)
        again = parse_mail_from(f"FROM:<{args.sender}>{' SMTPUTF8' * args.is_utf8}".encode())
        assert isinstance(again, MailArgs) and again.sender == args.sender
    assert (
        0 <= args.size_bytes < 10**20 and args.body in ("", "7BIT", "8BITMIME") and args.dsn_ret in ("", "FULL", "HDRS")
    )
    assert args.dsn_envid.isascii() and args.dsn_envid.isprintable() and " " not in args.dsn_envid
    assert not _is_unsafe(args.auth) and (has_dsn or not (args.dsn_ret or args.dsn_envid))


def _check_rcpt(arg: bytes, has_dsn: bool, is_utf8: bool) -> None:
    args = parse_rcpt_to(arg, has_dsn=has_dsn, is_utf8=is_utf8)
    if not isinstance(args, RcptArgs):
        _check_refusal(args)
        return
    assert is_utf8 or args.rcpt.isascii()
    if args.rcpt.lower() != "postmaster":
        _check_address(args.rcpt)
    again = parse_rcpt_to(f"TO:<{args.rcpt}>".encode(), is_utf8=is_utf8)
    assert isinstance(again, RcptArgs) and again.rcpt == args.rcpt
    assert has_dsn or not (args.dsn_notify or args.dsn_orcpt)
    if args.dsn_orcpt:
        assert is_utf8 or args.dsn_orcpt.isascii()
        decoded = decode_orcpt(args.dsn_orcpt)
        assert decoded and not _is_unsafe(decoded) and not _is_unsafe(args.dsn_orcpt) and " " not in args.dsn_orcpt


def _check_refusal(status: Status) -> None:
    assert status.code >= 500 and status.line.isascii() and status.line.isprintable()
    assert len(status.line) < 100 + PARAMETER_ECHO_LIMIT


def _check_address(address: str) -> None:
    halves = split_address(address)
    assert not _is_unsafe(address) and is_valid_domain(halves.domain)
    assert (
        len(halves.user.encode()) <= LOCAL_PART_LIMIT and len(halves.domain) <= DOMAIN_LIMIT and halves.text == address
    )
    assert full_name(halves.user) == full_name(halves.user).lower()
    again = parse_internationalized(address)
    assert again is not None and again.text == address


def _check_texts(text: str) -> None:
    mailbox = parse_mailbox(text)
    if mailbox is not None:
        assert text.isascii() and is_valid_local_part(mailbox.user) and parse_mailbox(mailbox.text) == mailbox
    elif (mailbox := parse_internationalized(text)) is not None:
        assert parse_internationalized(mailbox.text) == mailbox
    if is_valid_helo(text):
        assert text.isascii() and not _is_unsafe(text) and " " not in text
    decoded = decode_xtext(text)
    if decoded is not None:
        assert decode_xtext(encode_xtext(decoded)) == decoded
    known = decode_unitext(text)
    if known is not None:
        assert not _is_unsafe(known) and decode_unitext(encode_unitext(known)) == known


def _check_url(text: str) -> None:
    url = parse_modern_relay(text)
    if isinstance(url, RelayUrl):
        assert url.host and url.host == url.host.lower() and 0 <= url.port <= 65535 and not _is_unsafe(url.host)
    else:
        assert url.reason


def seeds() -> Sequence[bytes]:
    """Lines of every kind."""
    return [
        b'MAIL FROM:<"a b"@[IPv6:2001:db8::1]> SIZE=10 BODY=8BITMIME RET=HDRS ENVID=+2B AUTH=<>',
        b"MAIL FROM:<> SMTPUTF8",
        "RCPT TO:<@a,@b:é@é.test> ORCPT=utf-8;\\x{E9}@d NOTIFY=SUCCESS,DELAY".encode(),
        "MAIL FROM:<joe@bücher.test> SMTPUTF8".encode(),
        b"RCPT TO:<PostMaster>",
        b"smtp+tls://label@[::1]:25",
        b"EHLO [192.0.2.1]",
        '"é b"@d.org'.encode(),
    ]
