"""smtp-in in this process without sockets: connections on transports made of bytes, in front of a FakeQueue.

What is real: server, session, committer, gate, journal, listener snapshot. What is not: TCP, NATS, queue. Waiting is until a condition,
with a deadline.
"""

import asyncio
import io
import time
from collections.abc import Callable
from typing import Any

import msgspec

from smtpfleet.contracts.configuration import (
    ANY_DESTINATION,
    ANY_HOST,
    DEFAULT_LIMITS,
    LOCAL_HOST,
    Condition,
    Configuration,
    Listener,
    LocalAction,
    Location,
    RelayAction,
    Rule,
    Table,
)
from smtpfleet.contracts.events import AcceptedEvents
from smtpfleet.contracts.subjects import EVENT_MESSAGE_ACCEPTED
from smtpfleet.mail.tables import Tables
from smtpfleet.runtime.asking import Requester as Asking
from smtpfleet.runtime.forwards import Forwards
from smtpfleet.runtime.maillog import MailLog
from smtpfleet.runtime.questions import Questions
from smtpfleet.runtime.srs_client import SrsClient
from smtpfleet.runtime.table_client import TableClient
from smtpfleet.smtp_in.committer import Committer
from smtpfleet.smtp_in.connections import Server
from smtpfleet.smtp_in.credentials import Authenticator
from smtpfleet.smtp_in.entrance import Entrance
from smtpfleet.smtp_in.failures import LocalFailures
from smtpfleet.smtp_in.gate import Gate
from smtpfleet.smtp_in.inquiries import Inquiries
from smtpfleet.smtp_in.journal import FactLog
from smtpfleet.smtp_in.server import Connection
from tests.support.credentials import Credentials, QuickFailures
from tests.support.dialog import PEER
from tests.support.fake_queue import Background, FakeQueue

WITHIN_S = 5.0


def make_configuration(
    *, max_message_size_bytes: int = 1_000_000, max_rcpt: int = 1000, max_mails: int = 100, version: str = "1-test"
) -> Configuration:
    """Mail for example.test goes to users alice and bob (alias staff: both); local peers may relay; nothing else."""
    where = Location("smtpd.conf", 1, 1)
    local = LocalAction("maildir", "~/Maildir", "aliases", "", "users")
    relay = RelayAction("", 0, "opportunistic", False, "", "", "", "", "", "")
    users = {"alice": "1000:1000:/home/alice", "bob": "1001:1001:/home/bob"}
    aliases = {"staff": "alice, bob", "postmaster": "alice", "later": "error:451 Try later"}
    return Configuration(
        version=version,
        hostname="mx.example.test",
        listeners=(Listener("127.0.0.1", 0, "mx.example.test", "in"),),
        tables={
            "domains": Table("domains", "list", "static", "", {"example.test": "", "mx.example.test": ""}),
            "users": Table("users", "mapping", "static", "", users),
            "aliases": Table("aliases", "mapping", "static", "", aliases),
        },
        rules=(
            Rule(where, (Condition("source", ANY_HOST, False), Condition("destination", "domains", False)), local, 345600),
            Rule(where, (Condition("source", LOCAL_HOST, False), Condition("destination", ANY_DESTINATION, False)), relay, 345600),
        ),
        limits=msgspec.structs.replace(DEFAULT_LIMITS, max_rcpt=max_rcpt, max_mails=max_mails),
        max_message_size_bytes=max_message_size_bytes,
        expire_s=345600,
        bounce_warn_s=(),
    )  # fmt: skip


class MemoryTransport:
    """A transport whose peer is the test: `feed` is what it sends, `written` what it was sent."""

    def __init__(self, peer: str) -> None:
        self._peer = peer
        self.protocol: Any = None
        self.written = b""
        self.writes = 0
        self.is_closed = False
        self.is_aborted = False
        self.is_paused = False
        self._stalled = b""

    def get_extra_info(self, name: str) -> Any:
        return (self._peer, 40000) if name == "peername" else None

    def write(self, data: bytes) -> None:
        assert not self.is_closed, f"written after close: {data!r}"
        self.written += data
        self.writes += 1

    def can_write_eof(self) -> bool:
        return False  # as a connection under TLS

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    def abort(self) -> None:
        self.is_aborted = True
        self.close()

    def pause_reading(self) -> None:
        assert not self.is_paused and not self.is_closed
        self.is_paused = True

    def resume_reading(self) -> None:
        assert self.is_paused and not self.is_closed
        self.is_paused = False
        stalled, self._stalled = self._stalled, b""
        if stalled:
            asyncio.get_running_loop().call_soon(self.feed, stalled)

    def feed(self, data: bytes) -> None:
        """The peer sends; what the other side does not want to read yet waits, as it would in the kernel."""
        if self.is_paused:
            self._stalled += data
        elif not self.is_closed:
            self.protocol.data_received(data)

    def feed_eof(self) -> None:
        """The peer half-closes."""
        if not self.protocol.eof_received():
            self.close()


