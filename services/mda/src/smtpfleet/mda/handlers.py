"""The subjects mda answers: whose `.forward` says what. Decides nothing; looks the user up, reads in a thread, answers.

Reading has threads of its own: a home on a hung file server must not take those of deliveries, nor the other way round. Whoever asks has
a time limit and asks again. OpenSMTPD: IMSG_PARENT_FORWARD_OPEN of smtpd.c.
"""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

from smtpfleet.contracts.commands import ForwardQuery, ForwardReply
from smtpfleet.contracts.subjects import MDA_FORWARD_READ
from smtpfleet.mail.aliases import AliasFault, TargetKind
from smtpfleet.mail.tables import TableError, UserInfo
from smtpfleet.mail.targetfile import parse_forward
from smtpfleet.mda.forward import read_forward
from smtpfleet.runtime import metrics
from smtpfleet.runtime.bus import Bus

READER_THREADS = 4
"""Homes looked into at once. A read costs tens of microseconds; the others are for a file server that is slow. Chosen."""

_reads = metrics.counter("mda_forwards", "Forwards asked for, by what was found", ("result",))

WITHOUT_RIGHTS = "it has a command or a file, which would have the rights of mda and not of its user: run mda as root, or set SMTPFLEET_FORWARD_PROGRAMS"
"""For the operator's log; the peer hears 451 and keeps its copy until that is decided."""

FindUser = Callable[[str, str], Awaitable[UserInfo | None]]
"""The user of a userbase, by table and name. Raises TableError."""


class Handlers:
    """The role's subjects."""

    def __init__(self, find_user: FindUser, *, obeys_programs: bool) -> None:
        """obeys_programs: whether what users have written may start programs and write files, because it is done with their rights."""
        self._find_user = find_user
        self._obeys_programs = obeys_programs
        self._readers = ThreadPoolExecutor(READER_THREADS, thread_name_prefix="forward")

    async def bind(self, bus: Bus) -> None:
        """Begins to answer."""
        await bus.serve(MDA_FORWARD_READ, self.on_forward_read)

    async def on_forward_read(self, query: ForwardQuery) -> ForwardReply:
        """The user's forward; `temporary` where he cannot be looked up now, `refused` where mda knows no such user."""
        try:
            user = await self._find_user(query.userbase, query.user)
        except TableError as error:
            return ForwardReply("temporary", "", str(error))
        if user is None:
            return ForwardReply("refused", "", f"mda finds no user {query.user} in table {query.userbase}")
        if not user.home.startswith("/"):
            return ForwardReply("temporary", "", f"the home of {query.user} is not an absolute path")
        reply = await asyncio.get_running_loop().run_in_executor(self._readers, read_forward, user)
        if reply.result == "present" and not self._obeys_programs and has_program(reply.content):
            reply = ForwardReply("temporary", "", WITHOUT_RIGHTS)
        _reads.labels(reply.result).inc()
        return reply


def has_program(content: str) -> bool:
    """Whether a `.forward` names a command or a file, in either form of the language; what cannot be read names nothing."""
    for is_modern in (False, True):
        try:
            targets = parse_forward(content, is_modern=is_modern)
        except AliasFault:
            continue
        if any(target.kind in (TargetKind.COMMAND, TargetKind.FILE) for target in targets):
            return True
    return False
