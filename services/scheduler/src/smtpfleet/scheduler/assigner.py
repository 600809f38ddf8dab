"""Who gets what: parked work requests of one agent, matched with due work.

A request is tried when it comes and parked when there is nothing; parked ones are tried again on a wake-up, when a due time is
reached, and every second in any case, so a lost wake-up costs a second. Sessions that hold a connection to a relay come first, then idle
workers in the order they asked. Relays are served in the order their turns came: one with a large backlog goes to the end of the line
after every batch. OpenSMTPD: scheduler.c scheduler_process, mta.c mta_connect (when a further connection pays).
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from smtpfleet.contracts.commands import CLAIM_BATCH, LeaseRef, Work, WorkQuery
from smtpfleet.contracts.envelope import LOCAL_AGENT
from smtpfleet.runtime import metrics
from smtpfleet.runtime.store import StoreFull, StoreUnavailable
from smtpfleet.scheduler.claims import Claims

GATHER_S = 0.01
"""Pause after a wake-up, so that what arrives together is claimed together: a claim, a load and a report cost the fleet about as much
as delivering four messages. Measured in bench/RESULTS.md; a lone message waits this long."""
SWEEP_S = 1.0
"""Due work is looked for at least this often (DESIGN law 2: within seconds)."""
LIMITED_RECHECK_MS = 5000
"""A relay at its limit is looked at again after this, unless a permit is freed (OpenSMTPD mta.c: limits are re-checked in 5 s)."""
SKIPPED_RECHECK_MS = 500
"""A relay whose sessions can do what is due; chosen: late enough not to spin, early enough for a session that just ended."""
CANDIDATES = 16
"""Relays looked at per attempt; bounded so that an attempt is short (DESIGN law 5)."""
USER_SHARE = 50
"""Most envelopes of one user in a lease of mda, so that others get into the same batch; OpenSMTPD's task-hiwat of a user."""

_assigned = metrics.counter("scheduler_leases", "Leases given, by agent", ("agent",))
_claimed = metrics.counter("scheduler_claimed", "Envelopes put under leases, by agent", ("agent",))
_parked = metrics.gauge("scheduler_parked", "Work requests parked, by agent", ("agent",))


@dataclass(slots=True, eq=False)
class _Parked:
    query: WorkQuery
    answer: asyncio.Future[Work]


NO_WORK = Work(0, 0, 0, [])


