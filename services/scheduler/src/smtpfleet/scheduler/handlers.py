"""One function per subject scheduler answers; decides nothing."""

from collections.abc import Mapping

from smtpfleet.contracts import commands as c
from smtpfleet.contracts import events as e
from smtpfleet.contracts import subjects
from smtpfleet.contracts.ids import is_evpid
from smtpfleet.contracts.wire import Malformed
from smtpfleet.runtime.bus import Bus
from smtpfleet.scheduler.assigner import Assigner
from smtpfleet.scheduler.claims import Claims
from smtpfleet.scheduler.wakeup import Wakeup


class Handlers:
    """The role's subjects."""

    def __init__(self, assigners: Mapping[str, Assigner], claims: Claims, wakeup: Wakeup) -> None:
        self._assigners = assigners
        self._claims = claims
        self._wakeup = wakeup

    async def bind(self, bus: Bus) -> None:
        """Begins to answer."""
        await bus.serve(subjects.SCHEDULER_WORK_NEXT, self.on_work_next)
        await bus.serve(subjects.SCHEDULER_LEASE_RENEW, self.on_lease_renew)
        await bus.serve(subjects.SCHEDULER_LEASE_RELEASE, self.on_lease_release)
        await bus.serve(subjects.SCHEDULER_PERMIT_RELEASE, self.on_permit_release)
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
        return c.RenewReply(lost)

    async def on_lease_release(self, request: c.ReleaseLease) -> c.Done:
        if not all(map(is_evpid, request.evpids)):
            raise Malformed("an evpid is not 24 hex digits")
        self._wakeup.announce(await self._claims.release(c.LeaseRef(request.shard, request.lease), request.evpids))
        return c.Done()

    async def on_permit_release(self, request: c.ReleasePermits) -> c.Done:
        for relay, holder in request.permits:
            await self._claims.free_permit(request.agent, relay, holder)
        self._wakeup.announce((request.agent, relay) for relay, _ in request.permits)
        return c.Done()
