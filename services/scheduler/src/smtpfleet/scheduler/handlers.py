"""One function per subject scheduler answers; decides nothing."""

from collections.abc import Mapping

from smtpfleet.contracts import commands as c
from smtpfleet.contracts import events as e
from smtpfleet.contracts import permits as p
from smtpfleet.contracts import subjects
from smtpfleet.contracts.ids import is_evpid
from smtpfleet.contracts.wire import Malformed
from smtpfleet.runtime.bus import Bus
from smtpfleet.scheduler.assigner import Assigner
from smtpfleet.scheduler.claims import Claims
from smtpfleet.scheduler.permits import Permits
from smtpfleet.scheduler.wakeup import Wakeup


class Handlers:
    """The role's subjects."""

    def __init__(self, assigners: Mapping[str, Assigner], claims: Claims, wakeup: Wakeup, permits: Permits) -> None:
        self._assigners = assigners
        self._claims = claims
        self._permits = permits
        self._wakeup = wakeup

    async def bind(self, bus: Bus) -> None:
        """Begins to answer."""
        await bus.serve(subjects.SCHEDULER_WORK_NEXT, self.on_work_next)
        await bus.serve(subjects.SCHEDULER_LEASE_RENEW, self.on_lease_renew)
        await bus.serve(subjects.SCHEDULER_LEASE_RELEASE, self.on_lease_release)
        await bus.serve(subjects.SCHEDULER_PERMIT_RELEASE, self.on_permit_release)
        await bus.serve(subjects.SCHEDULER_PERMIT_TAKE, self.on_permit_take)
        await bus.listen(subjects.SCHEDULER_WORK_READY, self._wakeup.heard)
        await bus.listen(subjects.SCHEDULER_WORKER_LEAVING, self.on_worker_leaving)

    async def on_work_next(self, query: c.WorkQuery) -> c.Work:
        assigner = self._assigners.get(query.agent)
        if assigner is None or not 0 < query.batch <= c.CLAIM_BATCH:
            raise Malformed("unknown agent or batch out of range")
        return await assigner.next_work(query)

    def on_worker_leaving(self, event: e.WorkerLeaving) -> None:
        assigner = self._assigners.get(event.agent)
        if assigner is not None:
            assigner.dismiss(event.worker)

    async def on_lease_renew(self, request: c.RenewLeases) -> c.RenewReply:
        lost = await self._claims.renew(request.leases)
        for relay, holder in request.permits:
            await self._claims.renew_permit(request.agent, relay, holder)
        return c.RenewReply(lost, await self._permits.keep(request.connections))

    async def on_lease_release(self, request: c.ReleaseLease) -> c.Done:
        if not all(map(is_evpid, request.evpids)):
            raise Malformed("an evpid is not 24 hex digits")
        if not 0 <= request.wait_ms <= c.RELAY_WAIT_MAX_MS:
            raise Malformed("wait out of range")
        relays = await self._claims.release(c.LeaseRef(request.shard, request.lease), request.evpids)
        if request.wait_ms:
            for agent, relay in relays:
                await self._claims.leave_alone(agent, relay, request.wait_ms)
        self._wakeup.announce(relays)
        return c.Done()

    async def on_permit_release(self, request: c.ReleasePermits) -> c.Done:
        for relay, holder in request.permits:
            await self._claims.free_permit(request.agent, relay, holder)
        relays = await self._permits.free(request.connections)
        for relay in relays:
            await self._claims.end_wait(request.agent, relay)
        self._wakeup.announce((request.agent, relay) for relay in relays.union(relay for relay, _ in request.permits))
        return c.Done()

    async def on_permit_take(self, request: p.TakePermits) -> p.TakeReply:
        if not request.holder or not 0 < len(request.wishes) <= p.WISHES_MAX:
            raise Malformed("no holder, or wishes out of range")
        return await self._permits.take(request)
