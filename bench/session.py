"""One SMTP session of the load generator: a raw asyncio protocol that sends as little and as cheaply as possible.

Owns the conversation on one connection. Never decides what is sent next or what a refusal means: it asks its driver for a message and
tells it what became of it. Without pipelining by default, because OpenSMTPD forbids it and all systems are to be treated alike.
"""

import asyncio
import time
from enum import Enum, auto
from typing import Protocol, cast

from bench.mark import HEADER, Mark


class Stage(Enum):
    """Whom the session waits for: the name is the command whose reply is due."""

    GREETING = auto()
    EHLO = auto()
    IDLE = auto()
    MAIL = auto()
    RCPT = auto()
    DATA = auto()
    DOT = auto()
    RSET = auto()
    QUIT = auto()
    CLOSED = auto()


class Fate(Enum):
    """What became of an attempt. refused: a 4xx or 5xx. broken: the connection ended before the final dot was sent. unknown: it
    ended after, without a reply, so the server may or may not have the message (RFC 5321 §4.2.5)."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    BROKEN = "broken"
    UNKNOWN = "unknown"


class Driver(Protocol):
    """What a session asks of whoever runs it."""

    ehlo: bytes
    sender: bytes
    content: bytes
    messages_per_connection: int
    is_pipelining: bool

    def next_mark(self) -> Mark | None:
        """The next message to send now, or None: then wake() comes later, or the session is closed."""

    def rcpt_of(self, mark: Mark) -> bytes:
        """The recipient of this message."""

    def on_idle(self, session: "Session") -> None:
        """The session is open and has nothing to send."""

    def on_fate(self, mark: Mark, fate: Fate, began_ns: int, stage: Stage, reply: bytes) -> None:
        """What became of the attempt that began (MAIL was sent) at `began_ns`."""

    def on_closed(self, session: "Session") -> None:
        """The connection is gone; open another if more is to be sent."""


class Session(asyncio.Protocol):
    """A connection and what is being said on it."""

    __slots__ = (
        "_began_ns",
        "_buffer",
        "_driver",
        "_mark",
        "_sent_count",
        "_transport",
        "_wire_mark",
        "is_gone",
        "stage",
    )

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._buffer = b""
        self._mark: Mark | None = None
        self._wire_mark = b""
        self._began_ns = 0
        self._sent_count = 0
        self._transport: asyncio.Transport | None = None
        self.stage = Stage.GREETING
        self.is_gone = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods of asyncio.Transport without being one.
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.is_gone:
            return
        self.is_gone = True
        stage, self.stage = self.stage, Stage.CLOSED
        if self._mark is not None and stage is not Stage.QUIT:
            fate = Fate.UNKNOWN if stage is Stage.DOT else Fate.BROKEN
            self._tell(fate, stage, type(exc).__name__.encode() if exc else b"end of file")
        self._driver.on_closed(self)

    def data_received(self, data: bytes) -> None:
        if self._buffer:
            data = self._buffer + data
        end = data.find(b"\n") + 1
        if end == len(data) and data[3:4] != b"-":
            self._buffer = b""
            self._on_reply(data)
            return
        start = 0
        while end and self.stage is not Stage.CLOSED:
            if data[start + 3 : start + 4] != b"-":
                self._on_reply(data[start:end])
            start = end
            end = data.find(b"\n", start) + 1
        self._buffer = data[start:]

    def wake(self) -> None:
        """There may be something to send; only for a session that said on_idle."""
        if self.stage is Stage.IDLE:
            self._begin()

    def close(self) -> None:
        """Say QUIT where that is polite; the connection closes after the reply."""
        if self.stage is Stage.IDLE and self._transport is not None:
            self.stage = Stage.QUIT
            self._transport.write(b"QUIT\r\n")

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def _tell(self, fate: Fate, stage: Stage, reply: bytes) -> None:
        mark, self._mark = self._mark, None
        assert mark is not None
        self._driver.on_fate(mark, fate, self._began_ns, stage, reply)

    def _begin(self) -> None:
        driver = self._driver
        limit = driver.messages_per_connection
        assert self._transport is not None
        if limit and self._sent_count >= limit:
            self.stage = Stage.QUIT
            self._transport.write(b"QUIT\r\n")
            return
        mark = driver.next_mark()
        if mark is None:
            self.stage = Stage.IDLE
            driver.on_idle(self)
            return
        self._mark = mark
        self._sent_count += 1
        self._began_ns = time.time_ns()
        self._wire_mark = HEADER + mark.text.encode() + b"\r\n"
        self.stage = Stage.MAIL
        if driver.is_pipelining:
            self._transport.write(driver.sender + driver.rcpt_of(mark) + b"DATA\r\n")
        else:
            self._transport.write(driver.sender)

    def _on_reply(self, reply: bytes) -> None:
        stage = self.stage
        transport = self._transport
        assert transport is not None
        good = reply[:1]
        if stage is Stage.DOT:
            self._tell(Fate.ACCEPTED if good == b"2" else Fate.REFUSED, stage, reply)
            self._begin()
        elif stage is Stage.MAIL and good == b"2":
            self.stage = Stage.RCPT
            if not self._driver.is_pipelining:
                assert self._mark is not None
                transport.write(self._driver.rcpt_of(self._mark))
        elif stage is Stage.RCPT and good == b"2":
            self.stage = Stage.DATA
            if not self._driver.is_pipelining:
                transport.write(b"DATA\r\n")
        elif stage is Stage.DATA and good == b"3":
            self.stage = Stage.DOT
            transport.write(self._wire_mark + self._driver.content)
        elif stage in (Stage.EHLO, Stage.RSET) and good == b"2":
            self._begin()
        elif stage is Stage.GREETING and good == b"2":
            self.stage = Stage.EHLO
            transport.write(self._driver.ehlo)
        else:
            self._on_refusal(stage, reply)

    def _on_refusal(self, stage: Stage, reply: bytes) -> None:
        """A reply that ends the transaction, or the session: 221 after QUIT, 421 at any time, or a refusal."""
        assert self._transport is not None
        if self._mark is not None:
            self._tell(Fate.REFUSED, stage, reply)
        is_lost = (
            stage in (Stage.GREETING, Stage.EHLO, Stage.RSET, Stage.IDLE, Stage.QUIT) or self._driver.is_pipelining
        )
        if is_lost or reply.startswith(b"421"):
            self.stage = Stage.QUIT
            self._transport.close()
            return
        self.stage = Stage.RSET
        self._transport.write(b"RSET\r\n")
