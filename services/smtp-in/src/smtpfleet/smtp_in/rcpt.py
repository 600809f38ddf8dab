"""The part of a session that takes recipients: checked here and now where the snapshot knows, else after config or mda have answered.

Session inherits it; what a peer may say when is session's business, and so are `_enter` and `_answer`. A recipient that has to wait is a
request like those to queue: the state is AWAITING_RCPT_VERDICT, what the peer pipelines stays in its buffer, and `on_rcpt_verdict` goes
on where RCPT stopped. OpenSMTPD: smtp_session.c smtp_check_rcpt_to, IMSG_SMTP_EXPAND_RCPT and its answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from smtpfleet.contracts.status import Status, StatusClass
from smtpfleet.mail.expand import Destination, Expansion
from smtpfleet.mail.rcpt_parameters import RcptArgs
from smtpfleet.smtp_in import reply as r
from smtpfleet.smtp_in.command import Command
from smtpfleet.smtp_in.entrance import Entrance, Surroundings
from smtpfleet.smtp_in.expansions import SourceClass, Unresolved
from smtpfleet.smtp_in.patience import Patience
from smtpfleet.smtp_in.state import State
from smtpfleet.smtp_in.transaction import Request, Transaction

DESTINATIONS_LIMIT = 10_000
"""Envelopes of one message that its second and later recipients may add up to: what one list may lead to (mail.walk), and some 4 MB of
a commit, half of what the bus carries."""


@dataclass(frozen=True, slots=True)
class AwaitedRcpt:
    """The RCPT that waits. line: as it came, for the log."""

    args: RcptArgs
    line: bytes


class RcptPhase:
    """What Session inherits; the attributes are Session's."""

    __slots__ = tuple[str, ...]()

    _around: Surroundings
    _awaited: object
    _detail: str
    _patience: Patience
    _source: SourceClass
    entrance: Entrance
    is_kicked: bool
    request: Request | None
    state: State
    tx: Transaction | None

    def _enter(self, state: State) -> None:
        raise NotImplementedError

    def _answer(self, command: Command, reply: r.Reply, line: bytes) -> None:
        raise NotImplementedError

    def close(self) -> None:
        """Session's."""
        raise NotImplementedError

    def check_rcpt(self, args: RcptArgs) -> tuple[Destination, ...] | Status | None:
        """Where the recipient leads under the session's ruleset, or why nowhere; None where that has to be asked: `request` says what."""
        assert self.tx is not None
        if len(self.tx.rcpts) >= self.entrance.configuration.limits.max_rcpt:
            return r.S452_TOO_MANY_RCPTS
        expansion = self.entrance.expansions.expand(self.tx.facts, self._source, args.rcpt, self._around.forwards)
        if isinstance(expansion, Unresolved):
            self.request = expansion
            self._awaited = AwaitedRcpt(args, b"")
            self._enter(State.AWAITING_RCPT_VERDICT)
            return None
        return self._judge_expansion(expansion)

    def _judge_expansion(self, expansion: Expansion) -> tuple[Destination, ...] | Status:
        if expansion.refusal is None:
            return expansion.destinations
        self._detail = expansion.detail
        if expansion.refusal.status_class is StatusClass.PERMANENT and self._patience.note_rejected_rcpt():
            self.is_kicked = True
            self.close()  # the refusal itself is still sent
        return expansion.refusal

    def accept_rcpt(self, args: RcptArgs, destinations: Sequence[Destination]) -> Status:
        """Adds a recipient that may be accepted."""
        tx = self.tx
        assert tx is not None
        rcpt = args.rcpt
        if tx.rcpts:
            if len(tx.destinations) + len(destinations) > DESTINATIONS_LIMIT:
                return r.S452_TOO_MANY_RCPTS
            # Said twice it is still one delivery; a thousand times to a list of a thousand must not become a million.
            if rcpt in tx.rcpts and not (args.dsn_notify or args.dsn_orcpt):
                tx.rcpts.append(rcpt)
                return r.S250_RCPT_OK
        if args.dsn_notify or args.dsn_orcpt:
            tx.note_asked(args, len(destinations))
        tx.rcpts.append(rcpt)
        tx.destinations.extend([(rcpt, destination) for destination in destinations])
        return r.S250_RCPT_OK

    def on_rcpt_verdict(self, expansion: Expansion) -> None:
        """How the expansion ended that was asked for."""
        awaited, self._awaited = self._awaited, None
        assert self.state is State.AWAITING_RCPT_VERDICT and isinstance(awaited, AwaitedRcpt)
        self._enter(State.TRANSACTION)
        verdict = self._judge_expansion(expansion)
        reply = verdict if isinstance(verdict, Status) else self.accept_rcpt(awaited.args, verdict)
        self._answer(Command.RCPT, reply, awaited.line)
