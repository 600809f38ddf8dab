"""The number of shards a store was laid out for: fixed by the first role that uses it, checked by all others.

A msgid's shard is msgid mod shards, so another number would look for every message in the wrong place.
"""

from smtpfleet.runtime.settings import BadSettings
from smtpfleet.runtime.store import Store

LAYOUT_KEY = "smtpfleet:shards"


async def claim_layout(store: Store, shards: int) -> None:
    """Raises BadSettings where the store was laid out for another number. Raises StoreUnavailable."""
    await store.call("SET", LAYOUT_KEY, shards, "NX")
    found = int(await store.call("GET", LAYOUT_KEY))
    if found != shards:
        raise BadSettings(
            f"SMTPFLEET_SHARDS is {shards}, but this store was laid out for {found}; set it to {found}, or use an empty store"
        )
