"""How much work a peer can make with one long write, or with many small ones: it grows with what is sent and not faster."""

import asyncio
from collections.abc import Callable

import pytest

from tests.support.proportion import grows_in_proportion
from tests.support.smtp_stage import Stage, make_configuration

HELLO = b"EHLO c\r\n"
RCPT = HELLO + b"MAIL FROM:<a@b.example>\r\nRCPT TO:<alice@example.test>\r\n"
SHAPES: dict[str, tuple[bytes, bytes]] = {
    "octets nobody wants": (HELLO + b"MAIL FROM:<x\r\n", b"BDAT 1\r\nx"),
    "small chunks": (RCPT, b"BDAT 1024\r\n" + b"x" * 1022 + b"\r\n"),
    "refused commands": (HELLO + b"MAIL FROM:<x\r\n", b"DATA\r\n"),
    "one recipient again": (RCPT, b"RCPT TO:<alice@example.test>\r\n"),
    "stuffed dots": (RCPT + b"DATA\r\n", b"..\r\n"),
    "what is nearly the end": (RCPT + b"DATA\r\n", b"\r\n.\r"),
    "empty lines": (RCPT + b"DATA\r\n", b"\r\n"),
    "bare LF": (RCPT + b"DATA\r\n", b"\n"),
    "one line": (RCPT + b"DATA\r\n", b"x"),
    "header fields": (RCPT + b"DATA\r\n", b"a: b\r\n"),
    "a chunk without line ends": (RCPT + b"BDAT 900000\r\n", b"x"),
    "a chunk of line ends": (RCPT + b"BDAT 900000\r\n", b"\r\n"),
}


async def play(talk: bytes, piece_bytes: int) -> None:
    stage = Stage(make_configuration(max_message_size_bytes=50_000_000))
    client = stage.connect()
    for at in range(0, len(talk), piece_bytes):
        client.feed(talk[at : at + piece_bytes])
    await stage.settle()
    assert client.written.startswith(b"220 ")
    stage.close()


@pytest.mark.parametrize(
    ("piece_bytes", "size_bytes"), [(7, 40_000), (200_000, 400_000)], ids=["small writes", "one write"]
)
@pytest.mark.parametrize("name", SHAPES)
def test_work_is_in_proportion_to_what_is_sent(name: str, piece_bytes: int, size_bytes: int) -> None:
    begin, unit = SHAPES[name]
    talk_of: Callable[[int], bytes] = lambda size: begin + unit * (size // len(unit))  # noqa: E731
    assert grows_in_proportion(lambda talk: asyncio.run(play(talk, piece_bytes)), talk_of, size_bytes)
