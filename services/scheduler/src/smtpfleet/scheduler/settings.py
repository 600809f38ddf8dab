"""Environment settings of the scheduler role."""

from typing import Annotated

from msgspec import Meta

from smtpfleet.runtime.store import StoreSettings


class SchedulerSettings(StoreSettings, frozen=True, kw_only=True):
    """What scheduler has besides the common settings and the store's."""

    lease_ms: Annotated[
        int,
        Meta(
            description="How long a worker holds envelopes without a heartbeat; a dead worker's mail waits this long.",
            ge=500,
        ),
    ] = 10_000
    reap_ms: Annotated[int, Meta(description="How often leases that ran out are looked for.", ge=50)] = 1000