class Assigner:
    """Parked requests of one agent on this replica."""

    def __init__(self, agent: str, claims: Claims) -> None:
        self._agent = agent
        self._claims = claims
        self._anyone: deque[_Parked] = deque()
        self._sessions: dict[str, deque[_Parked]] = {}
        self._woken: dict[str, None] = {}
        self._wake = asyncio.Event()
        self._next_shard = 0
        self._is_closing = False
        self.session_limit: Callable[[str], int] = lambda relay: 1

    async def next_work(self, query: WorkQuery) -> Work:
        """Work for this worker, or NO_WORK when its wait is over."""
        if self._is_closing:
            return NO_WORK
        parked = _Parked(query, asyncio.get_running_loop().create_future())
        line = self._sessions.setdefault(query.relay, deque()) if query.relay else self._anyone
        line.append(parked)
        _parked.labels(self._agent).inc()
        if query.relay:
            self._woken[query.relay] = None
        self._wake.set()
        try:
            async with asyncio.timeout(query.wait_ms / 1000):
                return await asyncio.shield(parked.answer)
        except TimeoutError:
            # Claimed in this very moment? Then it is answered; the future decides, not the clock.
            return parked.answer.result() if parked.answer.done() else NO_WORK
        finally:
            _parked.labels(self._agent).dec()
            parked.answer.cancel()
            if parked in line:
                line.remove(parked)
            if query.relay and not line:
                self._sessions.pop(query.relay, None)

    def wake(self, relay: str) -> None:
        """The relay has work, or a free permit."""
        self._woken[relay] = None
        self._wake.set()

    def close(self) -> None:
        """Answers everyone parked with nothing: they ask another replica."""
        self._is_closing = True
        self._wake.set()
        self._dismiss(lambda query: True)

    def dismiss(self, worker: str) -> None:
        """Answers what this worker has parked with nothing: it wants to leave."""
        self._dismiss(lambda query: query.worker == worker)

    def _dismiss(self, is_meant: Callable[[WorkQuery], bool]) -> None:
        for line in (self._anyone, *self._sessions.values()):
            for parked in line:
                if is_meant(parked.query) and not parked.answer.done():
                    parked.answer.set_result(NO_WORK)

    async def run(self) -> None:
        """Runs until it is closed."""
        wait_s = SWEEP_S
        while not self._is_closing:
            try:
                async with asyncio.timeout(wait_s):
                    await self._wake.wait()
                await asyncio.sleep(GATHER_S)
            except TimeoutError:
                pass  # the sweep
            self._wake.clear()
            try:
                await self._serve_sessions()
                await self._serve_anyone()
                wait_s = await self._until_due()
            except (StoreUnavailable, StoreFull):
                wait_s = SWEEP_S

    async def _until_due(self) -> float:
        if not self._anyone and not self._sessions:
            return SWEEP_S
        due_ms = await self._claims.next_due_ms(self._agent)
        # 20 ms at least: a relay that is due but not to be served now must not make this loop spin.
        return SWEEP_S if due_ms is None else min(SWEEP_S, max(0.02, due_ms / 1000))

    async def _serve_sessions(self) -> None:
        """Sessions that wait with an open connection, for the relays that were woken."""
        woken, self._woken = self._woken, {}
        for relay in woken:
            line = self._sessions.get(relay)
            while line:
                parked = line[0]
                if parked.answer.done():
                    line.popleft()
                    continue
                work = await self._claim([relay], parked.query.batch)
                if work is None:
                    break
                await self._give(parked, work)

    async def _serve_anyone(self) -> None:
        while self._anyone:
            parked = self._anyone[0]
            if parked.answer.done():
                self._anyone.popleft()
                continue
            work = await (
                self._claim([], parked.query.batch) if self._agent == LOCAL_AGENT else self._open(parked.query)
            )
            if work is None:
                return
            await self._give(parked, work)

    async def _give(self, parked: _Parked, work: Work) -> None:
        if parked.answer.done():
            # The wait ended while the claim was under way. Dying here costs the lease's time, not the envelopes.
            await self._claims.release(LeaseRef(work.shard, work.lease), [])
            return
        parked.answer.set_result(work)
        _assigned.labels(self._agent).inc()
        _claimed.labels(self._agent).inc(sum(len(item.evpids) for item in work.items))

    async def _claim(self, relays: list[str], batch: int) -> Work | None:
        """A lease from the shard whose turn it is, or the next that has something."""
        for offset in range(self._claims.shards):
            shard = (self._next_shard + offset) % self._claims.shards
            work = await self._claims.claim(
                shard, self._agent, batch=min(batch, CLAIM_BATCH), relays=relays, most_relays=CLAIM_BATCH,
                per_relay=batch if relays else USER_SHARE,
            )  # fmt: skip
            if work is not None:
                self._next_shard = shard + 1
                return work
        return None

    async def _open(self, query: WorkQuery) -> Work | None:
        """A lease on a relay that may have one session more, with a permit for it."""
        for offset in range(self._claims.shards):
            shard = (self._next_shard + offset) % self._claims.shards
            for relay in await self._claims.ready(shard, self._agent, CANDIDATES):
                load = await self._claims.relay_load(self._agent, relay)
                if load.session_count > 2 and load.session_count >= load.due_count / 2:
                    await self._claims.postpone(self._agent, relay, SKIPPED_RECHECK_MS)
                    continue
                limit = self.session_limit(relay)
                wait_ms = await self._claims.take_permit(self._agent, relay, query.permit, limit)
                if wait_ms is not None:
                    await self._claims.postpone(self._agent, relay, wait_ms or LIMITED_RECHECK_MS)
                    continue
                work = await self._claim([relay], query.batch)
                if work is not None:
                    return work
                await self._claims.free_permit(self._agent, relay, query.permit)
        return None
