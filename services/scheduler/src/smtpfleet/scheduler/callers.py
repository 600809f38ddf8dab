"""Permits of smtp-in's connections, by address and network, in the store: the limits that hold for all its replicas together.

A permit is a share of a count that its holder repeats; what a dead replica held expires after HOLD_MS. Knows nothing of bans. Called by
handlers. OpenSMTPD has no such limits; the windows are Postfix's (anvil_rate_time_unit).
"""

from collections.abc import Sequence
from pathlib import Path

from smtpfleet.contracts import keys
from smtpfleet.contracts.callers import CallerCount, CallerVerdict
from smtpfleet.contracts.configuration import DEFAULT_LIMITS, Limits
from smtpfleet.runtime.store import Script, Store, Value

HOLD_MS = 45_000
"""How long a count holds that is not repeated; smtp-in repeats it three times in that. Chosen: a killed replica's peers wait no longer."""
WINDOW_MS = 60_000
"""What "a minute" is for rates (Postfix anvil_rate_time_unit)."""

_FOLDER = Path(__file__).parent / "scripts"
# Refused when the store is full: smtp-in then goes by its own counts.
ADMIT = Script(_FOLDER / "admit.lua", _FOLDER / "lease.lua")


class Callers:
    """The store as far as connections go. Every method raises StoreUnavailable or StoreFull. limits: of the newest configuration."""

    def __init__(self, store: Store, *, hold_ms: int = HOLD_MS, window_ms: int = WINDOW_MS) -> None:
        self.limits: Limits = DEFAULT_LIMITS
        self._store = store
        self._hold_ms = hold_ms
        self._window_ms = window_ms

    async def admit(self, replica: str, callers: list[CallerCount]) -> list[CallerVerdict]:
        """Takes note of what `replica` holds and says who may come in. Repeating it counts what was asked for as more connections of
        the minute, and recipients again; connections at once are absolute."""
        limits = self.limits
        ours = (
            limits.max_conn_per_address, limits.max_conn_rate_per_address, limits.max_rcpt_rate_per_address,
            limits.max_conn_per_network, limits.max_conn_rate_per_network, limits.max_rcpt_rate_per_network,
        )  # fmt: skip
        runs: list[tuple[Sequence[str], Sequence[Value]]] = [
            (
                [keys.caller(caller.network, caller.address), keys.caller(caller.network, caller.network)],
                [
                    replica, self._hold_ms, self._window_ms,
                    caller.address_open, caller.network_open, caller.asked, caller.rcpts, *ours,
                ],
            )
            for caller in callers
        ]  # fmt: skip
        answers = await self._store.run_all(ADMIT, runs)
        return [CallerVerdict(answer[0], answer[1].decode(), answer[2], answer[3]) for answer in answers]
