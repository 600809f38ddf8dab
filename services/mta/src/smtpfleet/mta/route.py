"""Routes and their penalties: how long a (source, host) pair that failed is left alone.

Owns this replica's memory of routes; lost when it ends, and relearned at the cost of a connection attempt. A route is new until a
session on it was ready for mail; a new one that fails is disabled at once, a proven one after more than four failures in a row. Used
by connector.py. OpenSMTPD: mta.c:mta_route_error, mta_route_disable; numbers of 7.8 (reference 7.5).
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

PENALTY = 2
"""What a failure adds (OpenSMTPD: every caller of mta_route_disable)."""
DISABLED_MAX_S = 3600.0
"""OpenSMTPD 7.8 DELAY_ROUTE_MAX."""
ERRORS_MAX = 4
"""More errors than this without a success disable a proven route (OpenSMTPD MAXERROR_PER_ROUTE)."""
ROUTES_LIMIT = 10_000
"""Routes remembered; chosen. The longest unused is forgotten, which makes it new."""


@dataclass(slots=True)
class _Route:
    penalty: int = 0
    error_count: int = 0
    is_proven: bool = False
    disabled_until: float = 0.0
    decays_at: float = 0.0


class RouteTable:
    """All routes of this process. unit_s: the delay of penalty 1; 0 never disables."""

    def __init__(self, unit_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._unit_s = unit_s
        self._clock = clock
        self._routes: OrderedDict[tuple[str, str], _Route] = OrderedDict()

    def is_disabled(self, source: str, address: str) -> bool:
        """Whether the route is to be left alone for now."""
        route = self._routes.get((source, address))
        return route is not None and route.disabled_until > self._clock()

    def mark_ready(self, source: str, address: str) -> None:
        """A session on this route was ready for mail."""
        route = self._route(source, address)
        route.is_proven = True
        route.error_count = 0

    def mark_failed(self, source: str, address: str) -> float:
        """A session ended before it was ready; the seconds for which the route is now disabled, 0 for not."""
        route = self._route(source, address)
        route.error_count += 1
        if route.is_proven and route.error_count <= ERRORS_MAX:
            return 0.0
        return self.disable(source, address)

    def disable(self, source: str, address: str) -> float:
        """The route is of no use for now; the seconds for which it is disabled, 0 for not."""
        if not self._unit_s:
            return 0.0
        route = self._route(source, address)
        route.penalty += PENALTY
        delay_s = self._delay_s(route.penalty)
        route.disabled_until = self._clock() + delay_s
        route.decays_at = route.disabled_until
        route.is_proven = False
        route.error_count = 0
        return delay_s

    def _delay_s(self, penalty: int) -> float:
        return min(self._unit_s * penalty * penalty, DISABLED_MAX_S)

    def _route(self, source: str, address: str) -> _Route:
        key = (source, address)
        route = self._routes.get(key)
        if route is None:
            route = self._routes[key] = _Route()
            if len(self._routes) > ROUTES_LIMIT:
                self._routes.popitem(last=False)
        else:
            self._routes.move_to_end(key)
        while route.penalty and self._clock() >= route.decays_at:
            route.penalty -= 1
            route.decays_at += self._delay_s(route.penalty)
        return route
