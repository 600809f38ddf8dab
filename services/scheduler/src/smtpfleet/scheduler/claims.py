"""Leases, permits and ready relays in the store: the scheduler's scripts as functions. No policy here; see assigner.py."""

from dataclasses import dataclass
from pathlib import Path

from smtpfleet.contracts import keys
from smtpfleet.contracts.commands import LeaseRef, Work, WorkItem
from smtpfleet.runtime import killpoint
from smtpfleet.runtime.store import Script, Store

_FOLDER = Path(__file__).parent / "scripts"
_LEASE = _FOLDER / "lease.lua"


def _script(name: str) -> Script:
    # All of these run when the store is full: deliveries are what makes room.
    return Script(_FOLDER / name, _LEASE, works_when_full=True)


CLAIM = _script("claim.lua")
RENEW = _script("renew.lua")
RELEASE = _script("release.lua")
REAP = _script("reap.lua")
PERMIT = _script("permit.lua")
POSTPONE = _script("postpone.lua")
WAIT = _script("wait.lua")

REAP_BATCH = 20
"""Leases per reaping call: at most 2,000 envelopes move in one script. Chosen."""


@dataclass(frozen=True, slots=True)
class RelayLoad:
    """How much a relay has to do and how many sessions it has."""

    due_count: int
    session_count: int


class Claims:
    """The store as the scheduler sees it. Every method raises StoreUnavailable."""

    def __init__(self, store: Store, *, shards: int, lease_ms: int) -> None:
        self._store = store
        self._shards = shards
        self._lease_ms = lease_ms

    @property
    def shards(self) -> int:
        """Number of shards."""
        return self._shards

    async def claim(
        self, shard: int, agent: str, *, batch: int, per_relay: int, relays: list[str], most_relays: int
    ) -> Work | None:
        """A lease on due envelopes of `relays`, or of the relays whose turn it is where none are named; None where nothing is due."""
        answer = await self._store.run(
            CLAIM, [keys.tag(shard)], [agent, self._lease_ms, batch, per_relay, most_relays, *relays]
        )
        if answer[0] == 0:
            return None
        # If we die here the worker hears nothing; the lease runs out and is reaped.
        killpoint.reach("scheduler.claim.taken")
        items = [
            WorkItem(
                answer[n].decode(),
                [evpid.decode() for evpid in answer[n + 1]],
                [home.decode() for home in answer[n + 2]],
            )
            for n in range(1, len(answer), 3)
        ]
        return Work(shard, answer[0], self._lease_ms, items)

    async def ready(self, shard: int, agent: str, count: int) -> list[str]:
        """The relays whose turn it is, longest waiting first."""
        found = await self._store.call(
            "ZRANGE", keys.ready(agent, shard), "-inf", self._store.now_ms(), "BYSCORE", "LIMIT", 0, count
        )
        return [relay.decode() for relay in found]

    async def next_due_ms(self, agent: str) -> int | None:
        """Milliseconds until a relay is to be served, over all shards; None where none waits."""
        replies = await self._store.read(
            [("ZRANGE", keys.ready(agent, shard), 0, 0, "WITHSCORES") for shard in range(self._shards)]
        )
        scores = [_score(reply) for reply in replies if reply and not isinstance(reply, Exception)]
        return int(min(scores)) - self._store.now_ms() if scores else None

    async def relay_load(self, agent: str, relay: str) -> RelayLoad:
        """Due envelopes over all shards, and permits held."""
        now_ms = self._store.now_ms()
        sessions, *due = await self._store.read(
            [
                ("ZCOUNT", keys.permits(agent, relay), now_ms, "+inf"),
                *(("ZCOUNT", keys.due(agent, relay, shard), "-inf", now_ms) for shard in range(self._shards)),
            ]
        )
        return RelayLoad(
            sum(count for count in due if isinstance(count, int)), sessions if isinstance(sessions, int) else 0
        )

    async def take_permit(self, agent: str, relay: str, holder: str, limit: int) -> int | None:
        """None where `holder` has one of the relay's `limit` permits now; else milliseconds for which the relay is to be left alone,
        0 where nobody knows: its limit is reached."""
        answer: int = await self._permit(agent, relay, [holder, limit, self._lease_ms, 0])
        return None if answer == 0 else max(0, answer)

    async def renew_permit(self, agent: str, relay: str, holder: str) -> None:
        """Keeps a permit that is still held."""
        await self._permit(agent, relay, [holder, 0, self._lease_ms, 1])

    async def _permit(self, agent: str, relay: str, args: list[str | int]) -> int:
        answer: int = await self._store.run(PERMIT, [keys.permits(agent, relay), keys.relay_wait(agent, relay)], args)
        return answer

    async def free_permit(self, agent: str, relay: str, holder: str) -> None:
        """Gives a permit back; the relay's turn is now."""
        await self._store.call("ZREM", keys.permits(agent, relay), holder)
        await self.postpone(agent, relay, 0)

    async def leave_alone(self, agent: str, relay: str, wait_ms: int) -> None:
        """No further session for this relay before `wait_ms` are over: a limit would refuse its connection."""
        await self._store.run(WAIT, [keys.relay_wait(agent, relay)], [wait_ms])

    async def end_wait(self, agent: str, relay: str) -> None:
        """The relay may be tried again, now."""
        await self._store.run(WAIT, [keys.relay_wait(agent, relay)], [0])
        await self.postpone(agent, relay, 0)

    async def postpone(self, agent: str, relay: str, delay_ms: int) -> None:
        """Looks at the relay again after `delay_ms`."""
        for shard in range(self._shards):
            await self._store.run(POSTPONE, [keys.tag(shard)], [agent, relay, delay_ms])

    async def renew(self, leases: list[LeaseRef]) -> list[LeaseRef]:
        """Renews; returns those that are lost."""
        by_shard: dict[int, list[int]] = {}
        for ref in leases:
            by_shard.setdefault(ref.shard, []).append(ref.lease)
        lost: list[LeaseRef] = []
        for shard, numbers in by_shard.items():
            answer = await self._store.run(RENEW, [keys.tag(shard)], [self._lease_ms, *numbers])
            lost += [LeaseRef(shard, number) for number in answer]
        return lost

    async def release(self, ref: LeaseRef, evpids: list[str]) -> set[tuple[str, str]]:
        """Gives envelopes back; returns the (agent, relay) pairs that have work now."""
        return _relays(await self._store.run(RELEASE, [keys.tag(ref.shard)], [ref.lease, *evpids]))

    async def reap(self, shard: int) -> tuple[int, set[tuple[str, str]]]:
        """Gives back what leases that ran out held: how many envelopes, and the (agent, relay) pairs that have work now."""
        answer = await self._store.run(REAP, [keys.tag(shard)], [REAP_BATCH])
        return len(answer), _relays(answer)


def _relays(answer: list[bytes]) -> set[tuple[str, str]]:
    found = set()
    for entry in answer:
        agent, _, relay = entry.decode().partition(":")
        found.add((agent, relay))
    return found


def _score(reply: list[object]) -> float:
    """The score of a one-member ZRANGE WITHSCORES, in RESP2 (flat) or RESP3 (pairs)."""
    first = reply[0]
    value = first[1] if isinstance(first, list | tuple) else reply[1]
    return float(value) if isinstance(value, int | float | str | bytes) else 0.0
