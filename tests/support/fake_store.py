"""The key-value buckets of the bus without NATS, for unit tests of config; passes the same tests as the real ones."""

import asyncio

from smtpfleet.contracts.subjects import BUCKETS, CONFIGURATION_BUCKET, CONFIGURATION_KEY
from smtpfleet.runtime.bus import KvConflict


class FakeStore:
    """Key-value buckets with revisions, in memory; passes the same tests as the real ones."""

    def __init__(self) -> None:
        self._entries: dict[tuple[str, str], tuple[bytes, int]] = {}
        self._revisions: dict[str, int] = {}
        self._kept: dict[int, bytes] = {}

    async def kv_get(self, bucket: str, key: str) -> tuple[bytes, int] | None:
        await asyncio.sleep(0)
        return self._entries.get((bucket, key))

    async def kv_put(self, bucket: str, key: str, data: bytes, *, last: int | None = None) -> int:
        await asyncio.sleep(0)
        revision = self._revisions.get(bucket, 0)
        if last is not None and last != revision:
            raise KvConflict(f"revision is {revision}")
        self._revisions[bucket] = revision + 1
        self._entries[bucket, key] = (data, revision + 1)
        if bucket == CONFIGURATION_BUCKET:
            self._kept[revision + 1] = data
            self._kept.pop(revision + 1 - BUCKETS[bucket], None)
        return revision + 1

    async def kv_get_revision(self, bucket: str, key: str, revision: int) -> bytes | None:
        await asyncio.sleep(0)
        return self._kept.get(revision)

    async def kv_keys(self, bucket: str) -> tuple[frozenset[str], int]:
        await asyncio.sleep(0)
        return frozenset(key for where, key in self._entries if where == bucket), self._revisions.get(bucket, 0)

    async def kv_purge(self, bucket: str, key: str, *, up_to: int) -> None:
        await asyncio.sleep(0)
        if self._entries.get((bucket, key), (b"", up_to + 1))[1] <= up_to:
            del self._entries[bucket, key]

    def delete(self) -> None:
        """What `nats kv del` leaves: no value, and a revision."""
        self._revisions[CONFIGURATION_BUCKET] += 1
        del self._entries[CONFIGURATION_BUCKET, CONFIGURATION_KEY]
