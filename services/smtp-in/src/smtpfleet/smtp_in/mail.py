"""The part of a session that begins a transaction: whether MAIL may be obeyed now, and whether the sender is the user's to give.

Session inherits it. Where the table `senders` is not in the snapshot config is asked, as about recipients (rcpt): the state is
AWAITING_SENDER_VERDICT, what the peer pipelines stays in its buffer, and `on_sender_answer` goes on where MAIL stopped. OpenSMTPD:
smtp_session.c smtp_check_mail_from, smtp_tx_mail_from, IMSG_SMTP_CHECK_SENDER.
"""

from dataclasses import dataclass

from smtpfleet.contracts.commands import TableQuery, TableService
from smtpfleet.contracts.ids import new_msgid, new_token
from smtpfleet.contracts.status import S451_LOCAL_ERROR, Status
from smtpfleet.mail.grammar import MailArgs, parse_mail_from
from smtpfleet.mail.received import UNKNOWN_HOST
from smtpfleet.mail.ruleset import LOCAL_PEER, SessionFacts
from smtpfleet.mail.tables import NotInline, TableError
from smtpfleet.smtp_in import reply as r
from smtpfleet.smtp_in.access_request import TlsFacts
from smtpfleet.smtp_in.callers import Caller
from smtpfleet.smtp_in.command import Command
from smtpfleet.smtp_in.entrance import Entrance, Surroundings
from smtpfleet.smtp_in.notification import Notification
from smtpfleet.smtp_in.senders import may_send_as
from smtpfleet.smtp_in.state import State
from smtpfleet.smtp_in.transaction import Origin, Request, Transaction


@dataclass(frozen=True, slots=True)
class AwaitedMail:
    """The MAIL that waits. line: as it came, for the log."""

    args: MailArgs
    line: bytes


class MailPhase:
    """What Session inherits; the attributes are Session's."""

    __slots__ = tuple[str, ...]()

    _around: Surroundings
    _awaited: object
    _detail: str
    authenticated: bool
    caller: Caller | None
    entrance: Entrance
    mail_bar: Status | None
    mail_count: int
    origin: Origin
    own_domain: str
    peer: str
    request: Request | None
    ssl: TlsFacts | None
    state: State
    tx: Transaction | None
    user: str

    def _enter(self, state: State) -> None:
        raise NotImplementedError

    def _answer(self, command: Command, reply: r.Reply, line: bytes) -> None:
        raise NotImplementedError

    def close(self) -> None:
        """Session's."""
        raise NotImplementedError

    @property
    def is_submission(self) -> bool:
        """Whether the peer is on the submission socket."""
        return self.peer == LOCAL_PEER

    def _mail(self, arg: bytes) -> r.Reply | None:
        args = self.check_mail(arg)
        if args is r.S421_OVERLOADED:
            self.close()
        if isinstance(args, Status):
            return args
        if not self.user or not self.entrance.listener.senders:
            return self.accept_mail(args)
        tables, table = self.entrance.tables, self.entrance.listener.senders
        try:
            value = tables.lookup(table, TableService.MAILADDRMAP, self.user)
        except NotInline:
            self.request = TableQuery(table, TableService.MAILADDRMAP, "lookup", [self.user.lower()])
            self._awaited = AwaitedMail(args, b"")
            self._enter(State.AWAITING_SENDER_VERDICT)
            return None
        except TableError as error:
            return self._judge_sender(args, error)
        return self._judge_sender(args, value)

    def check_mail(self, arg: bytes) -> MailArgs | Status:
        """What MAIL asks for, or why no transaction may begin, whoever the sender is."""
        if self.mail_bar is not None:
            return self.mail_bar
        args = parse_mail_from(arg, has_dsn=not self.entrance.listener.no_dsn, own_domain=self.own_domain)
        if isinstance(args, Status):
            return args
        if self.mail_count >= self.entrance.configuration.limits.max_mails:
            return r.S452_TOO_MANY_MAILS
        if args.size_bytes > self.entrance.configuration.max_message_size_bytes:
            return r.S552_TOO_BIG  # RFC 1870 §6.1
        if self.caller is not None and (refusal := self.caller.mail_refusal()) is not None:
            return refusal
        return self._around.mail_refusal() or args

    def on_sender_answer(self, answer: str | TableError | None) -> None:
        """What the table says of the user; only in AWAITING_SENDER_VERDICT."""
        awaited, self._awaited = self._awaited, None
        assert self.state is State.AWAITING_SENDER_VERDICT and isinstance(awaited, AwaitedMail)
        self._enter(State.SETUP)
        self._answer(Command.MAIL, self._judge_sender(awaited.args, answer), awaited.line)

    def _judge_sender(self, args: MailArgs, answer: str | TableError | None) -> Status:
        """An authenticated user may send as what the table says (7.8 smtp_tx_mail_from); where it cannot say, it is for now."""
        if isinstance(answer, TableError):
            self._detail = str(answer)
            return S451_LOCAL_ERROR
        if not may_send_as(self.entrance.tables, answer, args.sender):
            return r.S530_SENDER_REJECTED
        return self.accept_mail(args)

    def accept_mail(self, args: MailArgs) -> Status:
        """Begins a transaction."""
        origin, sender = self.origin, args.sender
        # Who submits on the socket is called after his uid there, which is no name that leads back to an address.
        rdns = "" if self.is_submission or origin.hostname == UNKNOWN_HOST else origin.hostname
        # Whose address is one of ours is local by it, and has it for the rules (reference 2.2).
        facts = SessionFacts(
            tag=origin.tag, peer=self.peer, is_local=self.authenticated, sender=sender, helo=origin.helo, rdns=rdns,
            auth_user=self.user, has_tls=self.ssl is not None, is_socket=self.is_submission,
        )  # fmt: skip
        self.tx = Transaction(facts, sender, new_msgid(int(self._around.now_s() * 1000)), new_token())
        if args.is_utf8:
            self.tx.is_utf8 = True
        if args.dsn_ret or args.dsn_envid:
            self.tx.notification = Notification(args.dsn_ret, args.dsn_envid)
        self._enter(State.TRANSACTION)
        return r.S250_OK
