"""Transactions on one connection: MAIL, RCPT, DATA, content, and what each envelope got for it.

Theory: where the peer offers PIPELINING, all commands of a transaction are one write and their replies one wait (RFC 2920); where
the next task is known, its commands travel in the write that carries the final dot, which §3.1 allows because content may be the first
of a group. A peer that refused every recipient may still say 354: it gets a lone dot (§3.1). Without PIPELINING the same commands go
one by one. Whatever happens, every envelope gets exactly one Status, classified here and nowhere else; once the dot is sent and not
answered nobody knows, and the result says so. Called by session.py. Never connects, never logs, never retries. OpenSMTPD:
mta_session.c from MTA_MAIL to MTA_EOM.
"""

from dataclasses import dataclass, field

from smtpfleet.contracts.status import S451_LOCAL_ERROR, STATUS_TEXT_LIMIT, Status, status_from_reply
from smtpfleet.mail.dots import stuff
from smtpfleet.mta.client import CLOSED, TOO_MUCH_DATA, Extensions, PeerProtocol
from smtpfleet.mta.reply import Reply
from smtpfleet.mta.task import S553_NOT_ASCII, Task, mail_command, rcpt_commands
from smtpfleet.runtime import killpoint
from smtpfleet.runtime.bus import BusUnavailable

S451_HOST_DISABLED = Status(451, "4.4.1", "Host temporarily disabled")
S552_TOO_LARGE = Status(552, "5.3.4", "Message is larger than the peer accepts")

_FINAL_DOT = b".\r\n"
_DATA = b"DATA\r\n"


@dataclass(frozen=True, slots=True)
class Timeouts:
    """RFC 5321 §4.5.3.2, its minimum each."""

    greeting_s: float = 300.0
    mail_s: float = 300.0
    rcpt_s: float = 300.0
    data_s: float = 120.0
    block_s: float = 180.0
    eom_s: float = 600.0
    quit_s: float = 5.0
    """How long a polite end may take; chosen, the RFC says nothing."""


@dataclass(slots=True)
class TxResult:
    """What a transaction came to. statuses: one per envelope of the task, in order.

    is_accepted: the peer took the message for at least one of them. is_untried: the connection was gone before the peer said anything
    about this task, so it may be tried on another. is_dot_unanswered: the peer may have the message although the statuses say no.
    """

    statuses: list[Status]
    is_accepted: bool = False
    is_untried: bool = False
    is_dot_unanswered: bool = False


@dataclass(slots=True)
class _Answers:
    """Replies up to DATA; what was not asked or not answered is missing."""

    mail: Reply | None = None
    rcpts: list[Reply] = field(default_factory=list)
    data: Reply | None = None


