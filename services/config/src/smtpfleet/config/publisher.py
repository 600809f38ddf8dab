"""Puts a compiled configuration into the bucket all roles follow, under a version that only grows.

The only writer of the bucket, and of the bucket of large tables. Several replicas may publish: the same content is not written twice, and
of two writers at the same moment one sees the other's revision and looks again. Never compiles.

Parts of tables are written first, then the snapshot that names them, in one write. Whoever dies before that leaves the old snapshot in
force, whole, and parts that nobody names, which sweep.py takes away. Parts that the snapshot in force names are not written again: it is
still there when the next one is written, because that write fails where it is not. All others are, also where they seem to be there: a
sweeper may be about to take them away, and spares what is written anew.
"""

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

import msgspec

from smtpfleet.config.cut import part_names
from smtpfleet.contracts import wire
from smtpfleet.contracts.configuration import Configuration
from smtpfleet.contracts.subjects import BUCKETS, CONFIGURATION_BUCKET, CONFIGURATION_KEY, TABLES_BUCKET
from smtpfleet.runtime import killpoint
from smtpfleet.runtime.bus import BusUnavailable, KvConflict

CONFLICTS_MAX = 5
"""More conflicts in a row mean a key that is deleted rather than missing, which has a revision although it has no value."""
_DIGEST_DIGITS = 8
VERSIONS_MAX = BUCKETS[CONFIGURATION_BUCKET]
PUBLISH_WITHIN_S = 60.0
"""From the first part to the snapshot: far below sweep.LOOK_AGAIN_S, so that nobody takes away what is about to be named. Chosen: a
hundred megabytes on a slow disk."""
_NO_PARTS: Mapping[str, bytes] = MappingProxyType({})


class KeyValue(Protocol):
    """The part of runtime.bus.Bus that is used here."""

    async def kv_get(self, bucket: str, key: str) -> tuple[bytes, int] | None:
        """Value and revision, or None. Raises BusUnavailable."""

    async def kv_get_revision(self, bucket: str, key: str, revision: int) -> bytes | None:
        """The value the key had at this revision, or None where it is not kept. Raises BusUnavailable."""

    async def kv_put(self, bucket: str, key: str, data: bytes, *, last: int | None = None) -> int:
        """Writes, and returns the revision. Raises KvConflict where `last` is not the revision, BusUnavailable."""

    async def kv_keys(self, bucket: str) -> tuple[frozenset[str], int]:
        """All keys, and the newest revision in the bucket. Raises BusUnavailable."""

    async def kv_purge(self, bucket: str, key: str, *, up_to: int) -> None:
        """Takes the key away, unless it was written after revision `up_to`. Raises BusUnavailable."""


@dataclass(frozen=True, slots=True)
class Publication:
    """version: what the fleet runs. is_new: whether this call wrote it. is_held: an operator went back from what was to be published."""

    version: str
    is_new: bool
    is_held: bool = False


def digest_of(configuration: Configuration) -> str:
    """8 hex digits of the content, whatever its version. Large tables count by the names of their parts, which are digests."""
    content = wire.encode(msgspec.structs.replace(configuration, version="", rolled_back_from=""))
    return hashlib.sha256(content).hexdigest()[:_DIGEST_DIGITS]


def number_in(version: str) -> int:
    """The number part of a version; 0 where there is none."""
    number = version.partition("-")[0]
    return int(number) if number.isdigit() else 0


def digest_in(version: str) -> str:
    """The digest part of a version."""
    return version.partition("-")[2]


