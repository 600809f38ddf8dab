"""A connector: works through the leases of one relay, over one session at a time, until there is no more.

Theory: a lease is turned into tasks, one transaction each. A session is opened when the first task needs one, over the hosts of the
relay in order; routes that failed lately are passed over. A session that dies takes with it only the task in progress; the others go on
over the next host, or over the hosts anew where the dead session had delivered something, so every round makes progress and the work is
bounded. When no host is left, the rest of the lease fails with the last reason. Before each task the lease must still be ours: after
`is_lost` nothing is sent. Used by worker.py. OpenSMTPD: mta.c:mta_connect, mta_find_route, mta_flush.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field

from smtpfleet.contracts.commands import CLAIM_BATCH, LoadedMessage
from smtpfleet.contracts.configuration import Limits
from smtpfleet.contracts.envelope import RemoteDispatcher
from smtpfleet.contracts.status import S451_LOCAL_ERROR, Status
from smtpfleet.mta.delivery import DeliveryReport, Spawn
from smtpfleet.mta.demands import Demands
from smtpfleet.mta.exchanger import HostWalk
from smtpfleet.mta.route import RouteTable
from smtpfleet.mta.session import Session, open_session
from smtpfleet.mta.settings import MtaSettings
from smtpfleet.mta.srs import SenderRewriter
from smtpfleet.mta.task import Chunks, Task, address_fault, check_content, tasks_of
from smtpfleet.runtime import killpoint, metrics
from smtpfleet.runtime.bus import BusUnavailable
from smtpfleet.runtime.maillog import MailLog
from smtpfleet.runtime.resolver import Resolver
from smtpfleet.runtime.snapshot import SnapshotFollower
from smtpfleet.runtime.work import Lease, WorkClient

S451_ROUTES_DISABLED = Status(451, "4.4.1", "Network error on destination MXs")
S451_FAMILY_MISMATCH = Status(451, "4.4.4", "Address family mismatch on destination MXs")
S451_NO_ROUTE = Status(451, "4.4.4", "No valid route to destination")

FIRST_BATCH = 10
"""Envelopes of the first lease (OpenSMTPD max-schedule)."""
LEASE_WORK_S = 0.5
"""How long a lease should keep a session busy: far below the lease time, far above a round trip over the bus. Chosen."""
KEEPALIVE_SLICE_S = 2.0
"""An idle session notices a drain or a peer that left this late; chosen."""

_unanswered = metrics.counter("mta_unanswered_dots", "Messages whose final dot got no answer: the peer may have them")
_open_sessions = metrics.gauge("mta_sessions", "Sessions open now")
_failed_connects = metrics.counter("mta_failed_sessions", "Sessions that ended before they were ready for mail")


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
    srs: SenderRewriter
    draining: asyncio.Event = field(default_factory=asyncio.Event)


class Connector:
    """One relay, one permit, at most one session at a time."""

    def __init__(self, outbound: Outbound, relay: str, holder: str, spawn: Spawn) -> None:
        self._out = outbound
        self._relay = relay
        self._holder = holder
        self._spawn = spawn
        self._session: Session | None = None
        self._walk: HostWalk | None = None
        self._failure: Status | None = None
        self._ended: Status | None = None
        self._message_s = 0.0

    async def run(self, lease: Lease | None) -> None:
        """Works until the relay has no more work for the keep-alive time, its hosts fail, or the role drains."""
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
        if self._failure is not None:
            return None
        batch = FIRST_BATCH
        if self._message_s:
            batch = max(1, min(CLAIM_BATCH, int(LEASE_WORK_S / self._message_s)))
        left_s = float(out.snapshot.current.limits.session_keepalive_s)
        while not out.draining.is_set():
            is_open = self._session is not None and self._session.is_usable
            wait_s = min(left_s, KEEPALIVE_SLICE_S) if is_open else 0.0
            lease = await out.work.next_work(
                relay=self._relay, batch=batch, wait_ms=max(1, int(wait_s * 1000)), permit=self._holder
            )
            left_s -= KEEPALIVE_SLICE_S
            if lease is not None or not is_open or left_s <= 0:
                return lease
        return None

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
        while task is not None and not lease.is_lost and not (out.draining.is_set() and count):
            following = await anext(tasks, None)
            await self._deliver(task, following, report)
            task = following
            count += 1
        report.flush()
        if task is not None:
            await self._stop(lease, report)
        elif count:
            self._message_s = (time.monotonic() - started_at) / count
        await tasks.aclose()

    async def _stop(self, lease: Lease, report: DeliveryReport) -> None:
        """The rest of the lease is not ours to send: lost, or the role is leaving."""
        self._leave()
        await lease.release([evpid for evpid in lease.evpids if evpid not in report.taken])

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

    async def _deliver(self, task: Task, following: Task | None, report: DeliveryReport) -> None:
        """One task to its end: every envelope gets its outcome."""
        while True:
            session = await self._ready_session(task)
            if session is None:
                assert self._failure is not None
                for envelope in task.envelopes:
                    report.add(envelope, self._failure, None)
                return
            if (refusal := session.refusal(task)) is not None:
                for envelope in task.envelopes:
                    report.add(envelope, refusal, session)
                return
            result = await session.deliver(task, following if self._may_announce(session) else None)
            killpoint.reach("mta.delivered")
            if result.is_dot_unanswered:
                _unanswered.inc()
            if not result.is_untried:
                for envelope, status in zip(task.envelopes, result.statuses, strict=True):
                    report.add(envelope, status, session)
                return

    def _may_announce(self, session: Session) -> bool:
        """Whether the task after this one will go over the same session: its commands may then travel with the final dot."""
        return session.mail_count + 1 < self._limits.session_mail_max and not self._out.draining.is_set()

    # sessions

    @property
    def _limits(self) -> Limits:
        return self._out.snapshot.current.limits

    async def _ready_session(self, task: Task) -> Session | None:
        """A session that takes the task, or None with `_failure` saying why there is none for this lease."""
        session = self._session
        if session is not None:
            if session.is_usable and session.mail_count < self._limits.session_mail_max:
                return session
            if session.accepted_count:
                self._walk = None
            else:
                self._ended = session.end_status
            self._leave()
        elif self._failure is None:
            self._walk = None
        if self._failure is None:
            dispatcher = task.envelopes[0].dispatcher
            assert isinstance(dispatcher, RemoteDispatcher)
            opened = await self._open_session(dispatcher)
            if isinstance(opened, Session):
                self._session = opened
                _open_sessions.inc()
            else:
                self._failure = opened
        return self._session

    async def _open_session(self, dispatcher: RemoteDispatcher) -> Session | Status:
        """Tries the hosts that are left, in order."""
        out = self._out
        parameters = await out.demands.of(dispatcher, out.snapshot.current)
        if isinstance(parameters, Status):
            return parameters
        if self._walk is None:
            self._walk = HostWalk(out.resolver, dispatcher)
        gives_up_at = time.monotonic() + out.settings.find_timeout_s
        failure, self._ended = self._ended, None
        has_disabled = False
        while time.monotonic() < gives_up_at and (host := await self._walk.next_host()) is not None:
            if bool(parameters.source) and (":" in parameters.source) != (":" in host.address):
                failure = failure or S451_FAMILY_MISMATCH
                continue
            if out.routes.is_disabled(parameters.source, host.address):
                has_disabled = True
                continue
            opened = await open_session(host, parameters, out.log)
            if isinstance(opened, Session):
                out.routes.mark_ready(parameters.source, host.address)
                return opened
            failure = opened
            _failed_connects.inc()
            if disabled_s := out.routes.mark_failed(parameters.source, host.address):
                out.log.info("route disabled", source=parameters.source, address=host.address, seconds=int(disabled_s))
        if failure is None and has_disabled:
            failure = S451_ROUTES_DISABLED
        return failure or self._walk.failure or S451_NO_ROUTE

    def _leave(self) -> None:
        """Ends the session, politely and in the background."""
        session, self._session = self._session, None
        if session is not None:
            _open_sessions.dec()
            self._spawn(session.close())
