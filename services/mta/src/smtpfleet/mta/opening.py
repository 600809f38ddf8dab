"""Opening a session for a connector: over the hosts of the relay in their order, and our addresses, as far as limits allow.

A host of a worse preference has its turn only where those before it failed: one that is merely limited is waited for (reference 7.5).
A host's own limit leaves the others of its preference, a limit of our address, or that it cannot reach the host, the other addresses of
the source table; any other limit ends the search. Where a session failed, the next host; routes that failed lately are passed over; where
all failed, the next relay of a list of them (turns.py). The walk over the hosts goes on from session to session until it is begun anew.
Used by connector.py. OpenSMTPD: mta.c:mta_connect, mta_find_route.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from smtpfleet.contracts.configuration import RelayLimits
from smtpfleet.contracts.envelope import RemoteDispatcher
from smtpfleet.contracts.status import Status
from smtpfleet.mta.demands import S451_NO_HELO, Demands
from smtpfleet.mta.exchanger import Host, HostWalk
from smtpfleet.mta.limits import ConnectionPermits, Limited, Permitted
from smtpfleet.mta.route import RouteTable
from smtpfleet.mta.session import S451_NOT_OUR_ADDRESS, Session, SessionParameters, open_session
from smtpfleet.mta.settings import MtaSettings
from smtpfleet.mta.turns import turns_of
from smtpfleet.runtime import metrics
from smtpfleet.runtime.maillog import MailLog
from smtpfleet.runtime.resolver import Resolver
from smtpfleet.runtime.snapshot import SnapshotFollower
from smtpfleet.runtime.table_client import TableClient

S451_ROUTES_DISABLED = Status(451, "4.4.1", "Network error on destination MXs")
S451_FAMILY_MISMATCH = Status(451, "4.4.4", "Address family mismatch on destination MXs")
S451_NO_ROUTE = Status(451, "4.4.4", "No valid route to destination")

SOURCES_MAX = 10
"""Addresses of ours tried for one session; chosen, the search is to stay short."""

_failed_connects = metrics.counter("mta_failed_sessions", "Sessions that ended before they were ready for mail")


@dataclass(frozen=True, slots=True)
class Opened:
    """A session that is READY, and the permits of its connection."""

    session: Session
    permitted: Permitted


@dataclass(frozen=True, slots=True)
class _Missed:
    """An address of ours that cannot reach the hosts that are left; another may."""

    failure: Status


class Opener:
    """Of one connector."""

    def __init__(
        self,
        permits: ConnectionPermits,
        *,
        snapshot: SnapshotFollower,
        settings: MtaSettings,
        resolver: Resolver,
        routes: RouteTable,
        demands: Demands,
        tables: TableClient,
        log: MailLog,
    ) -> None:
        self._permits = permits
        self._snapshot = snapshot
        self._settings = settings
        self._resolver = resolver
        self._routes = routes
        self._demands = demands
        self._tables = tables
        self._log = log
        self._walk: HostWalk | None = None
        self._turns: list[RemoteDispatcher] = []

    def begin_anew(self) -> None:
        """The next session may go to the first host again."""
        self._walk = None
        self._turns = []

    async def open(
        self, dispatcher: RemoteDispatcher, ended: Status | None, may_go_on: Callable[[], bool]
    ) -> Opened | Status | Limited:
        """A session, why there is none, or when there may be one. ended: why the session before ended, where that was a failure."""
        if not self._turns:
            self._turns = await turns_of(dispatcher, self._snapshot.current, self._tables)
        while True:
            opened = await self._open(self._turns[0], ended, may_go_on)
            if not isinstance(opened, Status) or len(self._turns) == 1:
                return opened
            del self._turns[0]
            self._walk, ended = None, opened

    async def _open(
        self, dispatcher: RemoteDispatcher, failure: Status | None, may_go_on: Callable[[], bool]
    ) -> Opened | Status | Limited:
        """To one relay. What an address of ours cannot do is no failure while another can, or only has to wait."""
        limited: Limited | None = None
        tried: set[str] = set()
        while len(tried) < SOURCES_MAX:
            source = await self._demands.source(dispatcher, self._snapshot.current)
            if isinstance(source, Status):
                return limited or failure or source
            if source in tried:
                break
            tried.add(source)
            parameters = await self._demands.of(dispatcher, self._snapshot.current, source)
            if parameters is S451_NO_HELO:
                failure = failure or parameters
                continue
            if isinstance(parameters, Status):
                return limited or parameters
            opened = await self._walk_hosts(dispatcher, parameters, failure, may_go_on)
            if isinstance(opened, Opened):
                return opened
            if isinstance(opened, Status):
                return limited or opened
            if isinstance(opened, _Missed):
                failure = opened.failure
            else:
                limited = _sooner(limited, opened)
                if not opened.is_of_source:
                    break
            if not dispatcher.source:
                break
        assert limited or failure
        return limited or failure or S451_NO_ROUTE

    async def _walk_hosts(
        self,
        dispatcher: RemoteDispatcher,
        parameters: SessionParameters,
        failure: Status | None,
        may_go_on: Callable[[], bool],
    ) -> Opened | Status | Limited | _Missed:
        """Tries the hosts that are left, in order. Those that were limited, or that `source` cannot reach, stay for the next time."""
        walk = self._walk = self._walk or HostWalk(self._resolver, dispatcher)
        limits = self._snapshot.current.limits_of(dispatcher.domain)
        gives_up_at = time.monotonic() + self._settings.find_timeout_s
        limited: Limited | None = None
        full: list[Host] = []
        out_of_reach: list[Host] = []
        has_disabled = False
        try:
            while time.monotonic() < gives_up_at and (host := await walk.next_host()) is not None:
                if full and host.preference > full[0].preference:
                    full.append(host)
                    break
                if not _is_of_family(host, limits):
                    failure = failure or S451_FAMILY_MISMATCH
                    continue
                if parameters.source and _is_inet6(host.address) != _is_inet6(parameters.source):
                    failure = failure or S451_FAMILY_MISMATCH
                    out_of_reach.append(host)
                    continue
                if self._routes.is_disabled(parameters.source, host.address):
                    has_disabled = True
                    continue
                permitted = await self._permits.take(dispatcher, limits, parameters.source, host.address, may_go_on)
                if isinstance(permitted, Limited):
                    limited = _sooner(limited, permitted)
                    full.append(host)
                    if permitted.is_of_host:
                        continue
                    break
                opened = await open_session(host, parameters, self._log)
                if isinstance(opened, Session):
                    self._routes.mark_ready(parameters.source, host.address)
                    return Opened(opened, permitted)
                failure = opened
                if opened is S451_NOT_OUR_ADDRESS:
                    await self._permits.give_back(permitted)
                    out_of_reach.append(host)
                    break
                await self._failed(permitted)
        finally:
            walk.put_back(sorted(out_of_reach + full, key=lambda host: host.preference))
        if failure is None and has_disabled:
            failure = S451_ROUTES_DISABLED
        if out_of_reach and limited is None:
            return _Missed(failure or S451_FAMILY_MISMATCH)
        return limited or failure or walk.failure or S451_NO_ROUTE

    async def _failed(self, permitted: Permitted) -> None:
        """The session ended before it was ready."""
        _failed_connects.inc()
        if disabled_s := self._routes.mark_failed(permitted.source, permitted.address):
            self._log_disabled(permitted, disabled_s)
        await self._permits.give_back(permitted)

    def disable_route(self, permitted: Permitted) -> None:
        """The host refuses too many recipients."""
        if disabled_s := self._routes.disable(permitted.source, permitted.address):
            self._log_disabled(permitted, disabled_s)

    def _log_disabled(self, permitted: Permitted, disabled_s: float) -> None:
        self._log.info("route disabled", source=permitted.source, address=permitted.address, seconds=int(disabled_s))


def _sooner(one: Limited | None, other: Limited) -> Limited:
    return other if one is None or other.wait_ms < one.wait_ms else one


def _is_of_family(host: Host, limits: RelayLimits) -> bool:
    """Whether the host is of the family that `limit mta inet4|inet6` leaves."""
    return limits.family == "any" or _is_inet6(host.address) == (limits.family == "inet6")


def _is_inet6(address: str) -> bool:
    return ":" in address
