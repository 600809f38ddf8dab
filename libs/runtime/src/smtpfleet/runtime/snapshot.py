"""The configuration a role runs: follows the bucket, keeps the last good snapshot, tells who wants to know.

A session or delivery takes `current` once and keeps it (law 9). Never compiles anything; config does. A snapshot of an unknown version
is refused and the one in hand stays.
"""

import asyncio
from collections.abc import Callable

from smtpfleet.contracts import wire
from smtpfleet.contracts.configuration import Configuration
from smtpfleet.contracts.subjects import CONFIGURATION_BUCKET, CONFIGURATION_KEY
from smtpfleet.mail.tables import Tables
from smtpfleet.runtime.bus import Bus, BusUnavailable
from smtpfleet.runtime.maillog import MailLog

POLL_S = 10.0
"""A missed announcement is found this late. Chosen; one small read."""
FIRST_POLL_S = 0.5


class SnapshotFollower:
    """The newest configuration, once there is one."""

    def __init__(self, bus: Bus, log: MailLog) -> None:
        self._bus = bus
        self._log = log
        self._current: Configuration | None = None
        self._tables: Tables | None = None
        self._revision = 0
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
                async with asyncio.timeout(POLL_S if self.has_snapshot else FIRST_POLL_S):
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
            configuration = wire.decode(data, Configuration)
            tables = Tables(configuration)
        except (wire.UnknownVersion, wire.Malformed) as error:
            self._log.error("configuration refused, keeping the last one", revision=revision, error=error)
            self._revision = revision
            return
        self._revision, self._current, self._tables = revision, configuration, tables
        self._log.info("configuration applied", version=configuration.version)
        for callback in self._callbacks:
            callback(configuration)
