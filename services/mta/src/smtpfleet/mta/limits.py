"""Permits of the connections of one relay: which ones a connection needs, taken before it is opened and given back after it ended.

Owns their names: what counts as one host, route, source, connector, relay and domain to the whole fleet. A source that nobody named
is the worker's own address: the source limit counts it per worker, but to the peer all workers are us, so routes and connectors do not
tell them apart. Never connects; scheduler does the counting. Used by opening.py. OpenSMTPD: limit.c, mta.c:mta_connect (reference 7.2).
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

from smtpfleet.contracts.configuration import RelayLimits
from smtpfleet.contracts.envelope import RemoteDispatcher
from smtpfleet.contracts.permits import NOT_COUNTED, ConnectionEnd, PermitWish, TakePermits
from smtpfleet.runtime import metrics
from smtpfleet.runtime.work import WorkClient

ANY_SOURCE = "any"

_limited = metrics.counter("mta_limited", "Connections put off by a limit, by what is limited", ("kind",))


@dataclass(frozen=True, slots=True)
class Limited:
    """No connection for now. wait_ms: until it makes sense to ask again, 0 where nobody could be asked. kind: of the limit, "" then."""

    wait_ms: int
    kind: str = ""

    @property
    def is_of_host(self) -> bool:
        """Whether another host may be free."""
        return self.kind in ("host", "route")

    @property
    def is_of_source(self) -> bool:
        """Whether another address of ours may be free."""
        return self.kind in ("source", "connector", "route")


@dataclass(frozen=True, slots=True)
class Permitted:
    """The permits of one connection. source: as the relay demands it, "" for any. is_crowded: others waited when they were taken."""

    end: ConnectionEnd
    source: str
    address: str
    is_crowded: bool

    @property
    def holder(self) -> str:
        """Who holds them."""
        return self.end.holder


class ConnectionPermits:
    """Of one connector. holder: its own id, from which those of its connections are made."""

    def __init__(self, work: WorkClient, relay: str, holder: str) -> None:
        self._work = work
        self._relay = relay
        self._holder = holder
        self._numbers = count(1)

    async def take(
        self,
        dispatcher: RemoteDispatcher,
        limits: RelayLimits,
        source: str,
        address: str,
        may_go_on: Callable[[], bool],
    ) -> Permitted | Limited:
        """Permits for a connection from `source` to `address`; asked for as long as nobody answers and may_go_on()."""
        wishes = self._wishes(dispatcher, limits, source, address)
        request = TakePermits(f"{self._holder}.{next(self._numbers)}", self._relay, wishes)
        while (reply := await self._work.take_connection(request)) is None:
            if not may_go_on():
                return Limited(0)
        if reply.wait_ms:
            limited = Limited(reply.wait_ms, reply.refused.partition(":")[0])
            _limited.labels(limited.kind).inc()
            return limited
        route = wishes[-1]
        end = ConnectionEnd(request.holder, self._relay, route.name, route.reconnect_delay_ms)
        return Permitted(end, source, address, reply.is_crowded)

    async def give_back(self, permitted: Permitted) -> None:
        """The connection is over, or was never made."""
        await self._work.end_connection(permitted.end)

    def _wishes(self, dispatcher: RemoteDispatcher, limits: RelayLimits, source: str, address: str) -> list[PermitWish]:
        """What concerns the relay comes first, then our address, then the host: the first refusal says whether another may do."""
        domain = f"host={dispatcher.domain}" if dispatcher.is_host else dispatcher.domain
        route_source = source or ANY_SOURCE
        local = source or f"{ANY_SOURCE}@{self._work.replica}"
        return [
            PermitWish(f"domain:{domain.lower()}", limits.max_conn_per_domain, limits.conn_delay_domain_s * 1000),
            # Its sessions are counted when they get their work (WorkQuery.permit).
            PermitWish(f"relay:{self._relay}", NOT_COUNTED, limits.conn_delay_relay_s * 1000),
            PermitWish(f"source:{local}", limits.max_conn_per_source, limits.conn_delay_source_s * 1000),
            PermitWish(
                f"connector:{self._relay}|{route_source}",
                limits.max_conn_per_connector,
                limits.conn_delay_connector_s * 1000,
            ),
            PermitWish(f"host:{address}", limits.max_conn_per_host, limits.conn_delay_host_s * 1000),
            PermitWish(
                f"route:{route_source}|{address}",
                limits.max_conn_per_route,
                limits.conn_delay_route_s * 1000,
                limits.reconn_delay_route_s * 1000,
            ),
        ]
