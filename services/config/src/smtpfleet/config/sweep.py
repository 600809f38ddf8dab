"""Takes parts of large tables out of their bucket when no configuration that is kept names them.

A part is taken away only when two looks, LOOK_AGAIN_S apart, both found it unnamed and it was not written in between: a publisher writes
parts before the snapshot that names them and is done within publisher.PUBLISH_WITHIN_S. Every replica of config sweeps; doing it twice is
harmless, and dying in the middle leaves the rest for the next one. Called by app.py.
"""

from smtpfleet.config.cut import part_names
from smtpfleet.config.publisher import KeyValue, Publisher
from smtpfleet.contracts.subjects import TABLES_BUCKET

LOOK_AGAIN_S = 300.0
"""Chosen: five times PUBLISH_WITHIN_S, so that no clock needs to be compared; meanwhile a part costs nothing but disk."""


class PartSweeper:
    """Remembers the last look."""

    def __init__(self, store: KeyValue, publisher: Publisher) -> None:
        self._store = store
        self._publisher = publisher
        self._unnamed: frozenset[str] = frozenset()
        self._seen_revision = 0

    async def look(self) -> int:
        """One look; how many parts were taken away. At least LOOK_AGAIN_S lie between two. Raises BusUnavailable."""
        keys, revision = await self._store.kv_keys(TABLES_BUCKET)
        if not keys:
            return 0
        kept = await self._publisher.kept()
        if any(each is None for each in kept):
            return 0  # of another release: nobody here knows which parts it names
        unnamed = keys.difference(*(part_names(each) for each in kept if each is not None))
        gone = unnamed & self._unnamed
        for part in gone:
            await self._store.kv_purge(TABLES_BUCKET, part, up_to=self._seen_revision)
        self._unnamed, self._seen_revision = unnamed - gone, revision
        return len(gone)
