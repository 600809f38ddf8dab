"""The relay's far end: `python -m bench.sink --listen HOST:PORT --log FILE`; takes every message and notes mark and time of arrival.

Owns nothing but its log, whose lines have a fixed length so that its size is the count. The time is taken when the final dot has been
read, before the reply: from then on the sending MTA may be told it is delivered. Offers PIPELINING to whoever can use it.
"""

import argparse
import asyncio
import signal
import sys
import time
from io import FileIO
from pathlib import Path
from typing import cast

import uvloop

from bench.mark import find_mark

FLUSH_S = 0.1
"""How often the log is written out; readers see arrivals this much later, with their true times."""
MAX_LINE_BYTES = 4096
REFUSED_PREFIX = b"<REFUSED"
"""Recipients whose address begins so are refused for good, whatever their case: tests of bounces need some."""

EHLO_REPLY = (
    b"250-sink.bench.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-ENHANCEDSTATUSCODES\r\n250 SIZE 104857600\r\n"
)
REPLIES = {
    b"HELO": b"250 sink.bench.test\r\n",
    b"MAIL": b"250 2.1.0 Ok\r\n",
    b"RCPT": b"250 2.1.5 Ok\r\n",
    b"RSET": b"250 2.0.0 Ok\r\n",
    b"NOOP": b"250 2.0.0 Ok\r\n",
}


class ArrivalLog:
    """Lines in memory, written out every FLUSH_S and at the end."""

    def __init__(self, path: Path) -> None:
        self._file = FileIO(str(path), "w")
        self._lines: list[str] = []

    def note(self, mark: str) -> None:
        self._lines.append(f"{mark} {time.time_ns():016x}\n")

    def flush(self) -> None:
        if self._lines:
            self._file.write("".join(self._lines).encode("ascii", "replace"))
            self._lines.clear()

    def close(self) -> None:
        self.flush()
        self._file.close()


class SinkSession(asyncio.Protocol):
    """One connection of a sending MTA. rcpt_count messages' worth of lines are written for a message with several recipients."""

    __slots__ = ("_buffer", "_in_content", "_log", "_rcpt_count", "_transport")

    def __init__(self, log: ArrivalLog) -> None:
        self._log = log
        self._buffer = bytearray()
        self._in_content = False
        self._rcpt_count = 0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods of asyncio.Transport without being one.
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(b"220 sink.bench.test ESMTP\r\n")

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        searched = max(len(self._buffer) - 4, 0)
        self._buffer += data
        replies: list[bytes] = []
        while self._buffer:
            if self._in_content:
                if not self._take_content(searched, replies):
                    break
            elif not self._take_command(replies):
                break
            searched = 0
        if replies:
            self._transport.write(b"".join(replies))

    def _take_content(self, searched: int, replies: list[bytes]) -> bool:
        end = self._buffer.find(b"\r\n.\r\n", searched)
        if end < 0:
            return False
        mark = find_mark(self._buffer)
        for _ in range(self._rcpt_count):
            self._log.note(mark)
        replies.append(b"250 2.0.0 Ok: taken\r\n")
        del self._buffer[: end + 5]
        self._in_content = False
        self._rcpt_count = 0
        return True

    def _take_command(self, replies: list[bytes]) -> bool:
        assert self._transport is not None
        end = self._buffer.find(b"\r\n")
        if end < 0:
            if len(self._buffer) > MAX_LINE_BYTES:
                self._transport.abort()
            return False
        line = bytes(self._buffer[:end])
        verb = line[:4].upper()
        # The line end before the content stays in the buffer, so that a content of nothing but the dot ends too.
        del self._buffer[: end if verb == b"DATA" else end + 2]
        if verb == b"DATA":
            self._in_content = True
            replies.append(b"354 go on\r\n")
        elif verb in (b"EHLO", b"LHLO"):  # one recipient, one reply: so far LMTP is the same
            replies.append(EHLO_REPLY)
        elif verb == b"QUIT":
            self._transport.write(b"".join(replies) + b"221 2.0.0 Bye\r\n")
            replies.clear()
            self._buffer.clear()
            self._transport.close()
        else:
            if verb == b"RCPT":
                if line[len(b"RCPT TO:") :].strip().upper().startswith(REFUSED_PREFIX):
                    replies.append(b"550 5.1.1 No such recipient here\r\n")
                    return True
                self._rcpt_count += 1
            elif verb in (b"MAIL", b"RSET"):
                self._rcpt_count = 0
            replies.append(REPLIES.get(verb, b"500 5.5.2 What?\r\n"))
        return True


async def serve(host: str, port: int, log: ArrivalLog) -> None:
    """Take mail until SIGTERM or SIGINT. Prints `ready` and the port once it listens."""
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    server = await loop.create_server(lambda: SinkSession(log), host, port, backlog=1024)
    print(f"ready {server.sockets[0].getsockname()[1]}", flush=True)
    while not stopped.is_set():
        log.flush()
        try:
            await asyncio.wait_for(stopped.wait(), FLUSH_S)
        except TimeoutError:
            continue
    server.close()
    log.close()


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.sink", description="SMTP server that takes everything")
    parser.add_argument("--listen", default="127.0.0.1:2602", metavar="HOST:PORT", help="port 0: any free one")
    parser.add_argument("--log", type=Path, required=True)
    given = parser.parse_args()
    host, _, port = given.listen.rpartition(":")
    uvloop.run(serve(host, int(port), ArrivalLog(given.log)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
