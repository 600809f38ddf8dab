"""The conversation with one peer as a state machine without sockets: what may come when, what is answered, what is asked of queue.

Theory of operation. The shell (server.Connection) hands in facts: a command (`on_command`), bytes of content (`on_content`), an answer
from queue (`on_append_verdict`, `on_commit_verdict`), a line it could not read (`on_bad_line`). Each may put replies into `replies`, a
request into `request`, and change `state`; the shell sends the replies, passes the request on, and looks at the state to know what the
next bytes are. In a state called AWAITING_… it hands in nothing but the answer; what the peer pipelines meanwhile stays in its buffer.

    AWAITING_WELCOME --name, permit--> INIT          (the banner; CLOSING for a peer that could not wait, or gets no permit)
    INIT         --EHLO, HELO-->       SETUP
    SETUP        --MAIL-->             TRANSACTION   (msgid and token are drawn here), or, where a database says who may send as whom,
                                       AWAITING_SENDER_VERDICT --yes--> TRANSACTION, --no--> SETUP   (mail)
    TRANSACTION  --RCPT-->             TRANSACTION   (expanded under the snapshot the session began with), or, where another role is
                                       AWAITING_RCPT_VERDICT --any expansion--> TRANSACTION   to be asked (rcpt)
    TRANSACTION  --DATA-->             DATA          (at least one accepted rcpt)
    TRANSACTION, CHUNKING --BDAT-->    CHUNK         (its octets; then CHUNKING, or after LAST as at the end of data)
    any          --BDAT refused-->     SKIP          (its octets are read and thrown away), then back
    DATA         --enough for a chunk--> AWAITING_QUEUE_APPEND --ok--> DATA, or the next chunk, or the commit
    DATA         --end of data-->      AWAITING_QUEUE_COMMIT, or SETUP where the content is refused
    AWAITING_QUEUE_COMMIT --any verdict--> SETUP     (250 only for ok; `taken` draws another msgid and asks again)
    any          --QUIT, too much of something--> CLOSING

    SETUP        --STARTTLS-->         AWAITING_TLS_HANDSHAKE --done--> INIT, or the connection is cut
    SETUP        --AUTH-->             AUTHENTICATING (lines of the exchange) and AWAITING_AUTH_VERDICT in turn, then SETUP

OpenSMTPD: smtp_session.c, phases INIT, SETUP, TRANSACTION;
its 4-command kick is looser here because a peer may pipeline (docs/parity.md). RFC 5321 §4.1.4 for the order of commands.
"""

from collections.abc import Callable
from dataclasses import replace

from msgspec import structs

from smtpfleet.contracts.ids import new_token
from smtpfleet.contracts.status import Status
from smtpfleet.mail.address import is_valid_helo
from smtpfleet.mail.grammar import parse_rcpt_to
from smtpfleet.mail.received import UNKNOWN_HOST
from smtpfleet.smtp_in import reply as r
from smtpfleet.smtp_in.access import AccessPhase
from smtpfleet.smtp_in.access_request import TlsFacts
from smtpfleet.smtp_in.auth import Mechanism
from smtpfleet.smtp_in.bdat import SMALL_CHUNK_BYTES, parse_bdat
from smtpfleet.smtp_in.callers import Caller
from smtpfleet.smtp_in.command import Command
from smtpfleet.smtp_in.content import ContentPhase
from smtpfleet.smtp_in.data import DataReader
from smtpfleet.smtp_in.entrance import Entrance, Surroundings
from smtpfleet.smtp_in.greeting import LAST_LINE, hello
from smtpfleet.smtp_in.mail import AwaitedMail, MailPhase
from smtpfleet.smtp_in.patience import Patience
from smtpfleet.smtp_in.rcpt import AwaitedRcpt, RcptPhase
from smtpfleet.smtp_in.state import COMMAND_STATES, State
from smtpfleet.smtp_in.transaction import Origin, Request, Transaction


