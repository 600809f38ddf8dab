"""The composition root of config, and the loop that keeps the published configuration equal to the files.

Compiles at start and whenever a file changed, off the event loop; publishes what compiled, reports what did not and leaves the last
good one in force (law 9). Everything it owes the fleet is in `_pending`, so a lost bus only delays it.
"""

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path

from smtpfleet.config.cut import Cut
from smtpfleet.config.explainer import Explainer
from smtpfleet.config.handlers import ConfigHandlers
from smtpfleet.config.language.compilation import Compilation, Memory, compile_file
from smtpfleet.config.language.diagnostics import Severity
from smtpfleet.config.language.files import ConfigFiles
from smtpfleet.config.language.host_discovery import discover_host
from smtpfleet.config.language.macros import BadMacro, parse_definitions, split_definitions
from smtpfleet.config.publisher import Publisher, digest_of
from smtpfleet.config.settings import ConfigSettings
from smtpfleet.config.srs import SrsServer
from smtpfleet.config.sweep import LOOK_AGAIN_S, PartSweeper
from smtpfleet.config.tables.server import TableServer
from smtpfleet.config.watcher import FileWatcher
from smtpfleet.contracts.configuration import Configuration, Table
from smtpfleet.contracts.subjects import (
    CONFIG_AUTH_LOOKUP,
    CONFIG_CREDENTIALS_LOOKUP,
    CONFIG_RULESET_EXPLAIN,
    CONFIG_SRS_RESTORE,
    CONFIG_SRS_REWRITE,
    CONFIG_TABLE_LOOKUP,
    CONFIG_VERSION_LIST,
    CONFIG_VERSION_RESTORE,
)
from smtpfleet.runtime import metrics
from smtpfleet.runtime.bus import BusUnavailable
from smtpfleet.runtime.role import Role
from smtpfleet.runtime.settings import BadSettings

ERRORS_BYTES = 65_536
"""Of what is wrong with the files, told to admin. Chosen: below what a message on the bus may have."""
REPORTED_MAX = 50
"""Diagnostics logged per compilation; a file that is no configuration at all has one per line. Chosen."""
SETTLE_S = 0.1
SETTLE_ROUNDS = 20
"""A file that changes is read when it was quiet for SETTLE_S, or after SETTLE_ROUNDS of them: editors write in steps. Chosen."""
VERIFY_S = 30.0
"""The buckets are looked at this often for having lost their content (a new NATS without its store). Two small reads. Chosen."""

_compilations = metrics.counter("config_compilations", "Compilations, by how they ended", ("result",))
_errors = metrics.gauge("config_errors", "Errors of the last compilation; 0 where it is what the fleet should run")
_warnings = metrics.gauge("config_warnings", "Warnings of the last compilation")
_publications = metrics.counter("config_publications", "Configurations this replica wrote")


