"""Failed authentications: counted by address and by user, answered later each time, and banned for a while when there are too many.

Owns the counts of one process and the numbers; never decides whether a password is right. `AuthFailures` is what the rest of smtp-in
knows: a fleet-wide one (counts and bans in the store, through a role that may reach it) takes its place without a change elsewhere.
Called by credentials. OpenSMTPD only waits a random second.
"""

import ipaddress
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from smtpfleet.runtime import metrics

ADDRESS_FAILURES_LIMIT = 10
USER_FAILURES_LIMIT = 20
"""Failures within WINDOW_S that lead to a ban. More for a user than for an address, because anybody can fail in his name. Chosen."""
WINDOW_S = 600.0
BAN_S = 900.0
"""Chosen: a person who has mistyped comes back after a break, a guesser gets some thousand tries a day at most."""
DELAY_FIRST_S = 1.0
DELAY_LIMIT_S = 8.0
"""The reply to a failure waits so long, twice as long with each of an address; the first is OpenSMTPD's longest. Chosen: clients wait
much longer (RFC 5321 §4.5.3.2), and a session that waits costs next to nothing."""
REMEMBERED_LIMIT = 50_000
"""Addresses and users remembered, the least recent forgotten first: under 20 MB. Chosen."""

_failures = metrics.counter("auth_failures", "Failed authentications")
_bans = metrics.counter("auth_bans", "Bans that began, by what was banned", ("of",))
_banned = metrics.gauge("auth_banned", "Addresses and users banned or nearly so: remembered failures, by what", ("of",))


@dataclass(frozen=True, slots=True)
class Ban:
    """What an operator sees. of: address | user. ends_in_s: from now."""

    of: str
    name: str
    ends_in_s: float


class AuthFailures(Protocol):
    """Who keeps count. Every method is cheap and never waits; what a replica does not know yet does no harm."""

    def is_address_banned(self, peer: str) -> bool:
        """Whether this address may not even try."""

    def is_user_banned(self, user: str, peer: str) -> bool:
        """Whether nobody may try to be this user now; an address from which he has come lately may."""

    def note_failure(self, user: str, peer: str) -> float:
        """A wrong password, or an unknown user. Returns how many seconds the reply should wait."""

    def note_success(self, user: str, peer: str) -> None:
        """He was who he said he was."""

    def bans(self) -> list[Ban]:
        """All bans that hold."""

    def lift(self, of: str, name: str) -> bool:
        """Ends a ban; whether there was one."""


@dataclass(slots=True)
class _Count:
    began_at: float
    failures: int = 0
    banned_until: float = 0.0


class _Counts:
    """Counts of one kind, by name, the least recently touched in front."""

    def __init__(self, of: str, limit: int, clock: Callable[[], float], remembered_limit: int) -> None:
        self.of = of
        self._limit = limit
        self._clock = clock
        self._remembered_limit = remembered_limit
        self._counts: OrderedDict[str, _Count] = OrderedDict()

    def is_banned(self, name: str) -> bool:
        count = self._counts.get(name)
        return count is not None and count.banned_until > self._clock()

    def add(self, name: str) -> int:
        """One more failure; returns how many there are in the window."""
        now = self._clock()
        count = self._counts.get(name)
        if count is None or (now - count.began_at > WINDOW_S and count.banned_until <= now):
            count = self._counts[name] = _Count(now)
            while len(self._counts) > self._remembered_limit:
                self._counts.popitem(last=False)
        self._counts.move_to_end(name)
        count.failures += 1
        if count.failures >= self._limit and count.banned_until <= now:
            count.banned_until = now + BAN_S
            _bans.labels(self.of).inc()
        _banned.labels(self.of).set(len(self._counts))
        return count.failures

    def forget(self, name: str) -> bool:
        return self._counts.pop(name, None) is not None

    def bans(self) -> list[Ban]:
        now = self._clock()
        return [
            Ban(self.of, name, count.banned_until - now)
            for name, count in self._counts.items()
            if count.banned_until > now
        ]


class LocalFailures:
    """AuthFailures of this process alone. clock: monotonic seconds."""

    def __init__(self, clock: Callable[[], float], *, remembered_limit: int = REMEMBERED_LIMIT) -> None:
        self._addresses = _Counts("address", ADDRESS_FAILURES_LIMIT, clock, remembered_limit)
        self._users = _Counts("user", USER_FAILURES_LIMIT, clock, remembered_limit)
        self._remembered_limit = remembered_limit
        self._welcome: OrderedDict[tuple[str, str], None] = OrderedDict()

    def is_address_banned(self, peer: str) -> bool:
        """As AuthFailures."""
        return self._addresses.is_banned(network_of(peer))

    def is_user_banned(self, user: str, peer: str) -> bool:
        """As AuthFailures."""
        user = user.lower()
        return self._users.is_banned(user) and (user, network_of(peer)) not in self._welcome

    def note_failure(self, user: str, peer: str) -> float:
        """As AuthFailures."""
        _failures.inc()
        self._users.add(user.lower())
        failures = self._addresses.add(network_of(peer))
        return min(DELAY_FIRST_S * 2.0 ** min(failures - 1, 10), DELAY_LIMIT_S)

    def note_success(self, user: str, peer: str) -> None:
        """As AuthFailures. The address is forgiven; the user is not, as others may be guessing at him meanwhile."""
        network = network_of(peer)
        self._addresses.forget(network)
        self._welcome[(user.lower(), network)] = None
        self._welcome.move_to_end((user.lower(), network))
        while len(self._welcome) > self._remembered_limit:
            self._welcome.popitem(last=False)

    def bans(self) -> list[Ban]:
        """As AuthFailures."""
        return self._addresses.bans() + self._users.bans()

    def lift(self, of: str, name: str) -> bool:
        """As AuthFailures."""
        counts = {"address": self._addresses, "user": self._users}[of]
        return counts.forget(network_of(name) if of == "address" else name.lower())


def network_of(peer: str) -> str:
    """What is counted as one: an IPv4 address, a /64 of IPv6 (a home has one), a word as it is."""
    try:
        address = ipaddress.ip_address(peer.partition("%")[0])
    except ValueError:
        return peer
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((int(address) >> 64 << 64, 64)))
    return str(address)