class Publisher:
    """Publishes into one bucket."""

    def __init__(self, store: KeyValue) -> None:
        self._store = store

    async def publish(self, configuration: Configuration, parts: Mapping[str, bytes] = _NO_PARTS) -> Publication:
        """Makes `configuration` the current one, unless it is, or an operator went back from it. parts: what its large tables consist of.
        May be repeated. Raises BusUnavailable."""
        return await self._put(configuration, parts, is_rollback=False)

    async def versions(self) -> list[Configuration]:
        """What was published, newest first, as far back as the bucket keeps it. Raises BusUnavailable."""
        return [kept for kept in await self.kept() if kept is not None]

    async def kept(self) -> list[Configuration | None]:
        """The same, with None for what only another release can read. Raises BusUnavailable."""
        entry = await self._store.kv_get(CONFIGURATION_BUCKET, CONFIGURATION_KEY)
        found: list[Configuration | None] = []
        for revision in range(entry[1] if entry else 0, 0, -1):
            data = await self._store.kv_get_revision(CONFIGURATION_BUCKET, CONFIGURATION_KEY, revision)
            if data is None or len(found) == VERSIONS_MAX:
                break
            found.append(_decode(data))
        return found

    async def go_back(self, version: str) -> Publication | None:
        """Publishes an earlier version anew; None where it is not kept whole. What is in force now stays away until the files change.
        Raises BusUnavailable."""
        wanted = next((kept for kept in await self.versions() if kept.version == version), None)
        if wanted is None:
            return None
        parts: dict[str, bytes] = {}
        for name in part_names(wanted):
            found = await self._store.kv_get(TABLES_BUCKET, name)
            if found is None:
                return None
            parts[name] = found[0]
        return await self._put(wanted, parts, is_rollback=True)

    async def _put(self, configuration: Configuration, parts: Mapping[str, bytes], *, is_rollback: bool) -> Publication:
        try:
            async with asyncio.timeout(PUBLISH_WITHIN_S):
                return await self._put_in_time(configuration, parts, is_rollback=is_rollback)
        except TimeoutError:
            raise BusUnavailable(f"publishing took longer than {PUBLISH_WITHIN_S:g} s") from None

    async def _put_in_time(
        self, configuration: Configuration, parts: Mapping[str, bytes], *, is_rollback: bool
    ) -> Publication:
        digest = digest_of(configuration)
        written: set[str] = set()
        for _ in range(CONFLICTS_MAX):
            entry = await self._store.kv_get(CONFIGURATION_BUCKET, CONFIGURATION_KEY)
            revision = entry[1] if entry else 0
            current = _decode(entry[0]) if entry else None
            in_force = current.version if current is not None else ""
            if digest_in(in_force) == digest:
                return Publication(in_force, is_new=False)
            if current is not None and current.rolled_back_from == digest and not is_rollback:
                return Publication(in_force, is_new=False, is_held=True)
            version = f"{_number_after(in_force, revision)}-{digest}"
            left = (current.rolled_back_from or digest_in(in_force)) if is_rollback and current is not None else ""
            # Back to what the files say is no going back any more.
            left = "" if left == digest else left
            data = wire.encode(msgspec.structs.replace(configuration, version=version, rolled_back_from=left))
            named = part_names(current) if current is not None else frozenset()
            await self._write(parts, set(parts) - named - written)
            written |= set(parts) - named
            # Dying here leaves parts that nobody names: the old snapshot stays, and the next start publishes again or sweeps them.
            killpoint.reach("config.parts.written")
            try:
                await self._store.kv_put(CONFIGURATION_BUCKET, CONFIGURATION_KEY, data, last=revision)
            except KvConflict:
                continue
            # Dying here, with the new one in force: the next start finds its digest published and does nothing.
            killpoint.reach("config.snapshot.written")
            return Publication(version, is_new=True)
        if entry is not None:
            raise BusUnavailable("others publish configurations at the same time, again and again")
        await self._store.kv_put(CONFIGURATION_BUCKET, CONFIGURATION_KEY, data)
        return Publication(version, is_new=True)

    async def _write(self, parts: Mapping[str, bytes], names: set[str]) -> None:
        for name in names:
            await self._store.kv_put(TABLES_BUCKET, name, parts[name])

    async def mend(self, configuration: Configuration, parts: Mapping[str, bytes]) -> int:
        """Where `configuration` is in force: writes what the bucket has lost of its parts; how many that were. Raises BusUnavailable."""
        if not parts:
            return 0
        current = await self.current()
        if current is None or digest_in(current.version) != digest_of(configuration):
            return 0  # only parts that are named may be there
        missing = set(parts) - (await self._store.kv_keys(TABLES_BUCKET))[0]
        await self._write(parts, missing)
        return len(missing)

    async def is_published(self) -> bool:
        """Whether there is anything under the key, also what only another release can read. Raises BusUnavailable."""
        return await self._store.kv_get(CONFIGURATION_BUCKET, CONFIGURATION_KEY) is not None

    async def current(self) -> Configuration | None:
        """What is published, or None where there is nothing we can read. Raises BusUnavailable."""
        entry = await self._store.kv_get(CONFIGURATION_BUCKET, CONFIGURATION_KEY)
        return _decode(entry[0]) if entry else None


def _decode(data: bytes) -> Configuration | None:
    try:
        return wire.decode(data, Configuration)
    except (wire.UnknownVersion, wire.Malformed, wire.RemoteFault):
        return None


def _number_after(version: str, revision: int) -> int:
    """One more than the published number; where that is unknown, than the revision, which is never behind it."""
    return (number_in(version) or revision) + 1