class ConfigApp:
    """The config role."""

    def __init__(self, role: Role, settings: ConfigSettings) -> None:
        self._role = role
        self._log = role.log
        self._settings = settings
        try:
            self._macros = parse_definitions(split_definitions(settings.config_macros))
        except BadMacro as error:
            raise BadSettings(f"SMTPFLEET_CONFIG_MACROS: {error}") from None
        self._publisher = Publisher(role.bus)
        self._sweeper = PartSweeper(role.bus, self._publisher)
        self._memory = Memory()
        files = ConfigFiles(Path(settings.config_file), settings.config_root)
        self._watcher = FileWatcher(stamp_of=files.current_stamp)
        self._tables = TableServer(role.log, files.find, follow=files.follow)
        self._srs = SrsServer(time.time)
        self._last_good: Cut | None = None
        self._withheld: Mapping[str, Table] = {}
        self._errors = ""
        self._pending: Cut | None = None
        self._own_version = ""
        self._reported = ""
        self._was_refused = False
        self._has_told_of_wait = False
        self._wake = asyncio.Event()

    async def start(self) -> None:
        """Compiles and publishes once, then keeps watch. Ready is when a configuration is published, whoever did it."""
        bus, snapshot = self._role.bus, self._role.snapshot
        explainer = Explainer(self._tables, self._srs, bus)
        handlers = ConfigHandlers(
            self._log,
            lambda: self._own_version,
            self._tables,
            self._srs,
            explainer,
            snapshot,
            self._publisher,
            lambda: self._errors,
        )
        await self._compile()
        await bus.serve(CONFIG_TABLE_LOOKUP, handlers.on_table_lookup)
        await bus.serve(CONFIG_AUTH_LOOKUP, handlers.on_auth_lookup)
        await bus.serve(CONFIG_CREDENTIALS_LOOKUP, handlers.on_credentials_lookup)
        await bus.serve(CONFIG_SRS_REWRITE, handlers.on_srs_rewrite)
        await bus.serve(CONFIG_SRS_RESTORE, handlers.on_srs_restore)
        await bus.serve(CONFIG_RULESET_EXPLAIN, handlers.on_ruleset_explain)
        await bus.serve(CONFIG_VERSION_LIST, handlers.on_version_list)
        await bus.serve(CONFIG_VERSION_RESTORE, handlers.on_version_restore)
        await self._publish()
        if self._last_good is None:
            await self._tell_what_stays()
        snapshot.on_change(handlers.on_configuration_published)
        snapshot.on_change(self._serve_tables_of)
        self._role.bus.when_reconnected(self._wake.set)
        self._role.spawn(self._keep_current(), name="keep-current")

    async def drain(self) -> None:
        """A publication is one write, done or not; lookups in hand are answered, then backends are left."""
        await self._role.bus.stop_serving()
        await self._tables.close()

    async def _keep_current(self) -> None:
        """Runs for the life of the process."""
        loop = asyncio.get_running_loop()
        verify_at = loop.time() + VERIFY_S
        sweep_at = loop.time() + LOOK_AGAIN_S
        while True:
            try:
                async with asyncio.timeout(self._settings.config_poll_s):
                    await self._wake.wait()
            except TimeoutError:
                pass
            if await asyncio.to_thread(self._watcher.has_changed):
                await self._settle()
                await self._compile()
            if self._wake.is_set() or loop.time() >= verify_at:
                self._wake.clear()
                verify_at = loop.time() + VERIFY_S
                await self._verify()
            await self._publish()
            if loop.time() >= sweep_at:
                sweep_at = loop.time() + LOOK_AGAIN_S
                await self._sweep()

    async def _settle(self) -> None:
        """Waits until nobody is writing the files."""
        before = await asyncio.to_thread(self._watcher.current)
        for _ in range(SETTLE_ROUNDS):
            await asyncio.sleep(SETTLE_S)
            after = await asyncio.to_thread(self._watcher.current)
            if after == before:
                return
            before = after

    async def _compile(self) -> None:
        compiled = await asyncio.to_thread(self._compile_files)
        self._watcher.remember(compiled.stamps)
        _compilations.labels("ok" if compiled.configuration else "errors").inc()
        _errors.set(compiled.error_count)
        _warnings.set(compiled.warning_count)
        self._errors = "" if compiled.configuration is not None else compiled.render()[:ERRORS_BYTES]
        self._report(compiled)
        if compiled.configuration is not None and compiled.cut is not None:
            changed = self._last_good is None or digest_of(self._last_good.configuration) != digest_of(
                compiled.cut.configuration
            )
            self._last_good = compiled.cut
            self._withheld = compiled.withheld
            self._tables.apply(compiled.configuration, compiled.withheld)
            self._srs.apply(compiled.srs_keys, compiled.configuration.srs_ttl_s)
            if changed:
                self._pending = compiled.cut
                self._hold_entries(compiled.configuration, compiled.cut)

    def _hold_entries(self, configuration: Configuration, cut: Cut) -> None:
        """What we have cut ourselves need not come back to us over the bus."""
        for name, table in cut.configuration.tables.items():
            if table.parts:
                self._role.snapshot.large_tables.hold(table.parts, configuration.tables[name].entries)

    def _compile_files(self) -> Compilation:
        settings = self._settings
        host = discover_host(settings.server_name, settings.local_addresses)
        return compile_file(
            Path(settings.config_file), host, root=settings.config_root, macros=self._macros, memory=self._memory
        )

    def _report(self, compiled: Compilation) -> None:
        """Every diagnostic, once: the same ones again are not news."""
        rendered = compiled.render()
        if rendered == self._reported:
            return
        self._reported = rendered
        for item in compiled.diagnostics[:REPORTED_MAX]:
            (self._log.error if item.severity is Severity.ERROR else self._log.warning)(item.line)
        if (left_out := len(compiled.diagnostics) - REPORTED_MAX) > 0:
            self._log.warning(f"and {left_out} more; smtpfleet-config check shows all")
        if compiled.configuration is None:
            self._log.error("configuration refused", file=self._settings.config_file, errors=compiled.error_count)
        elif self._was_refused:
            self._log.info("configuration OK again", file=self._settings.config_file)
        self._was_refused = compiled.configuration is None

    def _serve_tables_of(self, published: Configuration) -> None:
        """Without a good file of our own, or after going back to an earlier configuration, the fleet's tables are those of what is
        published. Passwords are not in it: they come from the files as they are now."""
        if self._last_good is None or published.rolled_back_from:
            self._tables.apply(published, {n: t for n, t in self._withheld.items() if n in published.tables})

    async def _tell_what_stays(self) -> None:
        """After a start without a good file: whether the fleet has something to go on with."""
        try:
            current = await self._publisher.current()
        except BusUnavailable as error:
            self._log.warning("cannot see whether a configuration is published", error=error)
            return
        if current is not None:
            self._log.warning("the last good configuration stays in force", version=current.version)
        else:
            self._log.error("there is no last good configuration; the fleet waits until the file is mended")

    async def _verify(self) -> None:
        """Publishes again where the bucket has lost what was in it; what another replica wrote stays."""
        if self._last_good is None or self._pending is not None:
            return
        try:
            if not await self._publisher.is_published():
                self._log.warning("no configuration is published any more, publishing ours again")
                self._pending = self._last_good
            elif count := await self._publisher.mend(self._last_good.configuration, self._last_good.parts):
                self._log.warning("parts of tables were lost and are written again", parts=count)
        except BusUnavailable as error:
            self._log.warning("cannot see whether a configuration is published", error=error)

    async def _sweep(self) -> None:
        try:
            if count := await self._sweeper.look():
                self._log.info("tables that no kept configuration names are gone", parts=count)
        except BusUnavailable as error:
            self._log.warning("cannot look for tables that no configuration names", error=error)

    async def _publish(self) -> None:
        """Pays what is owed, or leaves it for the next round."""
        if self._pending is None:
            return
        try:
            if not self._role.bus.is_connected:
                raise BusUnavailable("not connected to nats")
            await self._role.bus.ensure_streams()
            done = await self._publisher.publish(self._pending.configuration, self._pending.parts)
        except BusUnavailable as error:
            if not self._has_told_of_wait:
                self._has_told_of_wait = True
                self._log.warning("configuration not published yet, trying again", error=error)
            return
        self._pending, self._has_told_of_wait = None, False
        self._own_version = done.version
        if done.is_held:
            self._log.warning(
                "an operator went back from what our files say; they wait for a change", version=done.version
            )
        elif done.is_new:
            _publications.inc()
            self._log.info("configuration published", version=done.version, file=self._settings.config_file)
        else:
            self._log.info("configuration is published already", version=done.version)
