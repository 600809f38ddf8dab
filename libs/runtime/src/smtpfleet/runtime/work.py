"""A worker's side of leased work: ask, load, keep alive, report, give back. Used by mta and mda alike.

A lease is the right to work on some envelopes for some seconds; its number is the fencing token that queue and scheduler check. The
heartbeat renews every lease in hand and every permit held, of relays and of connections. A worker that could not renew in time must
start nothing more (`is_lost`), but it still reports what it has done: the fence decides, and while NATS is away nothing is reaped
(scheduler). OpenSMTPD has no counterpart: its agents die with the daemon.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterable, Sequence

from smtpfleet.contracts import commands as c
from smtpfleet.contracts import subjects, wire
from smtpfleet.contracts.events import WorkerLeaving
from smtpfleet.contracts.outcome import Outcome
from smtpfleet.contracts.permits import ConnectionEnd, TakePermits, TakeReply
from smtpfleet.runtime import killpoint, metrics
from smtpfleet.runtime.bus import BusUnavailable
from smtpfleet.runtime.role import Role

RETRY_S = 0.5
"""Pause before the same request is made again."""
REQUEST_S = 10.0
READ_PATIENCE_S = 30.0
"""How long a chunk is asked for; a peer that waits for content allows three minutes (RFC 5321 §4.5.3.2.5). Chosen."""
HEARTBEATS_PER_LEASE = 3

_outcomes = metrics.counter("outcomes", "Outcomes handed in, by kind", ("agent", "kind"))
_refused = metrics.counter("outcomes_refused", "Outcomes the fence refused: the lease had run out", ("agent", "kind"))


class Lease:
    """Envelopes in hand. Finished when each was reported, released or turned out to need nothing."""

    def __init__(self, client: "WorkClient", work: c.Work) -> None:
        self._client = client
        self.shard = work.shard
        self.number = work.lease
        self.items = work.items
        self.ref = c.LeaseRef(work.shard, work.lease)
        self._lease_s = work.lease_ms / 1000
        self._fresh_until = time.monotonic() + self._lease_s
        self._was_lost = False
        self._homes = {evpid: home for item in work.items for evpid, home in zip(item.evpids, item.homes, strict=True)}
        self._open = set(self._homes)

    @property
    def evpids(self) -> list[str]:
        """All envelopes of the lease, in the order they were due."""
        return list(self._homes)

    @property
    def is_lost(self) -> bool:
        """Whether no new delivery may be started under this lease."""
        return self._was_lost or time.monotonic() > self._fresh_until

    @property
    def is_finished(self) -> bool:
        """Whether nothing of it is left in hand."""
        return not self._open

    def renewed(self, at: float) -> None:
        """The heartbeat sent at monotonic time `at` was taken."""
        self._fresh_until = at + self._lease_s

    def lost(self) -> None:
        """The scheduler gave the envelopes to somebody else."""
        self._was_lost = True

    async def load(self, evpids: Sequence[str]) -> AsyncIterator[c.LoadedMessage]:
        """Messages with those envelopes, as they come. Ends early where the lease is lost; what was not yielded is not to be worked on."""
        by_home: dict[str, list[str]] = {}
        for evpid in evpids:
            by_home.setdefault(self._homes[evpid], []).append(evpid)
        for home, wanted in by_home.items():
            to = home
            while wanted and not self.is_lost:
                reply = await self._client.load_once(c.LoadEnvelopes(self.shard, self.number, wanted, to), to)
                if reply is None:
                    if not to:
                        await asyncio.sleep(RETRY_S)
                    to = ""  # the replica that had it cached is gone or unwell: any other reads the store
                    continue
                loaded = {envelope.evpid for message in reply.messages for envelope in message.envelopes}
                self._close(set(wanted) - loaded - set(reply.later))
                for message in reply.messages:
                    yield message
                wanted = reply.later

    async def report(self, outcomes: list[Outcome]) -> None:
        """Hands in outcomes; returns when queue has taken or refused them. Keeps trying while nobody answers."""
        if not outcomes:
            return
        refused = set(await self._client.report_until_taken(self.ref, outcomes))
        for outcome in outcomes:
            if outcome.evpid in refused:
                _refused.labels(self._client.agent, outcome.kind).inc()
                self._client.log.fact(
                    outcome.evpid, f"{self._client.agent} outcome-refused", lease=self.number, kind=outcome.kind
                )
            else:
                _outcomes.labels(self._client.agent, outcome.kind).inc()
        if refused:
            self.lost()
        self._close(outcome.evpid for outcome in outcomes)

    async def release(self, evpids: Iterable[str] = (), *, wait_ms: int = 0) -> None:
        """Gives envelopes back untried, all that is open where none are named; they are due at once for anybody. wait_ms: for whoever
        has a session with the relay; a new one is not begun before that."""
        given = list(evpids) or list(self._open)
        if given and not self._was_lost:
            await self._client.release_once(c.ReleaseLease(self.shard, self.number, given, wait_ms))
        self._close(given)

    def _close(self, evpids: Iterable[str]) -> None:
        self._open.difference_update(evpids)
        if not self._open:
            self._client.forget(self)


class WorkClient:
    """All leases and permits of one worker process."""

    def __init__(self, role: Role, agent: str) -> None:
        self.agent = agent
        self.log = role.log
        self._bus = role.bus
        self._replica = role.replica
        self._leases: dict[tuple[int, int], Lease] = {}
        self._permits: set[tuple[str, str]] = set()
        self._connections: set[str] = set()
        self._crowded: set[str] = set()
        self._lease_s = 15.0
        self._was_told_lease_s = asyncio.Event()
        role.spawn(self._heartbeat(), name="heartbeat")

    @property
    def replica(self) -> str:
        """This worker's name."""
        return self._replica

    async def next_work(self, *, relay: str = "", batch: int, wait_ms: int, permit: str = "") -> Lease | None:
        """A lease, or None where there was no work in `wait_ms` or the scheduler is away (then after a pause)."""
        query = c.WorkQuery(self.agent, self._replica, relay, min(batch, c.CLAIM_BATCH), wait_ms, permit)
        try:
            work: c.Work = await self._bus.request(subjects.SCHEDULER_WORK_NEXT, query, timeout_s=wait_ms / 1000 + 5)
        except (BusUnavailable, wire.RemoteFault, wire.UnknownVersion, wire.Malformed):
            # A lease whose answer was lost on the way runs out and is reaped.
            await asyncio.sleep(RETRY_S)
            return None
        if work.lease == 0:
            return None
        lease = Lease(self, work)
        self._leases[(work.shard, work.lease)] = lease
        if self._lease_s != work.lease_ms / 1000:
            # The heartbeat may be in a pause that is too long for this lease.
            self._lease_s = work.lease_ms / 1000
            self._was_told_lease_s.set()
        return lease

    def leave(self) -> None:
        """Has what is parked answered with nothing, for a drain. Where the hint is lost, the wait ends by itself."""
        self._bus.publish(subjects.SCHEDULER_WORKER_LEAVING, WorkerLeaving(self.agent, self._replica))

    async def read_content(self, msgid: str, chunk_count: int) -> AsyncIterator[bytes]:
        """The chunks of a large message. Raises BusUnavailable where one cannot be read for READ_PATIENCE_S, or is gone: then the
        attempt fails temporarily. Trouble of ours that passes sooner costs the message no attempt."""
        for index in range(chunk_count):
            data = await self._read_chunk(c.ReadContent(msgid, index))
            if not data:
                raise BusUnavailable(f"content of {msgid} ends at chunk {index} of {chunk_count}")
            yield data

    async def _read_chunk(self, request: c.ReadContent) -> bytes:
        gives_up_at = time.monotonic() + READ_PATIENCE_S
        while True:
            try:
                chunk: c.ContentChunk = await self._bus.request(
                    subjects.QUEUE_CONTENT_READ, request, timeout_s=REQUEST_S
                )
            except (BusUnavailable, wire.RemoteFault) as error:
                if time.monotonic() > gives_up_at:
                    raise BusUnavailable(str(error)) from None
                await asyncio.sleep(RETRY_S)
                continue
            return chunk.data

    def hold_permit(self, relay: str, holder: str) -> None:
        """The heartbeat keeps this permit."""
        self._permits.add((relay, holder))

    async def release_permits(self, permits: Sequence[tuple[str, str]]) -> None:
        """The sessions are over. Best effort: a permit nobody renews runs out."""
        self._permits.difference_update(permits)
        await self._release(c.ReleasePermits(self.agent, list(permits)))

    async def _release(self, request: c.ReleasePermits) -> None:
        try:
            await self._bus.request(subjects.SCHEDULER_PERMIT_RELEASE, request, timeout_s=REQUEST_S)
        except (BusUnavailable, wire.RemoteFault) as error:
            self.log.warning("permit not released, it will run out", error=error)

    async def take_connection(self, request: TakePermits) -> TakeReply | None:
        """Permits for one connection, kept by the heartbeat, or when to ask again; None where nobody answered, after a pause. The same
        request may be made again."""
        try:
            reply: TakeReply = await self._bus.request(subjects.SCHEDULER_PERMIT_TAKE, request, timeout_s=REQUEST_S)
        except (BusUnavailable, wire.RemoteFault):
            # Permits whose answer was lost on the way run out.
            await asyncio.sleep(RETRY_S)
            return None
        if not reply.wait_ms:
            self._connections.add(request.holder)
        return reply

    def is_crowded(self, holder: str) -> bool:
        """Whether others wait for a permit of this connection, as the last heartbeat heard."""
        return holder in self._crowded

    async def end_connection(self, end: ConnectionEnd) -> None:
        """The connection is over. Best effort, as release_permits."""
        self._connections.discard(end.holder)
        await self._release(c.ReleasePermits(self.agent, [], [end]))

    def forget(self, lease: Lease) -> None:
        """The lease is finished."""
        self._leases.pop((lease.shard, lease.number), None)

    async def load_once(self, request: c.LoadEnvelopes, to: str) -> c.LoadReply | None:
        """One attempt to load; None where it failed."""
        try:
            reply: c.LoadReply = await self._bus.request(
                subjects.QUEUE_ENVELOPE_LOAD, request, to=to, timeout_s=REQUEST_S
            )
        except (BusUnavailable, wire.RemoteFault):
            return None
        killpoint.reach("work.loaded")
        return reply

    async def report_until_taken(self, ref: c.LeaseRef, outcomes: list[Outcome]) -> list[str]:
        """The evpids that were refused.

        A repeated report is refused for what the first one did; an answer may have been lost, so after a failed attempt a refusal
        does not tell whether the fence or the repetition caused it. Both mean: nothing more to do here.
        """
        request = c.ReportOutcomes(ref.shard, ref.lease, outcomes)
        attempts = 0
        while True:
            attempts += 1
            try:
                reply: c.ReportReply = await self._bus.request(
                    subjects.QUEUE_ENVELOPE_RESULT, request, timeout_s=REQUEST_S
                )
            except (BusUnavailable, wire.RemoteFault):
                await asyncio.sleep(RETRY_S)
                continue
            return reply.refused if attempts == 1 else []

    async def release_once(self, request: c.ReleaseLease) -> None:
        """Tries to give back; where it fails the lease runs out and does the same later."""
        try:
            await self._bus.request(subjects.SCHEDULER_LEASE_RELEASE, request, timeout_s=REQUEST_S)
        except (BusUnavailable, wire.RemoteFault) as error:
            self.log.warning("lease not released, it will run out", lease=request.lease, error=error)

    async def _heartbeat(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._lease_s / HEARTBEATS_PER_LEASE):
                    await self._was_told_lease_s.wait()
            self._was_told_lease_s.clear()
            if not self._leases and not self._permits and not self._connections:
                continue
            request = c.RenewLeases(
                self.agent, self._replica, [lease.ref for lease in self._leases.values()], list(self._permits),
                list(self._connections),
            )  # fmt: skip
            at = time.monotonic()
            try:
                reply: c.RenewReply = await self._bus.request(
                    subjects.SCHEDULER_LEASE_RENEW, request, timeout_s=self._lease_s / HEARTBEATS_PER_LEASE
                )
            except (BusUnavailable, wire.RemoteFault):
                continue
            self._crowded = set(reply.crowded)
            lost = {(ref.shard, ref.lease) for ref in reply.lost}
            for ref in request.leases:
                lease = self._leases.get((ref.shard, ref.lease))
                if lease is None:
                    continue
                if (ref.shard, ref.lease) in lost:
                    self.log.warning("lease lost", lease=ref.lease)
                    lease.lost()
                else:
                    lease.renewed(at)
