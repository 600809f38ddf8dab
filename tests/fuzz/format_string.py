"""Format strings of deliveries, and addresses of peers put into them: no value of a peer's chooses a folder.

A line each: the format, the recipient as RCPT gives it (`to:<…>`), the name of the user. Both languages expand it.
"""

from collections.abc import Sequence

from smtpfleet.contracts.envelope import Envelope, LocalDispatcher
from smtpfleet.mail.formats import RESULT_LIMIT, FormatError, expand_format
from smtpfleet.mail.grammar import parse_rcpt_to
from smtpfleet.mail.rcpt_parameters import RcptArgs

WORDS: Sequence[bytes] = (
    b"%{", b"}", b"%%", b"%", b"~/", b"[", b"]", b":", b"|", b"/", b"..", b"0", b"-1", b"1024", b"99999", b"rcpt", b"dest", b"sender",
    b".user", b".domain", b"user.username", b"user.directory", b"mbox.from", b"lowercase", b"uppercase", b"strip", b"raw", b"\n",
    b"to:<", b"@", b">", b'"', b"\\", b"d.org", b"+", b"%{rcpt.user[0]:raw}", b"%{dest.user:lowercase|strip}", "é".encode(),
)  # fmt: skip
HOME = "/home/joe"


def check(data: bytes) -> None:
    """One format, one recipient."""
    text, rcpt, username, *_ = (*(data.decode("utf-8", "replace").split("\n")), "", "", "")
    args = parse_rcpt_to(rcpt.encode(), is_utf8=True)
    address = args.rcpt if isinstance(args, RcptArgs) else "joe@d.org"
    envelope = Envelope(
        evpid="0" * 24, sender=address, rcpt=address, dest=address, dispatcher=LocalDispatcher("maildir", "", "joe", "users"),
        tag="", helo="c", hostname="c", peer="192.0.2.9", smtpname="mx", created_at_ms=0, expire_s=1,
    )  # fmt: skip
    for is_modern in (False, True):
        for delimiter in ("+", ""):
            try:
                result = expand_format(
                    text, envelope=envelope, home=HOME, username=username, is_modern=is_modern, delimiter=delimiter
                )
            except FormatError as fault:
                assert str(fault)
                continue
            assert len(result) <= RESULT_LIMIT
            _check_path(text, result, username)


def _check_path(text: str, result: str, username: str) -> None:
    """Folders come from the format alone; a user's own name and home are config's."""
    homes = text.lower().count("user.directory") * HOME.count("/") + (2 if text.startswith("~/") else 0)
    assert result.count("/") <= text.count("/") + homes
    assert result.split("/").count("..") <= text.split("/").count("..") + username.count("..")


def seeds() -> Sequence[bytes]:
    """Formats of the manual."""
    formats = (
        b"~/Maildir",
        b"/var/mail/%{dest.user:lowercase|strip}",
        b"/m/%{rcpt.domain[0]}/%{rcpt.user[0:2]}/%{sender}%%",
        b"%{mbox.from}",
    )
    addresses = (b"to:<User+Tag@Example.org>", b'to:<"../x"@d.org>', b'to:<"\\.\\."@d.org>', "to:<é@é.test>".encode())
    return [b"\n".join((text, address, b"joe")) for text in formats for address in addresses]
