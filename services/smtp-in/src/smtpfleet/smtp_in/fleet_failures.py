"""Failures counted for the whole fleet: of authentications, and sessions that ended for what the peer did. Scheduler counts and bans.

Owns what waits to be reported; local counts stand in while scheduler is away. The reply to a wrong password waits a second anyhow, so the
count of the fleet is waited for; everything else is told and forgotten. Called by credentials (AuthFailures) and callers; built by app.
"""

import asyncio
from collections import deque

from smtpfleet.contracts.callers import (
    CALLER_BATCH,
    BanKind,
    Failure,
    FailuresReply,
    NoteFailures,
    NoteSuccess,
    WelcomeQuery,
    WelcomeReply,
)
from smtpfleet.contracts.subjects import (
    SCHEDULER_FAILURE_NOTE,
    SCHEDULER_SUCCESS_NOTE,
    SCHEDULER_WELCOME_CHECK,
)
from smtpfleet.contracts.wire import Malformed, RemoteFault, UnknownVersion
from smtpfleet.runtime.asking import Requester, Spawn
from smtpfleet.runtime.bus import BusUnavailable
from smtpfleet.smtp_in.bans import Bans
from smtpfleet.smtp_in.callers import Caller
from smtpfleet.smtp_in.failures import LocalFailures, delay_s, user_name
from smtpfleet.smtp_in.peer_names import address_of

ANSWER_WITHIN_S = 1.0
"""How long scheduler may take; the shortest delay of a reply. Chosen."""
REPORT_S = 0.25
"""How long ended sessions are gathered. Chosen: a flood of them costs four requests a second."""
UNREPORTED_LIMIT = 4096
"""Ended sessions that wait to be reported; beyond it the oldest are dropped. Chosen: more than any limit of one address."""

_NO_ANSWER = (BusUnavailable, RemoteFault, UnknownVersion, Malformed)


class FleetFailures:
    """AuthFailures of all replicas together, and their failed sessions."""

    def __init__(self, bus: Requester, bans: Bans, local: LocalFailures, spawn: Spawn) -> None:
        self._bus = bus
        self._bans = bans
        self._local = local
        self._spawn = spawn
        self._ended: deque[Failure] = deque(maxlen=UNREPORTED_LIMIT)
        self._is_reporting = False
        bans.on_lifted = local.lift

    # Authentications.

    def is_address_banned(self, peer: str) -> bool:
        """As AuthFailures."""
        return self._bans.holds(BanKind.AUTH_ADDRESS, address_of(peer)) or (
            not self._bans.is_fresh and self._local.is_address_banned(peer)
        )

    async def is_user_banned(self, user: str, peer: str) -> bool:
        """As AuthFailures."""
        if not self._bans.holds(BanKind.AUTH_USER, user_name(user)):
            return not self._bans.is_fresh and await self._local.is_user_banned(user, peer)
        if self._local.is_welcome(user, peer):
            return False
        query = WelcomeQuery(user_name(user), address_of(peer))
        try:
            reply = await self._bus.request(SCHEDULER_WELCOME_CHECK, query, timeout_s=ANSWER_WITHIN_S)
        except _NO_ANSWER:
            return True
        assert isinstance(reply, WelcomeReply)
        return not reply.is_welcome

    async def note_failure(self, user: str, peer: str) -> float:
        """As AuthFailures."""
        count = self._local.count_failure(user, peer)
        failures = [Failure(BanKind.AUTH_ADDRESS, address_of(peer)), Failure(BanKind.AUTH_USER, user_name(user))]
        try:
            reply = await self._bus.request(SCHEDULER_FAILURE_NOTE, NoteFailures(failures), timeout_s=ANSWER_WITHIN_S)
        except _NO_ANSWER:
            return delay_s(count)
        assert isinstance(reply, FailuresReply)
        return delay_s(max(count, reply.counts[0]))

    def note_success(self, user: str, peer: str) -> None:
        """As AuthFailures."""
        self._local.note_success(user, peer)
        self._spawn(self._tell_success(NoteSuccess(user_name(user), address_of(peer))), name="success")

    async def _tell_success(self, success: NoteSuccess) -> None:
        try:
            await self._bus.request(SCHEDULER_SUCCESS_NOTE, success, timeout_s=ANSWER_WITHIN_S)
        except _NO_ANSWER:
            return  # he is welcome here all the same, and elsewhere after his next success

    # Sessions.

    def note_session(self, caller: Caller) -> None:
        """A session ended because of what the peer did."""
        self._ended += (Failure(BanKind.ADDRESS, caller.address.name), Failure(BanKind.NETWORK, caller.network.name))
        if not self._is_reporting:
            self._is_reporting = True
            self._spawn(self._report(), name="failures")

    async def _report(self) -> None:
        while self._ended:
            await asyncio.sleep(REPORT_S)
            batch = [self._ended.popleft() for _ in range(min(CALLER_BATCH, len(self._ended)))]
            try:
                await self._bus.request(SCHEDULER_FAILURE_NOTE, NoteFailures(batch), timeout_s=ANSWER_WITHIN_S)
            except _NO_ANSWER:
                continue  # not counted: who goes on failing will be
        self._is_reporting = False
