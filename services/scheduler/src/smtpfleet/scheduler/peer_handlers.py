"""One function per subject scheduler answers about peers of smtp-in: permits of connections, failures, bans; decides nothing.

Called by the bus; bound by app. The other subjects of the role are in handlers.
"""

from smtpfleet.contracts import callers as p
from smtpfleet.contracts import subjects
from smtpfleet.contracts.commands import Done
from smtpfleet.contracts.wire import Malformed
from smtpfleet.runtime.bus import Bus
from smtpfleet.scheduler.bans import Bans
from smtpfleet.scheduler.callers import Callers


class PeerHandlers:
    """The subjects about peers."""

    def __init__(self, callers: Callers, bans: Bans) -> None:
        self._callers = callers
        self._bans = bans

    async def bind(self, bus: Bus) -> None:
        """Begins to answer."""
        await bus.serve(subjects.SCHEDULER_CALLER_ADMIT, self.on_caller_admit)
        await bus.serve(subjects.SCHEDULER_FAILURE_NOTE, self.on_failure_note)
        await bus.serve(subjects.SCHEDULER_SUCCESS_NOTE, self.on_success_note)
        await bus.serve(subjects.SCHEDULER_WELCOME_CHECK, self.on_welcome_check)
        await bus.serve(subjects.SCHEDULER_BAN_LIST, self.on_ban_list)
        await bus.serve(subjects.SCHEDULER_BAN_LIFT, self.on_ban_lift)

    async def on_caller_admit(self, request: p.AdmitCallers) -> p.AdmitReply:
        if len(request.callers) > p.CALLER_BATCH:
            raise Malformed("too many callers in one request")
        return p.AdmitReply(await self._callers.admit(request.replica, request.callers))

    async def on_failure_note(self, request: p.NoteFailures) -> p.FailuresReply:
        if len(request.failures) > p.CALLER_BATCH:
            raise Malformed("too many failures in one request")
        return p.FailuresReply(await self._bans.note(request.failures))

    async def on_success_note(self, request: p.NoteSuccess) -> Done:
        await self._bans.note_success(request.user, request.address)
        return Done()

    async def on_welcome_check(self, query: p.WelcomeQuery) -> p.WelcomeReply:
        return p.WelcomeReply(await self._bans.is_welcome(query.user, query.address))

    async def on_ban_list(self, query: p.BansQuery) -> p.BansReply:
        return p.BansReply(await self._bans.all())

    async def on_ban_lift(self, request: p.LiftBan) -> p.LiftReply:
        return p.LiftReply(await self._bans.lift(request.kind, request.name))
