"""The arguments of MAIL and RCPT: the path of RFC 5321 §4.1.2, with what RFC 6531 adds to it.

Owns which paths are syntactically fine and the refusal of those that are not; parameters are read by mail_parameters and
rcpt_parameters. Decides nothing about limits, relaying or recipients. Called by smtp-in once per command. OpenSMTPD: smtp_session.c
smtp_parse_mail_args, smtp_parse_rcpt_args, smtp_mailaddr.
"""

import re

from smtpfleet.contracts.status import Status
from smtpfleet.mail.address import Mailbox, complete_mailbox, is_valid_domain, parse_mailbox
from smtpfleet.mail.internationalized import parse_internationalized
from smtpfleet.mail.mail_parameters import MailArgs, mail_args
from smtpfleet.mail.rcpt_parameters import RcptArgs, rcpt_args

__all__ = ["MailArgs", "RcptArgs", "parse_mail_from", "parse_rcpt_to"]

S501_MAIL_SYNTAX = Status(501, "5.5.2", "Syntax: MAIL FROM:<address>")
S501_RCPT_SYNTAX = Status(501, "5.5.2", "Syntax: RCPT TO:<address>")
S553_SENDER_SYNTAX = Status(553, "5.1.7", "Sender address syntax error")
S501_RECIPIENT_SYNTAX = Status(501, "5.1.3", "Recipient address syntax error")
S553_NEEDS_SMTPUTF8 = Status(553, "5.6.7", "Internationalized address needs SMTPUTF8")

# Printable octets outside quotes, or a quoted string; what is between the brackets is judged by address.
_PATH = rb'<((?:[^<>"\x00-\x1f\x7f]++|"(?:[^"\\\x00-\x1f\x7f]++|\\[\x20-\x7e])*+")*+)>'
_REST = rb"(?:[ \t]++(.*+))?"
_mail_argument = re.compile(rb"from:[ \t]*+" + _PATH + _REST, re.IGNORECASE | re.DOTALL).fullmatch
_rcpt_argument = re.compile(rb"to:[ \t]*+" + _PATH + _REST, re.IGNORECASE | re.DOTALL).fullmatch


def parse_mail_from(arg: bytes, *, has_dsn: bool = True, own_domain: str = "") -> MailArgs | Status:
    """`arg` is the line after `MAIL ` without its line end: `FROM:<a@b.example> SIZE=10`. own_domain: what an address without a domain
    gets, "" for a refusal. A Status is the refusal."""
    found = _mail_argument(arg)
    if found is None:
        return S553_SENDER_SYNTAX if arg[:5].upper() == b"FROM:" else S501_MAIL_SYNTAX
    path, rest = found.groups()
    sender = _address_in(path, own_domain) if path else ""
    if sender is None:
        return S553_SENDER_SYNTAX
    if not rest:
        return MailArgs(sender) if path.isascii() else S553_NEEDS_SMTPUTF8
    args = mail_args(sender, rest, has_dsn=has_dsn)
    if isinstance(args, MailArgs) and not path.isascii() and not args.is_utf8:
        return S553_NEEDS_SMTPUTF8
    return args


def parse_rcpt_to(
    arg: bytes, *, has_dsn: bool = True, is_utf8: bool = False, own_domain: str = ""
) -> RcptArgs | Status:
    """`arg` is the line after `RCPT ` without its line end: `TO:<a@b.example>`. is_utf8: MAIL had SMTPUTF8. own_domain: as for MAIL. A
    Status is the refusal."""
    found = _rcpt_argument(arg)
    if found is None:
        return S501_RECIPIENT_SYNTAX if arg[:3].upper() == b"TO:" else S501_RCPT_SYNTAX
    path, rest = found.groups()
    if not is_utf8 and not path.isascii():
        return S553_NEEDS_SMTPUTF8
    # RFC 5321 §4.1.1.3: that one goes without a domain.
    is_postmaster = len(path) == len(b"postmaster") and path.lower() == b"postmaster"
    rcpt = path.decode("ascii") if is_postmaster else _address_in(path, own_domain)
    if rcpt is None:
        return S501_RECIPIENT_SYNTAX
    return rcpt_args(rcpt, rest, has_dsn=has_dsn, is_utf8=is_utf8) if rest else RcptArgs(rcpt)


def _address_in(raw: bytes, own_domain: str) -> str | None:
    """The address of a path that is not empty, in canonical form; a source route is checked and dropped (RFC 5321 §4.1.1.3)."""
    is_ascii = raw.isascii()
    try:
        path = raw.decode()
    except UnicodeDecodeError:
        return None
    if path.startswith("@"):
        route, colon, path = path.partition(":")
        if not colon or not all(hop.startswith("@") and is_valid_domain(hop[1:]) for hop in route.split(",")):
            return None
    mailbox = parse_mailbox(path) if is_ascii else parse_internationalized(path)
    if mailbox is None:
        mailbox = _completed(path, own_domain) if own_domain else None
    return None if mailbox is None else mailbox.text


def _completed(path: str, own_domain: str) -> Mailbox | None:
    """A local part alone, at our own domain; judged by itself."""
    return complete_mailbox(path, own_domain) if path.isascii() else parse_internationalized(f"{path}@{own_domain}")
