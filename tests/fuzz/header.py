"""What reads or edits the header of a message: hops, loops, what submission completes. The rest of the message stays as it is.

An octet in front says who the sender is; then the content, whose line ends are mended, for nothing else gets that far.
"""

import re
from collections.abc import Sequence

from smtpfleet.mail.dots import content_fault, mend_line_ends
from smtpfleet.mail.headers import count_received, has_delivered_to, header_block
from smtpfleet.mail.submission import complete_message, replace_from

WORDS: Sequence[bytes] = (
    b"\r\n", b"\r\n ", b"\r\n\t", b":", b": ", b" :", b"From: ", b"To: ", b"Cc: ", b"Bcc: ", b"Date: x\r\n", b"Message-ID: <x@y>\r\n", b"Received: x\r\n",
    b"Delivered-To: <joe@d.org>\r\n", b"<", b">", b"(", b")", b'"', b"\\", b",", b";", b"@", b"joe", b"joe@d.org", b"=?utf-8?q?x?=", b"\xc3\xa9", b"Group: ",
)  # fmt: skip
SENDERS = ("", "joe@d.org", '"a b\\"<,>"@d.org', "é@d.org")
LETTER = b'From: joe (a \\) (b)), "x, y" <bob>\r\nTo: Group: a, b@c;\r\n d\r\nBcc: e\r\nReceived: x\r\n\r\nbody\r\n'


def check(data: bytes) -> None:
    """One message."""
    sender = SENDERS[data[0] % len(SENDERS)] if data else ""
    content = mend_line_ends(data[1:].translate(None, b"\r\0") + b"\n")
    assert content_fault(content) is None
    block = header_block(content)
    assert content.startswith(block) and block.endswith((b"\r\n", b"")[not block :])
    assert 0 <= count_received(content) <= block.count(b"\r\n")
    if has_delivered_to(content, "joe@d.org"):
        assert b"delivered-to" in block.lower()
    _check_completed(content, block, sender)
    replaced = replace_from(content, sender or "x@d.org")
    assert content_fault(replaced) is None and replaced.endswith(content[len(block) :])
    assert len(list(_fields(header_block(replaced)))) == len(list(_fields(block)))


def _check_completed(content: bytes, block: bytes, sender: str) -> None:
    def complete(text: bytes) -> bytes:
        return complete_message(text, hostname="mx.test", date_text="DATE", message_id="ID", from_address=sender)

    done = complete(content)
    assert content_fault(done) is None and done.endswith(content[len(block) :])
    names = [name.lower() for name in _fields(header_block(done))]
    assert b"bcc" not in names and b"date" in names and b"message-id" in names
    before = [name.lower() for name in _fields(block)]
    assert [name for name in before if name != b"bcc"] == names[: len(before) - before.count(b"bcc")]
    assert complete(done) == done, "what is complete needs nothing more"


def _fields(block: bytes) -> list[bytes]:
    return re.findall(rb"^([!-9;-~]+)[ \t]*:", block, re.MULTILINE)


def seeds() -> Sequence[bytes]:
    """A letter from each sender, and one without a header."""
    return [*(bytes([who]) + LETTER for who in range(len(SENDERS))), b"\0no header\r\n", b"\1\r\nbody"]
