"""SMTP conversations as text files (tests/dialogs/*.dialog): reading them, and judging what was answered.

`# …` comment; before the first line of talk `name: value` settings. `C: text` a line the client sends, CRLF added; `C~: text` the same
bytes without CRLF; `S: text` a reply line that begins with `text`; `S: <closed>` the server closes. `C*1001: …` and `S*1000: …` repeat.
`\\r \\n \\t \\0 \\\\ \\xHH` are escapes in what is sent. Players: tests/support/smtp_stage.py in process, `play_over_tcp` and `play_blindly_over_tcp` against a service.
"""

import asyncio
import contextlib
import re
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

_TALK = re.compile(r"([CS])(~?)(?:\*(\d+))?:(?: (.*))?")
_SETTING = re.compile(r"([a-z-]+): (.*)")
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|[rnt0\\])")
_ESCAPED = {"r": "\r", "n": "\n", "t": "\t", "0": "\0", "\\": "\\"}
CLOSED = "<closed>"
PEER = "192.0.2.9"
"""The client's address, as dialogs spell it; over TCP it is the one of our side."""
REPLY_WITHIN_S = 5.0


@dataclass
class Step:
    """What the client sends in one go, and the reply lines that must follow before it goes on."""

    sent: bytes
    replies: list[str] = field(default_factory=list)


@dataclass
class Dialog:
    """One file. settings: what its header says. steps: in order; the first sends nothing and receives the banner."""

    name: str
    settings: dict[str, str]
    steps: list[Step]

    @property
    def sent(self) -> bytes:
        """All the client says, in one piece."""
        return b"".join(step.sent for step in self.steps)

    @property
    def replies(self) -> list[str]:
        """All that must be answered."""
        return [reply for step in self.steps for reply in step.replies]


def read_dialog(path: Path) -> Dialog:
    """The dialog in a file; a line that is none of the known forms is an error in the file."""
    settings: dict[str, str] = {}
    steps = [Step(b"")]
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        talk = _TALK.fullmatch(line)
        setting = _SETTING.fullmatch(line)
        if talk is not None:
            _add_talk(steps, *talk.groups())
        elif setting is not None and len(steps) == 1 and not steps[0].replies:
            settings[setting[1]] = setting[2]
        else:
            raise ValueError(f"{path.name}:{number}: neither C:, S:, a setting nor a comment: {line}")
    return Dialog(path.stem, settings, steps)


def _add_talk(steps: list[Step], who: str, raw: str, times: str | None, text: str | None) -> None:
    count, text = int(times or 1), text or ""
    if who == "S":
        steps[-1].replies.extend([text] * count)
        return
    line = _ESCAPE.sub(lambda found: _unescape(found[1]), text).encode("latin-1") + (b"" if raw else b"\r\n")
    if steps[-1].replies or len(steps) == 1:
        steps.append(Step(b""))
    steps[-1].sent += line * count


def _unescape(code: str) -> str:
    return chr(int(code[1:], 16)) if code[0] == "x" else _ESCAPED[code]


def judge(expected: list[str], answered: bytes, *, is_closed: bool) -> None:
    """Raises AssertionError unless the reply lines are the expected ones, by prefix, and no more."""
    lines = answered.decode("ascii").split("\r\n")
    assert lines.pop() == "", f"the last reply does not end in CRLF: {answered[-80:]!r}"
    shown = [CLOSED] if is_closed else []
    talk = "\n".join(lines + shown)
    for want, got in zip(expected, lines + shown, strict=False):
        assert got.startswith(want), f"expected {want!r}, answered {got!r} in:\n{talk}"
    assert len(expected) == len(lines) + len(shown), f"expected {len(expected)} lines:\n{expected}\nanswered:\n{talk}"


