"""Composition root of the scheduler role: store, claims, one assigner per agent, reaper, bound to the bus."""

from smtpfleet.contracts.configuration import Configuration
from smtpfleet.contracts.envelope import LOCAL_AGENT, REMOTE_AGENT, domain_of_relay
from smtpfleet.contracts.subjects import SCHEDULER_BAN_CHANGED
from smtpfleet.runtime.layout import claim_layout
from smtpfleet.runtime.role import Role
from smtpfleet.runtime.store import Store
from smtpfleet.scheduler.assigner import Assigner
from smtpfleet.scheduler.bans import Bans
from smtpfleet.scheduler.callers import Callers
from smtpfleet.scheduler.claims import Claims
from smtpfleet.scheduler.handlers import Handlers
from smtpfleet.scheduler.peer_handlers import PeerHandlers
from smtpfleet.scheduler.permits import Permits
from smtpfleet.scheduler.reaper import Reaper
from smtpfleet.scheduler.settings import SchedulerSettings
from smtpfleet.scheduler.wakeup import Wakeup


class SchedulerApp:
    """One replica of the scheduler."""

    def __init__(self, role: Role, settings: SchedulerSettings) -> None:
        self._role = role
        self._settings = settings
        self._store = store = Store(settings, role.log)
        claims = Claims(store, shards=settings.shards, lease_ms=settings.lease_ms)
        self._assigners = {agent: Assigner(agent, claims) for agent in (LOCAL_AGENT, REMOTE_AGENT)}
        wakeup = Wakeup(role.bus, self._assigners)
        self._reaper = Reaper(
            claims, wakeup, role.bus, store, role.log, lease_ms=settings.lease_ms, reap_ms=settings.reap_ms
        )
        self._callers = Callers(store)
        self._bans = Bans(store, role.log, lambda changed: role.bus.publish(SCHEDULER_BAN_CHANGED, changed))
        self._handlers = Handlers(self._assigners, claims, wakeup, Permits(store, lease_ms=settings.lease_ms))
        self._peer_handlers = PeerHandlers(self._callers, self._bans)
        role.ready_when("redis", lambda: store.is_up)

    async def start(self) -> None:
        """Waits for the store, then serves. Nothing of the queue is read: what is due is found by its due time."""
        await self._store.connect()
        await claim_layout(self._store, self._settings.shards)
        self._role.snapshot.on_change(self._on_configuration)
        self._role.spawn(self._store.follow_clock(), name="clock")
        for agent, assigner in self._assigners.items():
            self._role.spawn(assigner.run(), name=f"assigner {agent}")
        self._role.spawn(self._reaper.run(), name="reaper")
        await self._handlers.bind(self._role.bus)
        await self._peer_handlers.bind(self._role.bus)

    def _on_configuration(self, configuration: Configuration) -> None:
        self._assigners[REMOTE_AGENT].session_limit = lambda relay: (
            configuration.limits_of(domain_of_relay(relay)).max_conn_per_relay
        )
        self._callers.limits = self._bans.limits = configuration.limits

    async def drain(self) -> None:
        """Sends parked workers to other replicas and answers what is in hand."""
        for assigner in self._assigners.values():
            assigner.close()
        await self._role.bus.stop_serving()
        await self._store.close()
