"""Leases without a bus: the work client that mta's and mda's tests and measurements put in place of runtime.work's.

Holds messages per relay, grants them in leases of at most the batch asked for, and keeps outcomes, releases and permits. Same methods
as WorkClient and Lease; nothing runs out, a test says itself when a lease is lost.
"""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterable, Sequence

from smtpfleet.contracts.commands import LoadedMessage, WorkItem
from smtpfleet.contracts.envelope import relay_of
from smtpfleet.contracts.outcome import Outcome
from smtpfleet.contracts.permits import ConnectionEnd, TakePermits, TakeReply
from smtpfleet.runtime.bus import BusUnavailable


class FakeLease:
    """Envelopes in hand."""

    def __init__(self, work: "FakeWork", number: int, relay: str, messages: list[LoadedMessage]) -> None:
        self.shard, self.number = 0, number
        self._work = work
        self._messages = messages
        self.evpids = [envelope.evpid for message in messages for envelope in message.envelopes]
        self.items = [WorkItem(relay, self.evpids, [""] * len(self.evpids))]
        self.is_lost = False
        self.released: list[str] = []
        self._open = set(self.evpids)

    @property
    def is_finished(self) -> bool:
        return not self._open

    async def load(self, evpids: Sequence[str]) -> AsyncIterator[LoadedMessage]:
        for message in self._messages:
            yield message

    async def report(self, outcomes: list[Outcome]) -> None:
        self._work.report_sizes.append(len(outcomes))
        for outcome in outcomes:
            assert outcome.evpid in self._open, f"{outcome.evpid} reported twice or never held"
            self._open.discard(outcome.evpid)
            self._work.outcomes[outcome.evpid] = outcome
        self._work.changed.set()

    async def release(self, evpids: Iterable[str] = (), *, wait_ms: int = 0) -> None:
        given = list(evpids) or list(self._open)
        assert set(given) <= self._open
        self.released += given
        self._work.released += given
        self._work.waits_ms.append(wait_ms)
        self._open.difference_update(given)
        self._work.changed.set()


class FakeWork:
    """Messages by relay and what became of them."""

    agent = "mta"
    replica = "mta-test"

    def __init__(self) -> None:
        self.pending: dict[str, deque[LoadedMessage]] = {}
        self.outcomes: dict[str, Outcome] = {}
        self.released: list[str] = []
        self.waits_ms: list[int] = []
        self.leases: list[FakeLease] = []
        self.report_sizes: list[int] = []
        self.permits: set[tuple[str, str]] = set()
        self.connections: set[str] = set()
        self.taken: list[TakePermits] = []
        self.ended: list[ConnectionEnd] = []
        self.refusals: dict[str, TakeReply | None] = {}
        """Answer to a request with a wish of this name; None: nobody answers."""
        self.crowded: set[str] = set()
        self.contents: dict[str, list[bytes]] = {}
        self.unreadable: set[str] = set()
        self.changed = asyncio.Event()
        self._arrived = asyncio.Event()
        self._is_stopped = False
        self._parked_for: Counter[str] = Counter()

    def leave(self) -> None:
        """The hint to end what is parked is lost here: the wait ends by itself."""

    def stop(self) -> None:
        """Parked requests end empty at once, as if their wait were over."""
        self._is_stopped = True
        self._arrived.set()

    def add(self, *messages: LoadedMessage) -> None:
        for message in messages:
            self.pending.setdefault(relay_of(message.envelopes[0].dispatcher), deque()).append(message)
        self._arrived.set()

    async def next_work(self, *, relay: str = "", batch: int, wait_ms: int, permit: str = "") -> FakeLease | None:
        loop = asyncio.get_running_loop()
        until = loop.time() + wait_ms / 1000
        if relay:
            self._parked_for[relay] += 1
            try:
                return await self._wait(loop, until, relay, batch, permit)
            finally:
                self._parked_for[relay] -= 1
        return await self._wait(loop, until, relay, batch, permit)

    async def _wait(
        self, loop: asyncio.AbstractEventLoop, until: float, relay: str, batch: int, permit: str
    ) -> FakeLease | None:
        while True:
            for name, queue in self.pending.items():
                # Who has a session with the relay goes before who has none, as with the scheduler.
                if queue and (relay == name or (not relay and not self._parked_for[name])):
                    self.permits.add((name, permit))
                    return self._grant(name, queue, batch)
            if self._is_stopped:
                return None
            self._arrived.clear()
            try:
                async with asyncio.timeout_at(until):
                    await self._arrived.wait()
            except TimeoutError:
                return None

    def _grant(self, relay: str, queue: deque[LoadedMessage], batch: int) -> FakeLease:
        messages: list[LoadedMessage] = []
        while queue and batch > 0:
            batch -= len(queue[0].envelopes)
            messages.append(queue.popleft())
        lease = FakeLease(self, len(self.leases) + 1, relay, messages)
        self.leases.append(lease)
        return lease

    async def read_content(self, msgid: str, chunk_count: int) -> AsyncIterator[bytes]:
        if msgid in self.unreadable:
            raise BusUnavailable("no content today")
        for chunk in self.contents[msgid][:chunk_count]:
            yield chunk

    def hold_permit(self, relay: str, holder: str) -> None:
        assert (relay, holder) in self.permits

    async def take_connection(self, request: TakePermits) -> TakeReply | None:
        self.taken.append(request)
        self.changed.set()
        for wish in request.wishes:
            if wish.name in self.refusals:
                reply = self.refusals[wish.name]
                if reply is None:
                    await asyncio.sleep(0.01)
                return reply
        self.connections.add(request.holder)
        return TakeReply(0)

    def is_crowded(self, holder: str) -> bool:
        return holder in self.crowded

    async def end_connection(self, end: ConnectionEnd) -> None:
        self.connections.discard(end.holder)
        self.ended.append(end)
        self.changed.set()

    async def release_permits(self, permits: Sequence[tuple[str, str]]) -> None:
        self.permits.difference_update(permits)
        self.changed.set()
