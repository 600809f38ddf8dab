"""smtp-in put together: bus, gate, committer, journal, server, listeners; and how it starts and drains.

The composition root; decides nothing else. It serves no request, so there is no handlers module: its input is the port. Built and run by
runtime.role.
"""

import asyncio
import time

from smtpfleet.contracts.configuration import Configuration
from smtpfleet.contracts.subjects import EVENT_MESSAGE_ACCEPTED, SCHEDULER_BAN_CHANGED
from smtpfleet.runtime import metrics
from smtpfleet.runtime.forwards import Forwards
from smtpfleet.runtime.questions import Questions
from smtpfleet.runtime.resolver import BadNameservers, Resolver
from smtpfleet.runtime.role import Role
from smtpfleet.runtime.settings import BadSettings
from smtpfleet.runtime.srs_client import SrsClient
from smtpfleet.runtime.table_client import TableClient
from smtpfleet.smtp_in.admissions import Admissions
from smtpfleet.smtp_in.bans import Bans
from smtpfleet.smtp_in.callers import Callers
from smtpfleet.smtp_in.committer import Committer
from smtpfleet.smtp_in.connections import Server
from smtpfleet.smtp_in.credentials import Authenticator, BusCredentials
from smtpfleet.smtp_in.failures import LocalFailures
from smtpfleet.smtp_in.fleet_failures import FleetFailures
from smtpfleet.smtp_in.gate import Gate
from smtpfleet.smtp_in.inquiries import Inquiries
from smtpfleet.smtp_in.journal import FactLog
from smtpfleet.smtp_in.listener import Listeners
from smtpfleet.smtp_in.server import Connection
from smtpfleet.smtp_in.settings import SmtpInSettings
from smtpfleet.smtp_in.tls import TlsContexts
from smtpfleet.smtp_in.welcome import LOOKUP_WITHIN_S, Welcome

LISTEN_AGAIN_S = 2.0
"""How often an address that could not be bound is tried again; chosen."""
DRAIN_MARGIN_S = 1.0
"""What drain leaves of drain_s for closing the bus in order; chosen."""

_open_sessions = metrics.gauge("smtp_sessions_open", "Sessions open now")
_held_content = metrics.gauge("smtp_content_held_bytes", "Content held for all sessions now")


class SmtpIn:
    """The role."""

    def __init__(self, role: Role, settings: SmtpInSettings) -> None:
        self._role = role
        self._settings = settings
        self._gate = Gate(lambda: role.bus.is_connected, asyncio.get_running_loop().time)
        self._journal = FactLog(
            role.log, lambda accepted: role.bus.publish(EVENT_MESSAGE_ACCEPTED, accepted), time.time
        )
        self._committer = Committer(role.bus, self._gate, role.spawn, self._journal.publish_accepted)
        clock = asyncio.get_running_loop().time
        self._bans = Bans(role.bus, clock)
        self._local_failures = LocalFailures(clock)
        failures = FleetFailures(role.bus, self._bans, self._local_failures, role.spawn)
        self._callers = Callers(clock, self._bans.holds)
        self._callers.on_failure = failures.note_session
        self._admissions = Admissions(role.bus, self._callers, role.replica, clock)
        self._authenticator = Authenticator(
            BusCredentials(role.bus),
            failures,
            role.spawn,
            role.log,
            threads=settings.auth_threads,
        )
        self._table_client = TableClient(role.bus)
        forwards = Forwards(role.bus, time.monotonic)
        self.server = Server(
            committer=self._committer,
            gate=self._gate,
            journal=self._journal,
            max_sessions=settings.max_sessions,
            content_memory_bytes=settings.content_memory_bytes,
            callers=self._callers,
            admissions=self._admissions,
            welcome=_welcome(role, settings),
            authenticator=self._authenticator,
            inquiries=Inquiries(Questions(forwards, self._table_client, SrsClient(role.bus)), role.spawn),
        )
        self._tls = TlsContexts(role.log, settings.config_root)
        self.listeners = Listeners(
            role.log,
            lambda entrance, arrived: Connection(self.server, entrance, arrived),
            self._tls,
            settings.submission_socket,
            self._journal.note_turned_back,
            self._callers,
        )
        self._following: asyncio.Task[None] | None = None
        self._has_changed = asyncio.Event()
        self._has_listened = asyncio.Event()

    async def start(self) -> None:
        """Waits for the first snapshot, then listens."""
        role = self._role
        _open_sessions.set_function(lambda: len(self.server.connections))
        _held_content.set_function(lambda: self.server.memory.held_bytes)
        role.ready_when("listeners", lambda: self._has_listened.is_set() and not self.listeners.missing)
        role.snapshot.on_change(self._on_snapshot)
        self._following = role.spawn(self._follow_snapshots(), name="listeners")
        role.spawn(self.server.sweep(), name="sweep")
        await role.bus.listen(SCHEDULER_BAN_CHANGED, self._bans.on_changed)
        role.spawn(self._bans.follow(), name="bans")
        role.spawn(self._admissions.run(), name="admissions")
        role.spawn(self._tls.watch(), name="certificates")
        await self._has_listened.wait()

    def _on_snapshot(self, configuration: Configuration) -> None:
        self._table_client.forget()
        self._callers.limits = self._local_failures.limits = configuration.limits
        self._has_changed.set()

    async def _follow_snapshots(self) -> None:
        await self._has_changed.wait()
        while True:
            self._has_changed.clear()
            await self.listeners.apply(self._role.snapshot.current, self._role.snapshot.tables)
            self._has_listened.set()
            await self._await_change()

    async def _await_change(self) -> None:
        """Until there is another snapshot, or something that could not be opened is to be tried again."""
        while not self._has_changed.is_set():
            is_waiting = self.listeners.missing or self.listeners.is_standing_by
            try:
                async with asyncio.timeout(LISTEN_AGAIN_S if is_waiting else None):
                    await self._has_changed.wait()
            except TimeoutError:
                if self.listeners.missing:
                    return
                await self.listeners.take_turn()

    async def drain(self) -> None:
        """Accepts no more, dismisses who is idle, lets messages on their way end; what lasts too long is cut."""
        if self._following is not None:
            self._following.cancel()
        self.listeners.close()
        try:
            async with asyncio.timeout(max(0.0, self._settings.drain_s - DRAIN_MARGIN_S)):
                await self.server.drain()
        except TimeoutError:
            self._role.log.warning("sessions cut off at drain", sessions=len(self.server.connections))
            self.server.abort()
        self._authenticator.close()
        await self._committer.settle()
        await self._admissions.flush()


def _welcome(role: Role, settings: SmtpInSettings) -> Welcome | None:
    """Looks up names unless the operator does not want it or the system has no DNS at all, which is said in the log."""
    if not settings.rdns:
        return None
    nameservers = tuple(text.strip() for text in settings.nameservers.split(",") if text.strip())
    try:
        return Welcome(Resolver(nameservers, timeout_s=LOOKUP_WITHIN_S), role.spawn)
    except BadNameservers as error:
        if nameservers:
            raise BadSettings(f"SMTPFLEET_NAMESERVERS: {error}") from None
        role.log.warning("names of peers are not looked up", reason=str(error))
        return None
