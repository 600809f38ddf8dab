"""Leases that ran out: their envelopes are pending again. Every replica looks; the script makes each lease run out once.

Nothing is reaped until this replica has seen both NATS and the store well for a whole lease time: while either is away workers cannot
renew, although they are alive and hold results (DESIGN section 5, "NATS down").
"""

import asyncio
import time

from smtpfleet.runtime import metrics
from smtpfleet.runtime.bus import Bus
from smtpfleet.runtime.maillog import MailLog
from smtpfleet.runtime.store import Store, StoreFull, StoreUnavailable
from smtpfleet.scheduler.claims import REAP_BATCH, Claims
from smtpfleet.scheduler.wakeup import Wakeup

_reaped = metrics.counter(
    "possible_duplicates",
    "Envelopes taken back from workers that stopped renewing: any of them may have been delivered before",
    ("agent",),
)


class Reaper:
    """Takes back what nobody renews."""

    def __init__(
        self, claims: Claims, wakeup: Wakeup, bus: Bus, store: Store, log: MailLog, *, lease_ms: int, reap_ms: int
    ) -> None:
        self._claims = claims
        self._wakeup = wakeup
        self._bus = bus
        self._store = store
        self._log = log
        self._grace_s = lease_ms / 1000
        self._pause_s = reap_ms / 1000
        self._well_since = time.monotonic()

    async def run(self) -> None:
        """Runs for the life of the process."""
        expected_at = time.monotonic() + self._pause_s
        while True:
            await asyncio.sleep(self._pause_s)
            now = time.monotonic()
            # We were stopped or starved ourselves: heartbeats may be waiting unread.
            if now > expected_at + self._grace_s / 2 or not self._bus.is_connected:
                self._well_since = now
            expected_at = now + self._pause_s
            if now - self._well_since < self._grace_s:
                continue
            try:
                for shard in range(self._claims.shards):
                    await self._reap(shard)
            except (StoreUnavailable, StoreFull):
                self._well_since = time.monotonic()

    async def _reap(self, shard: int) -> None:
        if not self._store.is_up:
            self._well_since = time.monotonic()
            return
        count = REAP_BATCH
        while count >= REAP_BATCH:
            count, relays = await self._claims.reap(shard)
            if count:
                for agent in {agent for agent, _ in relays}:
                    _reaped.labels(agent).inc(count)
                self._log.warning("leases ran out, envelopes pending again", shard=shard, envelopes=count)
                self._wakeup.announce(relays)
