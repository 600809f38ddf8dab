"""The life of a role's process: settings, log, bus, health, the app, SIGTERM, drain.

`run_role` is all a service's __main__ calls. An app is built with its Role and settings, started, and on SIGTERM or SIGINT drained:
it stops taking work, finishes what is in hand within drain_s and gives the rest back. A background task that fails ends the process:
half a role is worse than none, and the orchestrator starts it again.
"""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Coroutine
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Protocol, TypeVar

import uvloop

from smtpfleet.contracts.commands import RoleReport
from smtpfleet.contracts.subjects import FLEET_ROLE_REPORT
from smtpfleet.mail.table_needs import TableNeeds, no_tables
from smtpfleet.runtime import metrics
from smtpfleet.runtime.allocator import keep_freed_memory
from smtpfleet.runtime.bus import Bus
from smtpfleet.runtime.health import Check, Health
from smtpfleet.runtime.maillog import MailLog
from smtpfleet.runtime.settings import BadSettings, RoleSettings, load_settings
from smtpfleet.runtime.snapshot import SnapshotFollower

S = TypeVar("S", bound=RoleSettings)
S_contra = TypeVar("S_contra", bound=RoleSettings, contravariant=True)

_info = metrics.gauge(
    "role_info", "1; labels say which role, replica and version this is", ("role", "replica", "version")
)


class App(Protocol):
    """What a service provides."""

    async def start(self) -> None:
        """Binds handlers and starts work; returns when the role can serve."""

    async def drain(self) -> None:
        """Stops taking work and finishes what is in hand; may be cut off after drain_s."""


class AppType(Protocol[S_contra]):
    """How an app is built."""

    def __call__(self, role: "Role", settings: S_contra) -> App: ...


class Role:
    """What every role has in hand."""

    def __init__(self, name: str, settings: RoleSettings, needs: TableNeeds) -> None:
        self.name = name
        self.replica = settings.replica
        self.log = MailLog(name, level=settings.log_level)
        self.bus = Bus(name, settings, self.log)
        self.snapshot = SnapshotFollower(self.bus, self.log, needs)
        self.health = Health()
        self._tasks: set[asyncio.Task[None]] = set()
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._started_at_ms = int(time.time() * 1000)

    def spawn(self, work: Coroutine[Any, Any, None], *, name: str) -> asyncio.Task[None]:
        """Runs `work` beside the role's life; if it fails, the process ends with status 1."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._on_done)
        return task

    def ready_when(self, name: str, check: Check) -> None:
        """Adds a condition of /readyz."""
        self.health.ready_when(name, check)

    def _on_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        if not self._failed.done():
            self._failed.set_exception(error)
            self.log.error("background task failed", task=task.get_name(), error=f"{type(error).__name__}: {error}")

    async def wait_failed(self) -> None:
        """Returns never, or raises what a background task raised."""
        await self._failed

    def report(self) -> RoleReport:
        """What GET /v1/fleet shows of this replica."""
        return RoleReport(
            self.name,
            self.replica,
            software_version(),
            self.snapshot.version,
            self._started_at_ms,
            not self.health.missing(),
        )

    def cancel_tasks(self) -> None:
        """Ends the background tasks."""
        for task in list(self._tasks):
            task.cancel()


def software_version() -> str:
    """The version of what is installed."""
    try:
        return version("smtpfleet-runtime")
    except PackageNotFoundError:
        return "unpackaged"


def run_role(name: str, settings_type: type[S], app_type: AppType[S], needs: TableNeeds = no_tables) -> None:
    """Runs one role until SIGTERM or SIGINT; exits 0 after a drain, 1 after a failure, 2 on bad settings. needs: tables it looks into."""
    try:
        settings = load_settings(settings_type, os.environ)
    except BadSettings as error:
        sys.stderr.write(f"smtpfleet {name}: refusing to start\n{error}\n")
        raise SystemExit(2) from None
    keep_freed_memory()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        status = runner.run(_live(name, settings, app_type, needs))
    raise SystemExit(status)


async def _live(name: str, settings: S, app_type: AppType[S], needs: TableNeeds) -> int:
    role = Role(name, settings, needs)
    stop = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, stop.set)
    role.ready_when("nats", lambda: role.bus.is_connected)
    role.ready_when("configuration", lambda: role.snapshot.has_snapshot)
    started = False
    role.ready_when("start", lambda: started)
    _info.labels(name, settings.replica, software_version()).set(1)
    try:
        await role.health.start(settings.health_listen)
    except (OSError, BadSettings) as error:
        role.log.error(str(error))
        return 2
    role.log.info("starting", replica=settings.replica, pid=os.getpid(), health=role.health.address)
    app: App | None = None
    status = 0
    try:
        await _unless(stop, role.bus.connect())
        if not stop.is_set():
            role.spawn(role.snapshot.follow(), name="snapshot")
            await role.bus.answer_broadcast(FLEET_ROLE_REPORT, role.report)
            app = app_type(role, settings)
            await _unless(stop, app.start())
            started = not stop.is_set()
            if started:
                role.log.info("ready for work")
            await _unless(stop, role.wait_failed())
    except BadSettings as error:
        role.log.error(str(error))
        status = 2
    except Exception as error:  # noqa: BLE001  the process's edge: said once, then out, so that it is started again
        role.log.error("failed", error=f"{type(error).__name__}: {error}")
        status = 1
    started = False
    role.log.info("stopping", drain_s=settings.drain_s)
    await _drain(role, app, settings.drain_s)
    role.log.info("stopped")
    role.log.flush()
    return status


async def _drain(role: Role, app: App | None, drain_s: float) -> None:
    try:
        async with asyncio.timeout(drain_s):
            if app is not None:
                await app.drain()
            await role.bus.stop_serving()
    except TimeoutError:
        role.log.warning("drain cut off; leases of what was in hand will run out", drain_s=drain_s)
    except Exception as error:  # noqa: BLE001  leaving must not hang on what is broken
        role.log.error("drain failed", error=f"{type(error).__name__}: {error}")
    role.cancel_tasks()
    await role.bus.close()
    await role.health.stop()


async def _unless(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> None:
    """Awaits `work`, or cancels it when `stop` is set first."""
    doing = asyncio.ensure_future(work)
    stopping = asyncio.ensure_future(stop.wait())
    await asyncio.wait({doing, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if doing.done():
        doing.result()
        return
    doing.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await doing