class Session(ContentPhase, MailPhase, RcptPhase, AccessPhase):
    """One conversation. The attributes are for reading; `replies` and `request` are emptied by the shell."""

    # The shell is a subclass of aiosmtpd's SMTP, which reads `peer`, `ssl` and `authenticated` of its session.
    __slots__ = (
        "_after_skip", "_around", "_auth_failures", "_awaited", "_detail", "_hides_lines", "_noted_bytes", "_patience", "_row", "_skip_bytes", "_source", "authenticated", "caller", "entrance", "exchange", "id", "is_kicked", "mail_bar", "mail_count", "name", "origin", "own_domain", "peer",
        "replies", "request", "ssl", "state", "tx", "user",
    )  # fmt: skip

    def __init__(self, entrance: Entrance, around: Surroundings, *, peer: str, local_address: str = "") -> None:
        self.entrance = entrance
        listener = entrance.listener
        self.name = entrance.name_at(local_address) if listener.hostnames else entrance.name
        # Submitters need not know where they are (reference 4.4).
        self.own_domain = self.name if entrance.is_submission else ""
        self.id = new_token()
        self.peer = peer
        self.ssl: TlsFacts | None = None
        self.authenticated = False
        self.user = ""
        self.exchange: Mechanism | None = None
        self._auth_failures = 0
        self._hides_lines = False
        self.origin = Origin(
            listener.tag, "", UNKNOWN_HOST, peer, self.name, "SMTP",
            is_masked=listener.mask_source, shows_user=listener.received_auth,
        )  # fmt: skip
        self.caller: Caller | None = None
        self.is_kicked = False
        self.mail_count = 0
        self.tx: Transaction | None = None
        self.replies: list[r.Reply] = [Status(220, "", f"{self.name} ESMTP smtpfleet")]
        self.request: Request | None = None
        self.state = State.INIT
        self._row = TABLE[State.INIT]
        self._around = around
        self._source = entrance.expansions.source_class(peer, is_local=False)
        self._patience = Patience(entrance.configuration.limits)
        self._noted_bytes = 0
        self._skip_bytes = 0
        self._after_skip = State.INIT
        self._detail = ""
        self._awaited: AwaitedMail | AwaitedRcpt | None = None
        self.mail_bar: Status | None = None
        self._judge_access()

    def _enter(self, state: State) -> None:
        self.state = state
        self._row = TABLE[state]

    # The banner.

    def await_welcome(self) -> None:
        """The banner waits for the peer's name, or its permit."""
        self.replies.clear()
        self._enter(State.AWAITING_WELCOME)

    def turn_away(self, status: Status) -> None:
        """There is no permit."""
        self.replies.append(status)
        self.close()

    def hear_own_name(self, name: str) -> None:
        """What the table `hostnames` calls us where the peer has connected to; before the banner."""
        self.name = name
        self.own_domain = name if self.own_domain else ""
        self.origin = structs.replace(self.origin, smtpname=name)

    def welcome(self, hostname: str, *, has_talked: bool) -> None:
        """hostname: the peer's confirmed name, or `<unknown>`. has_talked: bytes came before the banner, which only a program that heeds
        no reply sends (RFC 5321 §4.3.1 has the client wait)."""
        assert self.state is State.AWAITING_WELCOME
        self.origin = structs.replace(self.origin, hostname=hostname)
        self._enter(State.INIT)
        if has_talked:
            self._kick(r.S554_EARLY_TALKER)
        else:
            self.replies.append(Status(220, "", f"{self.name} ESMTP smtpfleet"))

    # Commands.

    def on_command(self, command: Command, arg: bytes, line: bytes) -> None:
        """A command line; only in COMMAND_STATES."""
        reply = self._row[command](self, arg)
        if reply is None:
            self._await_answer(line)
        else:
            self._answer(command, reply, line)

    def _await_answer(self, line: bytes) -> None:
        """MAIL or RCPT, which `line` was, is answered when what we wait for has come."""
        if self._awaited is not None:
            self._awaited = replace(self._awaited, line=line)

    def _answer(self, command: Command, reply: r.Reply, line: bytes) -> None:
        self.replies.append(reply)
        if type(reply) is Status and reply.code >= 400:
            self._note_failed(command, line, reply)
        elif (last := self._patience.note_ok(command)) is not None:
            self._kick(last)

    def on_bad_line(self, line: bytes, status: Status) -> None:
        """A line that is no command."""
        self.replies.append(status)
        if status is r.S500_LINE_TOO_LONG:
            self.is_kicked = True
            self.close()
        self._note_failed(Command.UNKNOWN, line, status)

    def _note_failed(self, command: Command, line: bytes, status: Status) -> None:
        self._around.journal.note_failed_command(self.id, self._loggable(command, line), status, self._detail)
        self._detail = ""
        last = self._patience.note_failed(command, status, is_in_transaction=self.tx is not None)
        if last is not None and self.state is not State.CLOSING:
            self._kick(last)

    def _kick(self, status: Status) -> None:
        self.replies.append(status)
        self.is_kicked = True
        self.close()

    def close(self) -> None:
        """Ends the conversation; an open transaction goes without a trace. A commit on its way is not called back."""
        self._abandon()
        self._enter(State.CLOSING)

    def _abandon(self) -> None:
        """Forgets the open transaction. Chunks sent ahead may go; not those of a commit whose end we do not know, for queue may
        still make it good (their TTL takes them otherwise)."""
        tx, self.tx = self.tx, None
        if tx is None:
            return
        self._note_held(0)
        if (tx.chunk_count or tx.chunk) and self.state is not State.AWAITING_QUEUE_COMMIT:
            self.request = tx.drop_request()

    def _not_now(self, arg: bytes) -> r.Reply:
        return r.S503_NOT_NOW

    def _unknown(self, arg: bytes) -> r.Reply:
        return r.S500_UNRECOGNIZED

    def _helo(self, arg: bytes) -> r.Reply:
        return self._greet(arg, r.S501_HELO_NEEDS_NAME, is_extended=False)

    def _ehlo(self, arg: bytes) -> r.Reply:
        return self._greet(arg, r.S501_EHLO_NEEDS_NAME, is_extended=True)

    # RFC 5321 §4.1.4: a second greeting is a RSET, unless it is refused. OpenSMTPD refuses it always.
    def _helo_again(self, arg: bytes) -> r.Reply:
        return self._greet_again(self._helo(arg))

    def _ehlo_again(self, arg: bytes) -> r.Reply:
        return self._greet_again(self._ehlo(arg))

    def _greet_again(self, reply: r.Reply) -> r.Reply:
        if (last := self._patience.note_idle()) is None:
            return reply
        self.is_kicked = True
        self.close()
        return last

    def _greet(self, arg: bytes, missing: Status, *, is_extended: bool) -> r.Reply:
        if not arg:
            return missing
        helo = arg.decode("ascii", "replace")
        if not is_valid_helo(helo):
            return r.S501_INVALID_NAME
        self._abandon()
        self._renew_origin(helo, "ESMTP" if is_extended else "SMTP")
        self._enter(State.SETUP)
        first = Status(250, "", hello(self.name, helo, self.peer))
        return (first, *self.entrance.extensions, *self.access_lines(), LAST_LINE) if is_extended else first

    def _rcpt(self, arg: bytes) -> r.Reply | None:
        assert self.tx is not None
        args = parse_rcpt_to(
            arg, has_dsn=not self.entrance.listener.no_dsn, is_utf8=self.tx.is_utf8, own_domain=self.own_domain
        )
        if isinstance(args, Status):
            return args
        verdict = self.check_rcpt(args)
        return verdict if verdict is None or isinstance(verdict, Status) else self.accept_rcpt(args, verdict)

    def _data(self, arg: bytes) -> r.Reply:
        assert self.tx is not None
        if arg:
            return r.S501_NO_PARAMETERS
        if not self.tx.rcpts:
            return r.S503_NO_RCPT
        self.tx.reader = DataReader(
            self.entrance.configuration.max_message_size_bytes,
            mends_line_ends=self.entrance.listener.mends_line_ends,
        )
        self._enter(State.DATA)
        return r.S354_ENTER_MAIL

    def _bdat(self, arg: bytes) -> r.Reply | None:
        parsed = parse_bdat(arg)
        if isinstance(parsed, Status):
            self.is_kicked = True
            self.close()  # nobody knows how many octets follow, and they must not be taken for commands
            return parsed
        size_bytes, is_last = parsed
        if size_bytes > self.skip_limit_bytes:
            self.close()
            return r.S552_TOO_BIG
        tx = self.tx
        if tx is None or not tx.rcpts:
            self._skip(size_bytes)
            return r.S503_NOT_NOW if tx is None else r.S503_NO_RCPT
        if size_bytes < SMALL_CHUNK_BYTES and not is_last and (last := self._patience.note_idle()) is not None:
            self.is_kicked = True
            self.close()
            return last
        self.begin_chunk(tx, size_bytes, is_last=is_last)
        return None

    def _rset(self, arg: bytes) -> r.Reply:
        if arg:
            return r.S501_NO_PARAMETERS
        if self.state is not State.INIT:  # there it forgets nothing, and greets nobody
            self._end_transaction()
        return r.S250_RESET

    def _noop(self, arg: bytes) -> r.Reply:
        return r.S250_OK

    def _quit(self, arg: bytes) -> r.Reply:
        if arg:
            return r.S501_NO_PARAMETERS
        self.close()
        return r.S221_BYE

    def _help(self, arg: bytes) -> r.Reply:
        return r.S214_HELP

    def _vrfy(self, arg: bytes) -> r.Reply:
        return r.S252_CANNOT_VERIFY

    def _expn(self, arg: bytes) -> r.Reply:
        return r.S502_NOT_IMPLEMENTED

    def _end_transaction(self) -> None:
        self._abandon()
        self._enter(State.SETUP)


