"""Failed authentications: counted by address and by user, answered later each time, and banned for a while when there are too many.

`AuthFailures` is what the rest of smtp-in knows. LocalFailures keeps the counts of one process; fleet_failures has scheduler keep those of
all, and goes by the local ones while it is away. Neither decides whether a password is right. Called by credentials. OpenSMTPD only waits
a random second.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from smtpfleet.contracts.callers import NAME_LIMIT, BanKind
from smtpfleet.contracts.configuration import DEFAULT_LIMITS, Limits
from smtpfleet.runtime import metrics
from smtpfleet.smtp_in.peer_names import address_of

WINDOW_S = 600.0
"""How long failures count, from the first; as scheduler.bans.FAILURES_WINDOW_MS. Chosen."""
DELAY_FIRST_S = 1.0
DELAY_LIMIT_S = 8.0
"""The reply to a failure waits so long, twice as long with each of an address; the first is OpenSMTPD's longest. Chosen: clients wait
much longer (RFC 5321 §4.5.3.2), and a session that waits costs next to nothing."""
REMEMBERED_LIMIT = 50_000
"""Addresses and users remembered, the least recent forgotten first: under 20 MB. Chosen."""

_failures = metrics.counter("auth_failures", "Failed authentications")


class AuthFailures(Protocol):
    """Who keeps count."""

    def is_address_banned(self, peer: str) -> bool:
        """Whether this address may not even try. Asked at once, of what is known."""

    async def is_user_banned(self, user: str, peer: str) -> bool:
        """Whether nobody may try to be this user now; an address from which he has come lately may."""

    async def note_failure(self, user: str, peer: str) -> float:
        """A wrong password, or an unknown user. Returns how many seconds the reply should wait."""

    def note_success(self, user: str, peer: str) -> None:
        """He was who he said he was."""


@dataclass(slots=True)
class _Count:
    began_at: float
    failures: int = 0
    banned_until: float = 0.0


class _Counts:
    """Counts of one kind, by name, the least recently touched in front."""

    def __init__(self, clock: Callable[[], float], remembered_limit: int) -> None:
        self._clock = clock
        self._remembered_limit = remembered_limit
        self._counts: OrderedDict[str, _Count] = OrderedDict()

    def is_banned(self, name: str) -> bool:
        count = self._counts.get(name)
        return count is not None and count.banned_until > self._clock()

    def add(self, name: str, *, allowed: int, ban_s: int) -> int:
        """One more failure; returns how many there are in the window."""
        now = self._clock()
        count = self._counts.get(name)
        if count is None or (now - count.began_at > WINDOW_S and count.banned_until <= now):
            count = self._counts[name] = _Count(now)
            while len(self._counts) > self._remembered_limit:
                self._counts.popitem(last=False)
        self._counts.move_to_end(name)
        count.failures += 1
        if 0 < allowed <= count.failures and count.banned_until <= now:
            count.banned_until = now + ban_s
        return count.failures

    def forget(self, name: str) -> None:
        self._counts.pop(name, None)


class LocalFailures:
    """AuthFailures of this process alone. clock: monotonic seconds. limits: of the newest configuration."""

    def __init__(
        self,
        clock: Callable[[], float],
        *,
        limits: Limits = DEFAULT_LIMITS,
        remembered_limit: int = REMEMBERED_LIMIT,
    ) -> None:
        self.limits = limits
        self._addresses = _Counts(clock, remembered_limit)
        self._users = _Counts(clock, remembered_limit)
        self._remembered_limit = remembered_limit
        self._welcome: OrderedDict[tuple[str, str], None] = OrderedDict()

    def is_address_banned(self, peer: str) -> bool:
        """As AuthFailures."""
        return self._addresses.is_banned(address_of(peer))

    async def is_user_banned(self, user: str, peer: str) -> bool:
        """As AuthFailures."""
        return self._users.is_banned(user_name(user)) and not self.is_welcome(user, peer)

    def is_welcome(self, user: str, peer: str) -> bool:
        """Whether he has come from there lately, to this process."""
        return (user_name(user), address_of(peer)) in self._welcome

    async def note_failure(self, user: str, peer: str) -> float:
        """As AuthFailures."""
        return delay_s(self.count_failure(user, peer))

    def count_failure(self, user: str, peer: str) -> int:
        """Counts it; returns how many the address has now."""
        _failures.inc()
        limits = self.limits
        self._users.add(user_name(user), allowed=limits.max_auth_failures_per_user, ban_s=limits.ban_s)
        return self._addresses.add(address_of(peer), allowed=limits.max_auth_failures_per_address, ban_s=limits.ban_s)

    def note_success(self, user: str, peer: str) -> None:
        """As AuthFailures. The address is forgiven; the user is not, as others may be guessing at him meanwhile."""
        address = address_of(peer)
        self._addresses.forget(address)
        self._welcome[(user_name(user), address)] = None
        self._welcome.move_to_end((user_name(user), address))
        while len(self._welcome) > self._remembered_limit:
            self._welcome.popitem(last=False)

    def lift(self, kind: BanKind, name: str) -> None:
        """Forgets the failures of a ban that an operator has ended."""
        counts = {BanKind.AUTH_ADDRESS: self._addresses, BanKind.AUTH_USER: self._users}.get(kind)
        if counts is not None:
            counts.forget(name)


def delay_s(failure_count: int) -> float:
    """How long the reply to an address's so-manieth failure waits."""
    return min(DELAY_FIRST_S * 2.0 ** min(failure_count - 1, 10), DELAY_LIMIT_S)


def user_name(user: str) -> str:
    """What a user is counted as: credentials are looked up in lower case (reference 9.1)."""
    return user.lower()[:NAME_LIMIT]
