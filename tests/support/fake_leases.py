"""Leases that a test puts together itself, of several users, on the fake of fake_work.py: for mda.

A request for work stays parked until a lease is given or the wait is ended, as with a real scheduler.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence

from smtpfleet.contracts.commands import LoadedMessage
from smtpfleet.contracts.outcome import Outcome
from smtpfleet.runtime.bus import BusUnavailable
from tests.support.fake_work import FakeLease, FakeWork


class GivenWork(FakeWork):
    """Hands out the leases given to it, in order."""

    agent = "mda"
    replica = "mda-test"

    def __init__(self) -> None:
        super().__init__()
        self.parked = 0
        self.most_parked = 0
        self._given: asyncio.Queue[GivenLease | None] = asyncio.Queue()

    def give(
        self, messages: Sequence[LoadedMessage], *, missing: Sequence[str] = (), is_lost: bool = False
    ) -> "GivenLease":
        """A lease of these messages and of evpids that queue does not have any more."""
        lease = GivenLease(self, len(self.leases) + 1, list(messages), list(missing))
        lease.is_lost = is_lost
        self.leases.append(lease)
        self._given.put_nowait(lease)
        return lease

    def end_wait(self) -> None:
        """The parked request is answered: no work."""
        self._given.put_nowait(None)

    async def next_work(self, *, relay: str = "", batch: int, wait_ms: int, permit: str = "") -> FakeLease | None:
        self.parked += 1
        self.most_parked = max(self.parked, self.most_parked)
        try:
            return await self._given.get()
        finally:
            self.parked -= 1

    async def read_content(self, msgid: str, chunk_count: int) -> AsyncIterator[bytes]:
        for index in range(chunk_count):
            if index >= len(self.contents.get(msgid, [])):
                raise BusUnavailable(f"content of {msgid} ends at chunk {index} of {chunk_count}")
            yield self.contents[msgid][index]


class GivenLease(FakeLease):
    """A lease that knows what it was told."""

    def __init__(self, work: FakeWork, number: int, messages: list[LoadedMessage], missing: list[str]) -> None:
        super().__init__(work, number, "any", messages)
        self.reported: list[Outcome] = []
        self.report_count = 0
        self._missing = missing
        self.evpids += missing
        self._open.update(missing)

    async def load(self, evpids: Sequence[str]) -> AsyncIterator[LoadedMessage]:
        self._open.difference_update(self._missing)
        for message in self._messages:
            if self.is_lost:
                return
            yield message

    async def report(self, outcomes: list[Outcome]) -> None:
        self.reported += outcomes
        self.report_count += 1
        await super().report(outcomes)

    async def finished(self, deadline_s: float = 5.0) -> None:
        """Waits until nothing is open; shows what still is."""
        try:
            async with asyncio.timeout(deadline_s):
                while self._open:
                    self._work.changed.clear()
                    await self._work.changed.wait()
        except TimeoutError:
            raise AssertionError(f"lease {self.number} still holds {sorted(self._open)}") from None
