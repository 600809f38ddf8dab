"""Failures of peers and users counted for the whole fleet, and the bans they lead to, in the store; every replica of smtp-in is told.

Decides when a ban begins: as many failures in FAILURES_WINDOW_MS as `limit session` allows. Never who is asked to prove what. Called by
handlers. OpenSMTPD only waits a random second after a wrong password.
"""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

from smtpfleet.contracts import keys
from smtpfleet.contracts.callers import BANS_LIMIT, Ban, BanKind, BansChanged, Failure
from smtpfleet.contracts.configuration import DEFAULT_LIMITS, Limits
from smtpfleet.runtime import metrics
from smtpfleet.runtime.maillog import MailLog
from smtpfleet.runtime.store import Script, Store

FAILURES_WINDOW_MS = 600_000
"""How long failures count, from the first. Chosen."""
WELCOME_MS = 30 * 24 * 3600 * 1000
WELCOME_LIMIT = 20
"""Addresses of a user that are remembered, and for how long: a month of not being there is a stranger again. Chosen."""

_FOLDER = Path(__file__).parent / "scripts"
_LEASE = _FOLDER / "lease.lua"
FAILURES = Script(_FOLDER / "failures.lua")
BAN = Script(_FOLDER / "ban.lua", _LEASE)
WELCOME = Script(_FOLDER / "welcome.lua", _LEASE)

_begun = metrics.counter("bans", "Bans that began, by whom they are on", ("kind",))


class Bans:
    """The store as far as failures go. Every method raises StoreUnavailable or StoreFull. limits: of the newest configuration."""

    def __init__(self, store: Store, log: MailLog, announce: Callable[[BansChanged], None]) -> None:
        self.limits: Limits = DEFAULT_LIMITS
        self._store = store
        self._log = log
        self._announce = announce

    async def note(self, failures: list[Failure]) -> list[int]:
        """Counts failures; returns how many each has now. Whoever has too many is banned."""
        names = Counter((failure.kind, failure.name) for failure in failures)
        added = list(names.items())
        counts = await self._store.run_all(
            FAILURES, [([keys.failures(*name)], [count, FAILURES_WINDOW_MS]) for name, count in added]
        )
        totals = dict(zip(names, counts, strict=True))
        await self._ban([name for name, total in totals.items() if 0 < self._allowed(name[0]) <= total])
        return [totals[failure.kind, failure.name] for failure in failures]

    def _allowed(self, kind: BanKind) -> int:
        limits = self.limits
        return {
            BanKind.ADDRESS: limits.max_failures_per_address,
            BanKind.NETWORK: limits.max_failures_per_network,
            BanKind.AUTH_ADDRESS: limits.max_auth_failures_per_address,
            BanKind.AUTH_USER: limits.max_auth_failures_per_user,
        }[kind]

    async def _ban(self, names: list[tuple[BanKind, str]]) -> None:
        ban_ms = self.limits.ban_s * 1000
        if not names or not ban_ms:
            return
        await self._store.run(BAN, [keys.BANS.form], [BANS_LIMIT, ban_ms, *(f"{kind}|{name}" for kind, name in names)])
        # If we die here the counts stay: the next failure bans again, which changes nothing.
        await self._store.read([("DEL", keys.failures(kind, name)) for kind, name in names])
        for kind, name in names:
            _begun.labels(kind).inc()
            self._log.warning("ban", kind=kind, name=name, seconds=self.limits.ban_s)
        self._announce(BansChanged([Ban(kind, name, ban_ms) for kind, name in names], []))

    async def note_success(self, user: str, address: str) -> None:
        """Forgives the address and remembers that the user comes from there. The user is not forgiven: others may be guessing at him."""
        await self._store.call("DEL", keys.failures(BanKind.AUTH_ADDRESS, address))
        await self._store.run(WELCOME, [keys.welcome(user)], [address, WELCOME_LIMIT, WELCOME_MS])

    async def is_welcome(self, user: str, address: str) -> bool:
        """Whether the user has come from there lately."""
        return await self._store.call("ZSCORE", keys.welcome(user), address) is not None

    async def all(self) -> list[Ban]:
        """All bans that hold, those that end last first."""
        now_ms = self._store.now_ms()
        found = await self._store.call("ZRANGE", keys.BANS.form, "+inf", f"({now_ms}", "BYSCORE", "REV", "WITHSCORES")
        return [_ban(member, score, now_ms) for member, score in _pairs(found)]

    async def lift(self, kind: BanKind, name: str) -> bool:
        """Ends a ban and forgets what led to it; whether there was one."""
        await self._store.call("DEL", keys.failures(kind, name))
        # If we die here the ban still stands, and lifting it again does the rest.
        found = bool(await self._store.call("ZREM", keys.BANS.form, f"{kind}|{name}"))
        if found:
            self._log.info("ban lifted", kind=kind, name=name)
        self._announce(BansChanged([], [Failure(kind, name)]))
        return found


def _ban(member: bytes, ends_at_ms: float, now_ms: int) -> Ban:
    kind, _, name = member.decode("utf-8", "replace").partition("|")
    return Ban(BanKind(kind), name, max(0, int(ends_at_ms) - now_ms))


def _pairs(reply: list[object]) -> list[tuple[bytes, float]]:
    """Members with their scores, in RESP2 (flat) or RESP3 (pairs)."""
    if reply and isinstance(reply[0], list | tuple):
        return [(pair[0], float(pair[1])) for pair in reply]  # type: ignore[index]
    return [(member, float(score)) for member, score in zip(reply[::2], reply[1::2], strict=True)]  # type: ignore[misc,arg-type]
