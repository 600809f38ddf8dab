"""A connector: works through the leases of one relay, over one session at a time, until there is no more.

Theory: a lease is turned into tasks, one transaction each. A session is opened (opening.py) when the first task needs one. A session
that dies takes with it only the task in progress; the others go on over the next host, or over the hosts anew where the dead session
had delivered something, so every round makes progress and the work is bounded. When no host is left, the rest of the lease fails with
the last reason; where a limit forbids a connection, it goes back untried and the relay waits. Before each task the lease must still be
ours: after `is_lost` nothing is sent. Used by worker.py. OpenSMTPD: mta.c:mta_connect, mta_flush.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field

from smtpfleet.contracts.commands import CLAIM_BATCH, LoadedMessage
from smtpfleet.contracts.configuration import RelayLimits
from smtpfleet.contracts.envelope import RemoteDispatcher, domain_of_relay
from smtpfleet.contracts.status import S451_LOCAL_ERROR, Status
from smtpfleet.mta.delivery import DeliveryReport, Spawn
from smtpfleet.mta.demands import Demands
from smtpfleet.mta.limits import ConnectionPermits, Limited
from smtpfleet.mta.opening import Opened, Opener
from smtpfleet.mta.route import RouteTable
from smtpfleet.mta.session import Session
from smtpfleet.mta.settings import MtaSettings
from smtpfleet.mta.srs import SenderRewriter
from smtpfleet.mta.task import Chunks, Task, address_fault, check_content, tasks_of
from smtpfleet.runtime import killpoint, metrics
from smtpfleet.runtime.bus import BusUnavailable
from smtpfleet.runtime.maillog import MailLog
from smtpfleet.runtime.resolver import Resolver
from smtpfleet.runtime.snapshot import SnapshotFollower
from smtpfleet.runtime.table_client import TableClient
from smtpfleet.runtime.work import Lease, WorkClient

FIRST_BATCH = 10
"""Envelopes of the first lease (OpenSMTPD max-schedule)."""
LEASE_WORK_S = 0.5
"""How long a lease should keep a session busy: far below the lease time, far above a round trip over the bus. Chosen."""
KEEPALIVE_SLICE_S = 2.0
"""An idle session notices a drain or a peer that left this late; chosen."""
MORE_S = 0.05
"""How long an open session waits for more work where it is not kept idle: time for scheduler to look. Chosen."""

_unanswered = metrics.counter("mta_unanswered_dots", "Messages whose final dot got no answer: the peer may have them")
_open_sessions = metrics.gauge("mta_sessions", "Sessions open now")


@dataclass(slots=True)
class Outbound:
    """What all connectors of a process share. draining: set once, when no more work is to be begun."""

    work: WorkClient
    log: MailLog
    snapshot: SnapshotFollower
    settings: MtaSettings
    resolver: Resolver
    routes: RouteTable
    demands: Demands
    tables: TableClient
    srs: SenderRewriter
    draining: asyncio.Event = field(default_factory=asyncio.Event)


class Connector:
    """One relay, one permit, at most one session at a time."""

    def __init__(self, outbound: Outbound, relay: str, holder: str, spawn: Spawn) -> None:
        self._out = outbound
        self._relay = relay
        self._holder = holder
        self._spawn = spawn
        self._permits = ConnectionPermits(outbound.work, relay, holder)
        self._opener = Opener(
            self._permits,
            snapshot=outbound.snapshot,
            settings=outbound.settings,
            resolver=outbound.resolver,
            routes=outbound.routes,
            demands=outbound.demands,
            tables=outbound.tables,
            log=outbound.log,
        )
        self._open: Opened | None = None
        self._failure: Status | None = None
        self._limited: Limited | None = None
        self._ended: Status | None = None
        self._message_s = 0.0

    async def run(self, lease: Lease | None) -> None:
        """Works until the relay has no more work for the keep-alive time, its hosts fail or are limited, or the role drains."""
        try:
            while lease is not None:
                await self._work(lease)
                lease = await self._next_lease()
        finally:
            self._leave()
            await self._out.work.release_permits([(self._relay, self._holder)])

    async def _next_lease(self) -> Lease | None:
        """More of the same relay, waited for only while there is a connection to keep."""
        out = self._out
        if self._failure is not None or self._limited is not None:
            return None
        batch = FIRST_BATCH
        if self._message_s:
            batch = max(1, min(CLAIM_BATCH, int(LEASE_WORK_S / self._message_s)))
        left_s = 0.0 if self._is_crowded() else float(self._limits.session_keepalive_s)
        while not out.draining.is_set():
            is_open = self._open is not None and self._open.session.is_usable
            wait_s = max(MORE_S, min(left_s, KEEPALIVE_SLICE_S)) if is_open else 0.0
            lease = await out.work.next_work(
                relay=self._relay, batch=batch, wait_ms=max(1, int(wait_s * 1000)), permit=self._holder
            )
            left_s -= KEEPALIVE_SLICE_S
            if lease is not None or not is_open or left_s <= 0 or self._is_crowded():
                return lease
        return None

    def _is_crowded(self) -> bool:
        """Whether others wait for a permit of our connection: it is not kept idle then."""
        permitted = self._open.permitted if self._open is not None else None
        return permitted is not None and (permitted.is_crowded or self._out.work.is_crowded(permitted.holder))

    # a lease

    async def _work(self, lease: Lease) -> None:
        """Delivers what the lease holds; what may not be begun any more is given back."""
        started_at = time.monotonic()
        out = self._out
        self._failure = None
        report = DeliveryReport(lease, out.log, self._spawn)
        tasks = self._tasks(lease, report)
        task = await anext(tasks, None)
        count = 0
        while task is not None:
            await self._rest()
            if lease.is_lost or (out.draining.is_set() and count):
                break
            following = await anext(tasks, None)
            if not await self._deliver(task, following, lease, report):
                break
            task = following
            count += 1
        report.flush()
        if task is not None:
            await self._stop(lease, report)
        elif count:
            self._message_s = (time.monotonic() - started_at) / count
        await tasks.aclose()

    async def _stop(self, lease: Lease, report: DeliveryReport) -> None:
        """The rest of the lease is not ours to send: lost, the role is leaving, or a limit forbids it for now."""
        self._leave()
        wait_ms = self._limited.wait_ms if self._limited is not None else 0
        await lease.release([evpid for evpid in lease.evpids if evpid not in report.taken], wait_ms=wait_ms)

    async def _rest(self) -> None:
        """The pause between two transactions of a session (session-transaction-delay), cut short by a drain."""
        delay_s = self._limits.session_transaction_delay_s
        if not delay_s or self._open is None or not self._open.session.last_mail_at:
            return
        left_s = self._open.session.last_mail_at + delay_s - time.monotonic()
        if left_s > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await self._out.draining.wait()

    async def _tasks(self, lease: Lease, report: DeliveryReport) -> AsyncGenerator[Task, None]:
        """The lease's transactions; envelopes that cannot be sent to anybody get their outcome here."""
        async for message in self._loaded(lease, report):
            try:
                chunks, head = await self._content_of(message)
                refusal = check_content(head)
            except BusUnavailable:
                chunks, refusal = None, S451_LOCAL_ERROR
            for task in tasks_of(message, chunks):
                for_all = refusal or address_fault(task.sender)
                sendable = []
                for envelope in task.envelopes:
                    fault = for_all or address_fault(envelope.dest)
                    if fault is None:
                        sendable.append(envelope)
                    else:
                        report.add(envelope, fault, None)
                if sendable:
                    task.envelopes = sendable
                    yield task

    async def _loaded(self, lease: Lease, report: DeliveryReport) -> AsyncGenerator[LoadedMessage, None]:
        """The lease's messages, with senders as they are to be sent. Without SRS in force also mail of an earlier rule goes as it is."""
        out = self._out
        async for message in lease.load(lease.evpids):
            if not out.snapshot.current.srs_ttl_s:
                yield message
                continue
            rewritten, failed = await out.srs.rewrite(message, out.snapshot.current)
            for envelope, status in failed:
                report.add(envelope, status, None)
            if rewritten.envelopes:
                yield rewritten

    async def _content_of(self, message: LoadedMessage) -> tuple[Chunks | None, bytes]:
        """How to read a message's content again and again, and its beginning."""
        if not message.chunk_count:
            return None, message.content
        work = self._out.work

        def chunks() -> AsyncIterator[bytes]:
            return work.read_content(message.msgid, message.chunk_count)

        async for head in work.read_content(message.msgid, 1):
            return chunks, head
        return chunks, b""

    # a task

    async def _deliver(self, task: Task, following: Task | None, lease: Lease, report: DeliveryReport) -> bool:
        """One task to its end: every envelope gets its outcome. False where a limit forbids a session: then none does."""
        while True:
            session = await self._ready_session(task, lease)
            if session is None:
                if self._limited is not None:
                    return False
                assert self._failure is not None
                for envelope in task.envelopes:
                    report.add(envelope, self._failure, None)
                return True
            if (refusal := session.refusal(task)) is not None:
                for envelope in task.envelopes:
                    report.add(envelope, refusal, session)
                return True
            result = await session.deliver(task, following if self._may_announce(session) else None)
            killpoint.reach("mta.delivered")
            if result.is_dot_unanswered:
                _unanswered.inc()
            if not result.is_untried:
                for envelope, status in zip(task.envelopes, result.statuses, strict=True):
                    report.add(envelope, status, session)
                return True

    def _may_announce(self, session: Session) -> bool:
        """Whether the task after this one will go over the same session: its commands may then travel with the final dot."""
        limits = self._limits
        is_last = session.mail_count + 1 >= limits.session_mail_max
        return not (is_last or limits.session_transaction_delay_s or self._out.draining.is_set())

    # sessions

    @property
    def _limits(self) -> RelayLimits:
        return self._out.snapshot.current.limits_of(domain_of_relay(self._relay))

    async def _ready_session(self, task: Task, lease: Lease) -> Session | None:
        """A session that takes the task, or None with `_failure` or `_limited` saying why there is none for this lease."""
        if self._open is not None:
            session = self._open.session
            if session.is_usable and session.mail_count < self._limits.session_mail_max:
                return session
            if session.accepted_count and not session.has_failed_too_often:
                self._opener.begin_anew()
            else:
                self._ended = session.end_status
            # The next connection must not find the permits of this one taken.
            await self._end(self._open)
            self._open = None
        elif self._failure is None:
            self._opener.begin_anew()
        if self._failure is None:
            dispatcher = task.envelopes[0].dispatcher
            assert isinstance(dispatcher, RemoteDispatcher)
            ended, self._ended = self._ended, None
            opened = await self._opener.open(
                dispatcher, ended, lambda: not (lease.is_lost or self._out.draining.is_set())
            )
            if isinstance(opened, Opened):
                self._open = opened
                _open_sessions.inc()
                return opened.session
            if isinstance(opened, Limited):
                self._limited = opened
            else:
                self._failure = opened
        return None

    def _leave(self) -> None:
        """Ends the session, politely and in the background."""
        opened, self._open = self._open, None
        if opened is not None:
            self._spawn(self._end(opened))

    async def _end(self, opened: Opened) -> None:
        """Ends a session, then frees the permits of its connection."""
        _open_sessions.dec()
        if opened.session.has_failed_too_often:
            self._opener.disable_route(opened.permitted)
        await opened.session.close()
        await self._permits.give_back(opened.permitted)