def inquiries_of(roles: Asking, background: Background) -> Inquiries:
    """What a recipient may wait for, asked of `roles`."""
    forwards = Forwards(roles, asyncio.get_running_loop().time)
    return Inquiries(Questions(forwards, TableClient(roles), SrsClient(roles)), background.spawn)


class Stage:
    """A running smtp-in."""

    def __init__(
        self,
        configuration: Configuration | None = None,
        *,
        max_sessions: int = 1000,
        content_memory_bytes: int = 2**28,
        roles: Asking | None = None,
        credentials: Credentials | None = None,
        failures: LocalFailures | None = None,
    ) -> None:
        """roles: config and mda, for what the snapshot does not know; without them nobody has a `.forward`. credentials: without, no AUTH."""
        self.queue = FakeQueue()
        self.background = Background()
        self.log_text = io.StringIO()
        log = MailLog("smtp-in", stream=self.log_text)
        self.log = log
        self.gate = Gate(lambda: self.queue.is_connected, asyncio.get_running_loop().time)
        journal = FactLog(log, lambda events: self.queue.publish(EVENT_MESSAGE_ACCEPTED, events), time.time)
        self.committer = Committer(self.queue, self.gate, self.background.spawn, journal.publish_accepted)
        self.authenticator = credentials and Authenticator(
            credentials, failures or QuickFailures(time.monotonic), self.background.spawn, log, threads=1
        )
        self.server = Server(
            authenticator=self.authenticator,
            committer=self.committer,
            gate=self.gate,
            journal=journal,
            max_sessions=max_sessions,
            content_memory_bytes=content_memory_bytes,
            inquiries=inquiries_of(roles, self.background) if roles is not None else None,
        )
        self.apply(configuration or make_configuration())

    def apply(self, configuration: Configuration) -> None:
        """Sessions that begin from now on use this one."""
        self._entrance = Entrance(configuration, Tables(configuration), configuration.listeners[0])

    def connect(self, peer: str = PEER) -> MemoryTransport:
        """A new connection from `peer`."""
        transport = MemoryTransport(peer)
        transport.protocol = Connection(self.server, lambda: self._entrance)
        transport.protocol.connection_made(transport)
        return transport

    @property
    def accepted(self) -> list[Any]:
        """Events of acceptance, one by one."""
        return [event for _, kind in self.queue.published if isinstance(kind, AcceptedEvents) for event in kind.events]

    async def until(self, condition: Callable[[], object], what: Callable[[], object] = lambda: "") -> None:
        """Waits until the condition holds; shows `what` if it never does."""
        deadline = asyncio.get_running_loop().time() + WITHIN_S
        while not condition():
            self.background.raise_failed()
            assert asyncio.get_running_loop().time() < deadline, f"waited in vain; last seen: {what()!r}"
            await asyncio.sleep(0.001)

    async def settle(self) -> None:
        """Waits until nothing that was fed has an answer outstanding."""
        states = (
            "AWAITING_QUEUE_COMMIT",
            "AWAITING_QUEUE_APPEND",
            "AWAITING_RCPT_VERDICT",
            "AWAITING_SENDER_VERDICT",
            "AWAITING_AUTH_VERDICT",
        )
        turns = 0
        while turns < 5:
            waiting = [c for c in self.server.connections if c.session.state.name in states]
            turns = 0 if waiting else turns + 1
            await self.until(lambda: all(c.session.state.name not in states for c in waiting))  # noqa: B023
            await asyncio.sleep(0)

    def close(self) -> None:
        """Ends what still runs; raises what has failed."""
        if self.authenticator is not None:
            self.authenticator.close()
        self.background.cancel()
        self.background.raise_failed()