class Transactor:
    """The transactions of one connection, one after the other. max_failures: recipients refused in a row that end it; 0: never."""

    def __init__(
        self,
        peer: PeerProtocol,
        extensions: Extensions,
        timeouts: Timeouts,
        *,
        is_lmtp: bool = False,
        max_failures: int = 0,
    ) -> None:
        self._is_lmtp = is_lmtp
        self._peer = peer
        self._extensions = extensions
        self._timeouts = timeouts
        self._announced: Task | None = None
        self._closing: Status | None = None
        self._must_reset = False
        self._max_failures = max_failures
        self._failure_count = 0
        self.has_failed_too_often = False
        self.accepted_count = 0
        self.mail_count = 0

    @property
    def is_usable(self) -> bool:
        """Whether another transaction may begin here."""
        return not self._peer.fault and self._closing is None

    @property
    def has_announced(self) -> bool:
        """Whether the commands of a task are out whose content is not: only `send` or the end of the connection can follow."""
        return self._announced is not None

    @property
    def has_dsn(self) -> bool:
        """Whether the peer offers DSN."""
        return self._extensions.has_dsn

    def refusal(self, task: Task) -> Status | None:
        """Why this peer cannot have the task: its SIZE (RFC 1870 §6.1), or no SMTPUTF8 (RFC 6531 §3.6)."""
        limit = self._extensions.size_bytes
        if limit and task.size_bytes > limit:
            return S552_TOO_LARGE
        return S553_NOT_ASCII if task.is_utf8 and not self._extensions.has_smtputf8 else None

    def fits(self, task: Task) -> bool:
        """Whether it can."""
        return self.refusal(task) is None

    async def send(self, task: Task, following: Task | None) -> TxResult:
        """One transaction. `following` must be the next task sent here, if any is."""
        assert self._announced is None or self._announced is task
        if not self.is_usable:
            return TxResult([self.lost_status()] * len(task.envelopes), is_untried=True)
        self.mail_count += 1
        if self._extensions.has_pipelining:
            answers = await self._announce_at_once(task)
        else:
            answers = await self._announce_stepwise(task)
        statuses = self._judge(task, answers)
        if answers.data is None or not 300 <= answers.data.code < 400:
            self._must_reset = True
            return self._finish(statuses, answers)
        if None not in statuses:
            await self._send_lone_dot()
            return self._finish(statuses, answers)
        return await self._send_content(task, following, statuses)

    # up to DATA

    def _commands(self, task: Task) -> list[bytes]:
        extensions = self._extensions
        mail = mail_command(
            task,
            has_size=extensions.has_size,
            has_8bitmime=extensions.has_8bitmime,
            has_dsn=extensions.has_dsn,
        )
        return [mail, *rcpt_commands(task, has_dsn=extensions.has_dsn), _DATA]

    async def _announce_at_once(self, task: Task) -> _Answers:
        count = len(task.envelopes) + 2
        peer = self._peer
        if self._announced is None:
            commands = self._commands(task)
            if self._must_reset:
                commands.insert(0, b"RSET\r\n")
                peer.expect(1)
            peer.expect(count)
            peer.write(b"".join(commands))
            if self._must_reset and not await self._read_reset():
                return _Answers()
        self._announced = None
        replies = await peer.collect(count, self._timeouts.mail_s)
        self._watch_closing(replies)
        if peer.fault == TOO_MUCH_DATA:
            return _Answers()  # one reply too many: nobody can say which, so none may make a bounce
        if replies and _is_ok(replies[0]):
            for reply in replies[1 : count - 1]:
                self._watch_failures(reply)
        return _Answers(
            replies[0] if replies else None, replies[1 : count - 1], replies[-1] if len(replies) == count else None
        )

    async def _announce_stepwise(self, task: Task) -> _Answers:
        answers = _Answers()
        if self._must_reset:
            self._ask(b"RSET\r\n")
            if not await self._read_reset():
                return answers
        mail, *rcpts, data = self._commands(task)
        answers.mail = await self._step(mail, self._timeouts.mail_s)
        if answers.mail is None or not _is_ok(answers.mail):
            return answers
        for rcpt in rcpts:
            reply = await self._step(rcpt, self._timeouts.rcpt_s)
            if reply is None:
                return answers
            answers.rcpts.append(reply)
            self._watch_failures(reply)
            if self._closing is not None:
                return answers
        if any(_is_ok(reply) for reply in answers.rcpts):
            answers.data = await self._step(data, self._timeouts.data_s)
        return answers

    def _ask(self, data: bytes) -> None:
        self._peer.expect(1)
        self._peer.write(data)

    async def _step(self, command: bytes, timeout_s: float) -> Reply | None:
        self._ask(command)
        replies = await self._peer.collect(1, timeout_s)
        self._watch_closing(replies)
        return replies[0] if replies else None

    async def _read_reset(self) -> bool:
        replies = await self._peer.collect(1, self._timeouts.mail_s)
        self._watch_closing(replies)
        if replies and not _is_ok(replies[0]):
            # A peer that cannot forget a transaction would mix it with the next.
            self._peer.abort(f"RSET rejected: {replies[0].code} {replies[0].last_line}")
        self._must_reset = False
        return self.is_usable

    def _watch_closing(self, replies: list[Reply]) -> None:
        """421 announces the end of the connection whatever it answers (RFC 5321 §3.8)."""
        if replies and (closing := next((reply for reply in replies if reply.code == 421), None)) is not None:
            self._closing = _status_of(closing)

    def _watch_failures(self, reply: Reply) -> None:
        """A peer that refuses recipient after recipient takes us for a guesser: we stop before it blocks us (OpenSMTPD 7.8
        max-failures-per-session). The transaction goes on as far as its commands are out."""
        self._failure_count = 0 if _is_ok(reply) else self._failure_count + 1
        if self._failure_count == self._max_failures > 0:
            self.has_failed_too_often = True
            self._closing = self._closing or S451_HOST_DISABLED

    # judging

    def _judge(self, task: Task, answers: _Answers) -> list[Status | None]:
        """A status per envelope, None where only the content is left to be sent."""
        count = len(task.envelopes)
        if answers.mail is None:
            return [self.lost_status()] * count
        if (misplaced := _misplaced(answers)) is not None:
            # Commands and replies are out of step: what looks like a refusal may belong to another recipient.
            self._peer.abort(misplaced.text)
            return [misplaced] * count
        if not _is_ok(answers.mail):
            return [_status_of(answers.mail)] * count
        statuses: list[Status | None] = [None if _is_ok(reply) else _status_of(reply) for reply in answers.rcpts]
        statuses += [self.lost_status()] * (count - len(statuses))
        if None in statuses and not (answers.data and answers.data.code < 400):
            refusal = _status_of(answers.data) if answers.data else self.lost_status()
            return [status or refusal for status in statuses]
        return statuses

    def lost_status(self) -> Status:
        """Why the connection is gone: what the peer said last, or what we saw. Always temporary."""
        return self._closing or Status(451, "4.4.2", self._peer.fault or CLOSED)

    def _finish(self, statuses: list[Status | None], answers: _Answers) -> TxResult:
        """The result of a transaction without content."""
        # Peers limit the messages or the time of a connection: on one that has worked, an end before or at MAIL is no refusal.
        is_gone = answers.mail is None and (self._peer.is_disconnected or self._closing is not None)
        is_turned_away = answers.mail is not None and answers.mail.code == 421
        is_untried = self.accepted_count > 0 and (is_gone or is_turned_away)
        return TxResult([status or self.lost_status() for status in statuses], is_untried=is_untried)

    # content

    async def _send_lone_dot(self) -> None:
        if self._is_lmtp:
            # An LMTP server must not say 354 here and has no reply for the dot (RFC 2033 §4.2): nothing more can be said.
            self._peer.abort("DATA accepted without a recipient")
            return
        self._ask(_FINAL_DOT)
        self._watch_closing(await self._peer.collect(1, self._timeouts.eom_s))

    async def _send_content(self, task: Task, following: Task | None, statuses: list[Status | None]) -> TxResult:
        peer = self._peer
        dot = _FINAL_DOT
        # LMTP: one for each recipient that was taken (RFC 2033 §4.2).
        final_count = statuses.count(None) if self._is_lmtp else 1
        peer.expect(final_count)
        if task.chunks is not None:
            failure = await self._stream(task)
            if failure is not None:
                return TxResult([status or failure for status in statuses])
        else:
            content = stuff(task.content)
            dot = content + _FINAL_DOT if content.endswith(b"\r\n") or not content else content + b"\r\n.\r\n"
        may_announce = self._extensions.has_pipelining and self._closing is None
        if following is not None and may_announce and self.fits(following):
            peer.expect(len(following.envelopes) + 2)
            dot += b"".join(self._commands(following))
            self._announced = following
        was_lost = bool(peer.fault)
        peer.write(dot)
        # From here until the answer the peer may have the message without our knowing: dying now may deliver it twice.
        killpoint.reach("mta.dot.sent")
        replies = await peer.collect(final_count, self._timeouts.eom_s)
        self._watch_closing(replies)
        if (misplaced := next((reply for reply in replies if 300 <= reply.code < 400), None)) is not None:
            peer.abort(_unexpected(misplaced).text)
        is_accepted = any(map(_is_ok, replies))
        self.accepted_count += is_accepted
        return TxResult(
            self._with_finals(statuses, replies),
            is_accepted=is_accepted,
            is_dot_unanswered=len(replies) < final_count and not was_lost,
        )

    def _with_finals(self, statuses: list[Status | None], replies: list[Reply]) -> list[Status]:
        """The statuses with the answers to the dot where there was none yet."""
        finals = [_verdict_of(reply) for reply in replies]
        if not self._is_lmtp:
            final = finals[0] if finals else self.lost_status()
            return [status or final for status in statuses]
        left = iter(finals)
        return [status or next(left, None) or self.lost_status() for status in statuses]

    async def _stream(self, task: Task) -> Status | None:
        """Sends a large message's chunks; None when all of it is out, else why not. The dot never follows a message that is not whole."""
        assert task.chunks is not None
        peer = self._peer
        tail = b"\r\n"  # a dot that begins the content begins a line
        sent_bytes = 0
        try:
            async for chunk in task.chunks():
                stuffed, tail = _stuff_piece(tail, chunk)
                sent_bytes += len(chunk)
                peer.write(stuffed)
                await peer.drain(self._timeouts.block_s)
                if peer.has_reply or peer.fault:
                    return await self._interrupted()
        except BusUnavailable:
            peer.abort("content could not be read")
            return S451_LOCAL_ERROR
        if sent_bytes != task.size_bytes:
            peer.abort("content is not whole")
            return S451_LOCAL_ERROR
        if tail != b"\r\n":
            peer.write(b"\r\n")
        return None

    async def _interrupted(self) -> Status:
        """The peer answered before the dot, or went away. A 4xx or 5xx is its verdict; either way the connection is over."""
        replies = await self._peer.collect(1, 0.0) if self._peer.has_reply else []
        self._peer.abort("Reply before the end of the message")
        if not replies:
            return self.lost_status()
        return _unexpected(replies[0]) if replies[0].code < 400 else _status_of(replies[0])