@dataclass(frozen=True)
class Way:
    """How a client gets to a service. source: its own address, "" for any. context: speaks TLS, from the first byte or, where
    has_starttls, after a conversation that asks for it. within_s: how long a reply may take."""

    host: str
    port: int
    source: str = ""
    context: ssl.SSLContext | None = None
    has_starttls: bool = False
    within_s: float = REPLY_WITHIN_S


@dataclass
class _Client:
    """A connected client and the dialog it is to play."""

    dialog: Dialog
    way: Way
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def start_tls(self) -> None:
        """What comes before a dialog whose client has said STARTTLS already; its banner was here."""
        await self.read(self.dialog.steps[0].replies)
        for said, replies in ((b"EHLO client.example", rb"(250-.*\r\n)+"), (b"STARTTLS", rb"220 2\.0\.0 .*\r\n")):
            self.writer.write(said + b"\r\n")
            answered = await asyncio.wait_for(
                self.reader.readuntil(b"0 HELP\r\n" if said[:1] == b"E" else b"\r\n"), self.way.within_s
            )
            assert re.match(replies, answered), answered
        assert self.way.context is not None
        await self.writer.start_tls(self.way.context)

    async def read(self, replies: list[str], more_s: float = 0.0) -> None:
        """Reads as many lines as are expected, and judges them. more_s: what any may take besides what the way allows."""
        replies = [reply.replace(*self._address) for reply in replies]
        answered, is_closed = b"", False
        for expected in replies:
            line = await self._line(self.way.within_s + more_s)
            is_closed = line == b""
            answered += line
            assert is_closed == (expected == CLOSED), f"{expected!r}: {line!r}"
        judge(replies, answered, is_closed=is_closed)

    async def _line(self, within_s: float) -> bytes:
        """The next line, b"" where the other side has closed; with a reset, where we still sent."""
        # Not wait_for: without a task of its own a line that is there is taken at once, before a reset behind it is seen.
        async with asyncio.timeout(within_s):
            try:
                return await self.reader.readline()
            except ConnectionResetError:
                return b""

    @property
    def _address(self) -> tuple[str, str]:
        """The client's address as the dialog has it, and as it is."""
        here: str = self.writer.get_extra_info("sockname")[0]
        there = self.dialog.settings.get("peer", PEER)
        return _literal(there), _literal(here)


def _literal(address: str) -> str:
    return f"[IPv6:{address}]" if ":" in address else f"[{address}]"


@contextlib.asynccontextmanager
async def _connected(dialog: Dialog, way: Way) -> AsyncIterator[_Client]:
    local_address = (way.source, 0) if way.source else None
    context = None if way.has_starttls else way.context
    reader, writer = await asyncio.open_connection(way.host, way.port, local_addr=local_address, ssl=context)
    writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    client = _Client(dialog, way, reader, writer)
    try:
        if way.has_starttls:
            await client.start_tls()
        yield client
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await writer.wait_closed()


async def play_over_tcp(dialog: Dialog, way: Way) -> None:
    """Plays a dialog step by step against whatever listens there."""
    async with _connected(dialog, way) as client:
        for step in dialog.steps[1 if way.has_starttls else 0 :]:
            client.writer.write(step.sent)
            await client.writer.drain()
            await client.read(step.replies)


async def play_blindly_over_tcp(dialog: Dialog, way: Way, *, piece_bytes: int) -> None:
    """Sends all of a dialog without heeding replies, in segments of so many bytes, as long as the other side listens; judges what is answered."""
    async with _connected(dialog, way) as client:
        if not way.has_starttls:
            await client.read(dialog.replies[:1])  # who talks before the banner is not served
        sent = dialog.sent
        # Meanwhile, because a reset may overtake what was not read. A segment may take 0.1 ms.
        reading = asyncio.create_task(client.read(dialog.replies[1:], len(sent) / piece_bytes / 10_000))
        for at in range(0, len(sent), piece_bytes):
            if dialog.replies[-1] == CLOSED and reading.done():
                break
            client.writer.write(sent[at : at + piece_bytes])
            await asyncio.sleep(0)
        await reading
