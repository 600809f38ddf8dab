"""A mail sink for the demonstration: an SMTP server on loopback that takes every message and remembers how many.

Minimal on purpose and never part of a fleet; tests and bench have their own peers. Called by demo.py.
"""

import socketserver
import threading
from types import TracebackType
from typing import Self

REPLIES = {
    b"EHLO": b"250-sink.relay.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE\r\n",
    b"HELO": b"250 sink.relay.test\r\n",
    b"DATA": b"354 go on\r\n",
    b"QUIT": b"221 bye\r\n",
}


class _Session(socketserver.StreamRequestHandler):
    server: "_Listener"

    def handle(self) -> None:
        self.wfile.write(b"220 sink.relay.test ESMTP\r\n")
        for line in self.rfile:
            verb = line[:4].upper()
            self.wfile.write(REPLIES.get(verb, b"250 ok\r\n"))
            if verb == b"QUIT":
                return
            if verb == b"DATA":
                while (line := self.rfile.readline()) not in (b".\r\n", b""):
                    continue
                self.server.take()
                self.wfile.write(b"250 taken by the sink\r\n")


class _Listener(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", port), _Session)
        self.count = 0
        self._counting = threading.Lock()

    def take(self) -> None:
        with self._counting:
            self.count += 1


class Sink:
    """`with Sink(port) as sink: …; sink.message_count`. Raises OSError where the port is taken."""

    def __init__(self, port: int) -> None:
        self._listener = _Listener(port)
        self._thread = threading.Thread(target=self._listener.serve_forever, daemon=True)

    @property
    def message_count(self) -> int:
        return self._listener.count

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown()
        self._listener.server_close()
        self._thread.join()
