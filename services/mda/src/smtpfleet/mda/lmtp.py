"""One message handed to an LMTP peer (RFC 2033): one session, one recipient, one reply that counts.

Strict with what comes back: lines of bounded length, a code that makes sense where it stands, nothing unasked for. Classifies no reply;
single.py does. Never used for relaying: that is mta's, which alone reaches the world. OpenSMTPD: lmtp.c, mail.lmtp.c.

A kill -9 after the final dot (`dot`) and before the outcome is reported (`accepted`) leaves a message the peer may have: it comes again.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable

from smtpfleet.contracts.status import Status, status_from_reply
from smtpfleet.mda.way import LmtpWay
from smtpfleet.runtime import killpoint

CONNECT_S = 30.0
"""Chosen: a peer on this host or its network answers at once or not at all."""
SESSION_S = 300.0
"""For all of it (OpenSMTPD forkmda: a delivery has 300 s)."""
LINE_LIMIT_BYTES = 2048
"""RFC 5321 §4.5.3.1.5 allows 512 for a reply line; peers quote addresses in theirs."""
REPLY_LINES_LIMIT = 100
"""Chosen: LHLO lists a dozen extensions."""


class LmtpFault(Exception):
    """The session broke or made no sense: try later. The text says where."""


class Refused(Exception):
    """The peer said 4xx or 5xx; `status` is its reply, the text the command it was for."""

    def __init__(self, command: str, status: Status) -> None:
        super().__init__(command)
        self.status = status


async def hand_over(
    way: LmtpWay,
    head: bytes,
    pieces: AsyncIterator[bytes],
    reach: Callable[[str], None] = killpoint.reach,
    session_s: float = SESSION_S,
) -> Status:
    """The peer's reply to the message: it has it. `head`: header lines of ours, LF line ends; pieces: the content, CRLF. Raises Refused,
    LmtpFault, and whatever reading the content raises."""
    phase = "connect"
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(session_s):
            async with asyncio.timeout(CONNECT_S):
                reader, writer = await _connect(way)
            phase = "session"
            return await _Session(way, reader, writer, reach).deliver(head, pieces)
    except TimeoutError:
        raise LmtpFault(f"{phase}: timed out") from None
    except OSError as error:
        raise LmtpFault(f"{phase}: {_reason(error)}") from None
    finally:
        if writer is not None:
            # Not waited for: a peer that does not close must not hold us, and nothing unsent matters any more.
            writer.transport.abort()


def _reason(error: OSError) -> str:
    """The kernel's word for it: asyncio puts one of its own with the address in the place of it, and one for several addresses."""
    return (
        os.strerror(error.errno)
        if error.errno and error.errno > 0
        else error.strerror or str(error) or type(error).__name__
    )


async def _connect(way: LmtpWay) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if way.port:
        return await asyncio.open_connection(way.host, way.port, limit=LINE_LIMIT_BYTES)
    return await asyncio.open_unix_connection(way.host, limit=LINE_LIMIT_BYTES)


class _Session:
    def __init__(
        self,
        way: LmtpWay,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        reach: Callable[[str], None],
    ) -> None:
        self._way = way
        self._reader = reader
        self._writer = writer
        self._reach = reach
        self._keywords: set[bytes] = set()
        """First words of the lines of the last reply: the extensions, after LHLO."""

    async def deliver(self, head: bytes, pieces: AsyncIterator[bytes]) -> Status:
        way = self._way
        await self._expect("greeting", 2)
        await self._command("LHLO", f"LHLO {way.hello}", 2)
        # RFC 6531 §3.4: without the word such a peer refuses the addresses. To one that does not know it they go as they are.
        utf8 = " SMTPUTF8" if way.is_utf8 and b"SMTPUTF8" in self._keywords else ""
        await self._command("MAIL", f"MAIL FROM:<{way.sender}>{utf8}", 2)
        await self._command("RCPT", f"RCPT TO:<{way.rcpt}>", 2)
        await self._command("DATA", "DATA", 3)
        await self._send(head, pieces)
        self._reach("mda.lmtp.dot")
        status = await self._expect("message", 2)
        self._reach("mda.lmtp.accepted")
        # The outcome stands; a polite end is all that is left.
        with contextlib.suppress(OSError):
            self._writer.write(b"QUIT\r\n")
            await self._writer.drain()
        return status

    async def _command(self, name: str, line: str, wanted: int) -> None:
        self._writer.write(line.encode(errors="surrogateescape") + b"\r\n")
        await self._writer.drain()
        await self._expect(name, wanted)

    async def _send(self, head: bytes, pieces: AsyncIterator[bytes]) -> None:
        stuffing = DotStuffing()
        self._writer.write(stuffing.take(head.replace(b"\n", b"\r\n")))
        async for piece in pieces:
            self._writer.write(stuffing.take(piece))
            await self._writer.drain()
        self._writer.write(stuffing.end())
        await self._writer.drain()

    async def _expect(self, command: str, wanted: int) -> Status:
        """The reply to `command`, whose first digit must be `wanted`."""
        code, text = await self._read_reply(command)
        if code // 100 in (4, 5):
            raise Refused(command, status_from_reply(code, text))
        if code // 100 != wanted or (wanted == 3 and code != 354):
            raise LmtpFault(f"{command}: unexpected reply {code}")
        return status_from_reply(code, text)

    async def _read_reply(self, command: str) -> tuple[int, str]:
        """Code and text of the last line, the one that says most (RFC 5321 §4.2.1)."""
        first_code = b""
        self._keywords.clear()
        for _ in range(REPLY_LINES_LIMIT):
            try:
                line = await self._reader.readuntil(b"\n")
            except asyncio.IncompleteReadError:
                raise LmtpFault(f"{command}: connection closed by the peer") from None
            except asyncio.LimitOverrunError:
                raise LmtpFault(f"{command}: reply line too long") from None
            line = line.rstrip(b"\r\n")
            code, mark = line[:3], line[3:4]
            if len(code) != 3 or not code.isdigit() or mark not in (b"", b" ", b"-") or not b"2" <= code[:1] <= b"5":
                raise LmtpFault(f"{command}: malformed reply")
            if first_code and code != first_code:
                raise LmtpFault(f"{command}: codes of one reply differ")
            first_code = code
            self._keywords.add(line[4:].partition(b" ")[0].upper())
            if mark != b"-":
                return int(code), line[4:].decode("utf-8", "replace")
        raise LmtpFault(f"{command}: reply too long")


class DotStuffing:
    """Dot transparency (RFC 5321 §4.5.2) for content that comes in pieces cut anywhere."""

    def __init__(self) -> None:
        self._tail = b"\r\n"

    def take(self, piece: bytes) -> bytes:
        """The piece as it goes over the wire."""
        # The two bytes before it decide whether its first dot begins a line; they have been sent.
        joined = self._tail + piece
        self._tail = joined[-2:]
        return joined.replace(b"\r\n.", b"\r\n..")[len(joined) - len(piece) :]

    def end(self) -> bytes:
        """The final dot, on a line of its own."""
        return b".\r\n" if self._tail == b"\r\n" else b"\r\n.\r\n"
