"""Permits of connections in the store: a host, a route, a source, a connector, a domain, each counted for the whole fleet.

All of a connection's permits are taken by one script, so all their keys share one hash tag: it runs once per connection, never per
message. A permit runs out with its holder, so nothing here can stay taken. Who was refused has a place in a line; what is freed is
kept a moment for the first. No policy but this; called by handlers.py. OpenSMTPD: mta.c:mta_connect, mta_find_route.
"""

from collections.abc import Iterable
from pathlib import Path

from smtpfleet.contracts import keys
from smtpfleet.contracts.commands import RELAY_WAIT_MAX_MS
from smtpfleet.contracts.permits import ConnectionEnd, TakePermits, TakeReply
from smtpfleet.runtime import killpoint
from smtpfleet.runtime.store import Script, Store

_FOLDER = Path(__file__).parent / "scripts"


def _script(name: str) -> Script:
    # They run when the store is full: deliveries are what makes room.
    return Script(_FOLDER / name, _FOLDER / "lease.lua", _FOLDER / "connection.lua", works_when_full=True)


CONNECT = _script("connect.lua")
DISCONNECT = _script("disconnect.lua")
KEEP = _script("keep.lua")

KEEP_BATCH = 50
"""Connections renewed by one script call: some 250 permits. Chosen."""


class Permits:
    """What connections hold. Every method raises StoreUnavailable."""

    def __init__(self, store: Store, *, lease_ms: int) -> None:
        self._store = store
        self._lease_ms = lease_ms

    async def take(self, request: TakePermits) -> TakeReply:
        """All or none; may be repeated."""
        wishes: list[str | int] = []
        for wish in request.wishes:
            wishes += (wish.name, wish.most_count, wish.delay_ms, wish.reconnect_delay_ms)
        wait_ms, refused, is_crowded = await self._store.run(
            CONNECT,
            [keys.CONNECTIONS_TAG],
            [request.holder, request.relay, self._lease_ms, RELAY_WAIT_MAX_MS, *wishes],
        )
        # If we die here the worker asks another replica, which finds what its holder has.
        killpoint.reach("scheduler.permits.taken")
        return TakeReply(wait_ms, refused.decode(), bool(is_crowded))

    async def keep(self, holders: list[str]) -> list[str]:
        """Renews what these still hold; returns those that others wait for."""
        crowded: list[str] = []
        for begin in range(0, len(holders), KEEP_BATCH):
            some = holders[begin : begin + KEEP_BATCH]
            answer = await self._store.run(KEEP, [keys.CONNECTIONS_TAG], [self._lease_ms, *some])
            crowded += [holder.decode() for holder in answer]
        return crowded

    async def free(self, ends: Iterable[ConnectionEnd]) -> set[str]:
        """Frees the permits of connections that are over; returns the relays that may try now: theirs, and those next in line."""
        relays: set[str] = set()
        for end in ends:
            woken = await self._store.run(
                DISCONNECT, [keys.CONNECTIONS_TAG], [end.holder, end.route, end.reconnect_delay_ms]
            )
            relays.add(end.relay)
            relays.update(relay.decode() for relay in woken)
        return relays