Handler = Callable[[Session, bytes], r.Reply | None]

_ALWAYS: dict[Command, Handler] = {
    Command.NOOP: Session._noop,
    Command.QUIT: Session._quit,
    Command.HELP: Session._help,
    Command.VRFY: Session._vrfy,
    Command.EXPN: Session._expn,
    Command.UNKNOWN: Session._unknown,
}
_ALLOWED: dict[State, dict[Command, Handler]] = {
    # RFC 5321 §4.1.4: RSET as well as what is allowed always.
    State.INIT: {
        Command.HELO: Session._helo,
        Command.EHLO: Session._ehlo,
        Command.BDAT: Session._bdat,
        Command.RSET: Session._rset,
    },
    State.SETUP: {
        Command.HELO: Session._helo_again,
        Command.EHLO: Session._ehlo_again,
        Command.BDAT: Session._bdat,
        Command.MAIL: Session._mail,
        Command.STARTTLS: Session._starttls,
        Command.AUTH: Session._auth,
        Command.RSET: Session._rset,
    },
    State.CHUNKING: {
        Command.HELO: Session._helo_again,
        Command.EHLO: Session._ehlo_again,
        Command.BDAT: Session._bdat,
        Command.RSET: Session._rset,
    },
    State.TRANSACTION: {
        Command.HELO: Session._helo_again,
        Command.EHLO: Session._ehlo_again,
        Command.BDAT: Session._bdat,
        Command.RCPT: Session._rcpt,
        Command.DATA: Session._data,
        Command.RSET: Session._rset,
    },
}
TABLE: dict[State, dict[Command, Handler]] = {
    state: {command: {**_ALWAYS, **_ALLOWED[state]}.get(command, Session._not_now) for command in Command}
    if state in COMMAND_STATES
    else {}
    for state in State
}
"""What each command does in each state. A command outside COMMAND_STATES is a bug of the shell: KeyError."""
