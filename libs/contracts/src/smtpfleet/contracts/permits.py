"""Permits of a connection: what mta asks scheduler for before it connects to a host, and tells it afterwards.

A connection needs a permit of everything it counts for (host, route, source, connector, relay, domain): all of them or none. They run
out with their holder unless the heartbeat renews them (commands.RenewLeases). Counted in Redis for the whole fleet, by the store's
clock. OpenSMTPD: limit.c and mta.c:mta_connect, mta_find_route, each for one daemon (reference 7.2).
"""

from msgspec import Struct

NOT_COUNTED = -1
"""PermitWish.most_count of what has a delay alone."""
WISHES_MAX = 8
"""Most permits of one connection; six are used."""


class PermitWish(Struct, frozen=True, array_like=True):
    """One permit. name: `<kind>:<what>`, for example `host:192.0.2.1`.

    most_count: connections at once, or NOT_COUNTED. delay_ms: at least this long after the last connection began;
    reconnect_delay_ms: after the last one ended. 0 for none.
    """

    name: str
    most_count: int
    delay_ms: int
    reconnect_delay_ms: int = 0


class TakePermits(Struct, frozen=True, array_like=True):
    """May `holder` connect? wishes: at most WISHES_MAX; the first one refused is named in the answer.

    holder: drawn anew for every connection; the same again, after a lost answer, is answered alike. relay: for whom, told when it
    has a turn.
    """

    holder: str
    relay: str
    wishes: list[PermitWish]


class TakeReply(Struct, frozen=True, array_like=True):
    """wait_ms: 0 where the holder has all permits; else when to ask again, having none. refused: name of the wish, "" for none.

    is_crowded: others wait for one of the permits, so the connection is not to be kept idle.
    """

    wait_ms: int
    refused: str = ""
    is_crowded: bool = False


class ConnectionEnd(Struct, frozen=True, array_like=True):
    """The connection of `holder` is over. route: name of its route's wish, which rests for reconnect_delay_ms."""

    holder: str
    relay: str
    route: str
    reconnect_delay_ms: int
