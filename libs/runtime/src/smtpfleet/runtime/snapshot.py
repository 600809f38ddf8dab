"""The configuration a role runs: follows the bucket, keeps the last good snapshot, tells who wants to know.

A session or delivery takes `current` once and keeps it (law 9). Never compiles anything; config does. A snapshot is applied whole, with
every large table the role needs, or not at all: until then, as with one of an unknown version, the one in hand stays and is what the role
reports.
"""

import asyncio
from collections.abc import Callable

from smtpfleet.contracts import wire
from smtpfleet.contracts.configuration import Configuration
from smtpfleet.contracts.subjects import CONFIGURATION_BUCKET, CONFIGURATION_KEY
from smtpfleet.mail.table_needs import TableNeeds
from smtpfleet.mail.tables import Tables
from smtpfleet.runtime.bus import Bus, BusUnavailable
from smtpfleet.runtime.large_tables import LargeTables, PartMissing
from smtpfleet.runtime.maillog import MailLog

POLL_S = 10.0
"""A missed announcement is found this late. Chosen; one small read."""
FIRST_POLL_S = 0.5
"""Where there is something to wait for: the first snapshot, or a table of the newest. Chosen."""


class SnapshotFollower:
    """The newest configuration, once there is one."""

    def __init__(self, bus: Bus, log: MailLog, needs: TableNeeds) -> None:
        self._bus = bus
        self._log = log
        self.large_tables = LargeTables(bus, needs)
        self._current: Configuration | None = None
        self._tables: Tables | None = None
        self._revision = 0
        self._is_behind = False
        self._refusal = ""
        self._changed = asyncio.Event()
        self._callbacks: list[Callable[[Configuration], None]] = []

    @property
    def has_snapshot(self) -> bool:
        """Whether there is a configuration yet."""
        return self._current is not None

    @property
    def current(self) -> Configuration:
        """The newest configuration. Raises LookupError before the first."""
        if self._current is None:
            raise LookupError("no configuration received yet")
        return self._current

    @property
    def tables(self) -> Tables:
        """The lookup side of `current`, built once per snapshot."""
        if self._tables is None:
            raise LookupError("no configuration received yet")
        return self._tables

    @property
    def version(self) -> str:
        """Version of `current`, or ""."""
        return self._current.version if self._current else ""

    def on_change(self, callback: Callable[[Configuration], None]) -> None:
        """Calls `callback` with every new snapshot, and at once with the present one."""
        self._callbacks.append(callback)
        if self._current is not None:
            callback(self._current)

    async def follow(self) -> None:
        """Runs for the life of the process."""
        await self._bus.kv_watch(CONFIGURATION_BUCKET, CONFIGURATION_KEY, self._changed.set)
        self._bus.when_reconnected(self._changed.set)
        while True:
            self._changed.clear()
            await self._read()
            try:
                async with asyncio.timeout(POLL_S if self.has_snapshot and not self._is_behind else FIRST_POLL_S):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def _read(self) -> None:
        try:
            entry = await self._bus.kv_get(CONFIGURATION_BUCKET, CONFIGURATION_KEY)
        except BusUnavailable:
            return
        if entry is None or entry[1] == self._revision:
            return
        data, revision = entry
        try:
            published = wire.decode(data, Configuration)
        except (wire.UnknownVersion, wire.Malformed) as error:
            self._refuse(revision, error)
            self._revision, self._is_behind = revision, False  # it will not get better: wait for another
            return
        try:
            configuration = await self.large_tables.join(published)
        except (BusUnavailable, PartMissing, wire.UnknownVersion, wire.Malformed) as error:
            # Read anew at the next look: by then it is whole, or there is a newer one.
            self._is_behind = True
            self._refuse(revision, error)
            return
        self._apply(configuration, revision)

    def _refuse(self, revision: int, error: Exception) -> None:
        """Says why the last one stays; the same reason again is not news."""
        refusal = f"{revision}: {error}"
        if refusal != self._refusal:
            self._refusal = refusal
            self._log.error("configuration refused, keeping the last one", revision=revision, error=error)

    def _apply(self, configuration: Configuration, revision: int) -> None:
        self._tables = Tables(configuration, before=self._tables)
        self._revision, self._current = revision, configuration
        self._is_behind, self._refusal = False, ""
        self._log.info("configuration applied", version=configuration.version)
        for callback in self._callbacks:
            callback(configuration)