def _stuff_piece(tail: bytes, piece: bytes) -> tuple[bytes, bytes]:
    """A piece of content with dots doubled, given the last two bytes before it, and the last two bytes after it."""
    joined = tail + piece
    return joined.replace(b"\r\n.", b"\r\n..")[len(tail) :], joined[-2:]


def _is_ok(reply: Reply) -> bool:
    return 200 <= reply.code < 300


def _status_of(reply: Reply) -> Status:
    return status_from_reply(reply.code, reply.last_line)


def _verdict_of(reply: Reply) -> Status:
    """The status of an answer to the final dot; a 3xx there is none."""
    return _unexpected(reply) if 300 <= reply.code < 400 else _status_of(reply)


def _misplaced(answers: _Answers) -> Status | None:
    """The first reply that cannot answer its command: 3xx to MAIL or RCPT, 2xx to DATA."""
    for reply in (answers.mail, *answers.rcpts):
        if reply is not None and 300 <= reply.code < 400:
            return _unexpected(reply)
    return _unexpected(answers.data) if answers.data is not None and _is_ok(answers.data) else None


def _unexpected(reply: Reply) -> Status:
    return Status(451, "4.5.0", f"Unexpected reply: {reply.code} {reply.last_line}"[:STATUS_TEXT_LIMIT])
