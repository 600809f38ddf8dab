"""The conversation with one peer as a state machine without sockets: what may come when, what is answered, what is asked of queue.

Theory of operation. The shell (server.Connection) hands in facts: a command (`on_command`), bytes of content (`on_content`), an answer
from queue (`on_append_verdict`, `on_commit_verdict`), a line it could not read (`on_bad_line`). Each may put replies into `replies`, a
request into `request`, and change `state`; the shell sends the replies, passes the request on, and looks at the state to know what the
next bytes are. In a state called AWAITING_… it hands in nothing but the answer; what the peer pipelines meanwhile stays in its buffer.

    INIT         --EHLO, HELO-->       SETUP
    SETUP        --MAIL-->             TRANSACTION   (msgid and token are drawn here)
    TRANSACTION  --RCPT-->             TRANSACTION   (expanded under the snapshot the session began with)
    TRANSACTION  --DATA-->             DATA          (at least one accepted rcpt)
    DATA         --enough for a chunk--> AWAITING_QUEUE_APPEND --ok--> DATA, or the next chunk, or the commit
    DATA         --end of data-->      AWAITING_QUEUE_COMMIT, or SETUP where the content is refused
    AWAITING_QUEUE_COMMIT --any verdict--> SETUP     (250 only for ok; `taken` draws another msgid and asks again)
    any          --QUIT, too much of something--> CLOSING

AWAITING_RCPT_VERDICT is reserved for recipients that another role has to be asked about; `accept_rcpt` is where such an answer resumes.
STARTTLS and AUTH will be two rows of the table and one more state each. OpenSMTPD: smtp_session.c, phases INIT, SETUP, TRANSACTION;
its 4-command kick is looser here because a peer may pipeline (docs/parity.md). RFC 5321 §4.1.4 for the order of commands.
"""

from collections.abc import Callable, Sequence

from smtpfleet.contracts.commands import CHUNK_BYTES, INLINE_CONTENT_LIMIT_BYTES, CommitVerdict
from smtpfleet.contracts.ids import new_msgid, new_token
from smtpfleet.contracts.status import S451_LOCAL_ERROR, S452_STORE_FULL, S554_LOOP_DETECTED, Status, StatusClass
from smtpfleet.mail.address import is_valid_helo
from smtpfleet.mail.expand import Destination
from smtpfleet.mail.grammar import parse_mail_from, parse_rcpt_to
from smtpfleet.mail.headers import HOP_LIMIT, count_received
from smtpfleet.mail.received import UNKNOWN_HOST, date_text
from smtpfleet.mail.ruleset import SessionFacts
from smtpfleet.smtp_in import reply as r
from smtpfleet.smtp_in.command import Command
from smtpfleet.smtp_in.data import BLOCK_BYTES, DataReader
from smtpfleet.smtp_in.entrance import Entrance, Surroundings
from smtpfleet.smtp_in.patience import Patience
from smtpfleet.smtp_in.state import COMMAND_STATES, State
from smtpfleet.smtp_in.transaction import Origin, Request, Transaction

ID_DRAWS_LIMIT = 4
"""msgids drawn for one message before 451. 20 random bits per millisecond: a second collision is already a fault."""
_INLINE_LIMIT_BYTES = (
    INLINE_CONTENT_LIMIT_BYTES - 4096
)  # room for our Received header: names and an rcpt, each under 1 KiB


class Session:
    """One conversation. The attributes are for reading; `replies` and `request` are emptied by the shell."""

    # The shell is a subclass of aiosmtpd's SMTP, which reads `peer`, `ssl` and `authenticated` of its session.
    __slots__ = (
        "_around", "_detail", "_noted_bytes", "_patience", "_row", "_source", "authenticated", "entrance", "id", "is_local", "mail_count", "origin", "peer",
        "replies", "request", "ssl", "state", "tx",
    )  # fmt: skip

    def __init__(self, entrance: Entrance, around: Surroundings, *, peer: str, is_local: bool) -> None:
        self.entrance = entrance
        self.id = new_token()
        self.peer = peer
        self.is_local = is_local
        self.ssl: object | None = None
        self.authenticated = False
        self.origin = Origin(entrance.listener.tag, "", UNKNOWN_HOST, peer, entrance.name, "SMTP")
        self.mail_count = 0
        self.tx: Transaction | None = None
        self.replies: list[r.Reply] = [Status(220, "", f"{entrance.name} ESMTP smtpfleet")]
        self.request: Request | None = None
        self.state = State.INIT
        self._row = TABLE[State.INIT]
        self._around = around
        self._source = entrance.expansions.source_class(peer, is_local=is_local)
        self._patience = Patience()
        self._noted_bytes = 0
        self._detail = ""

    def _enter(self, state: State) -> None:
        self.state = state
        self._row = TABLE[state]

    # Commands.

    def on_command(self, command: Command, arg: bytes, line: bytes) -> None:
        """A command line; only in COMMAND_STATES."""
        reply = self._row[command](self, arg)
        self.replies.append(reply)
        if type(reply) is Status and reply.code >= 400:
            self._note_failed(command, line, reply)
        elif (last := self._patience.note_ok(command)) is not None:
            self._kick(last)

    def on_bad_line(self, line: bytes, status: Status) -> None:
        """A line that is no command."""
        self.replies.append(status)
        if status is r.S500_LINE_TOO_LONG:
            self.close()
        self._note_failed(Command.UNKNOWN, line, status)

    def _note_failed(self, command: Command, line: bytes, status: Status) -> None:
        self._around.journal.note_failed_command(self.id, line, status, self._detail)
        self._detail = ""
        last = self._patience.note_failed(command, status, is_in_transaction=self.tx is not None)
        if last is not None and self.state is not State.CLOSING:
            self._kick(last)

    def _kick(self, status: Status) -> None:
        self.replies.append(status)
        self.close()

    def close(self) -> None:
        """Ends the conversation; an open transaction goes without a trace. A commit on its way is not called back."""
        self._abandon()
        self._enter(State.CLOSING)

    def _abandon(self) -> None:
        """Forgets the open transaction. Chunks sent ahead may go; not those of a commit whose end we do not know, for queue may
        still make it good (their TTL takes them otherwise)."""
        tx, self.tx = self.tx, None
        self._note_held(0)
        if tx is not None and (tx.chunk_count or tx.chunk) and self.state is not State.AWAITING_QUEUE_COMMIT:
            self.request = tx.drop_request()

    def _not_now(self, arg: bytes) -> r.Reply:
        return r.S503_NOT_NOW

    def _unknown(self, arg: bytes) -> r.Reply:
        return r.S500_UNRECOGNIZED

    # A second EHLO is refused, as OpenSMTPD does; RFC 5321 §4.1.4 would let it reset the session.
    def _helo(self, arg: bytes) -> r.Reply:
        return self._greet(arg, r.S501_HELO_NEEDS_NAME, is_extended=False)

    def _ehlo(self, arg: bytes) -> r.Reply:
        return self._greet(arg, r.S501_EHLO_NEEDS_NAME, is_extended=True)

    def _already_identified(self, arg: bytes) -> r.Reply:
        return r.S503_ALREADY_IDENTIFIED

    def _greet(self, arg: bytes, missing: Status, *, is_extended: bool) -> r.Reply:
        if not arg:
            return missing
        helo = arg.decode("ascii", "replace")
        if not is_valid_helo(helo):
            return r.S501_INVALID_NAME
        name = self.entrance.name
        protocol = "ESMTP" if is_extended else "SMTP"
        self.origin = Origin(self.entrance.listener.tag, helo, UNKNOWN_HOST, self.peer, name, protocol)
        self._enter(State.SETUP)
        literal = f"IPv6:{self.peer}" if ":" in self.peer else self.peer
        hello = f"{name} Hello {helo} [{literal}], pleased to meet you"
        if not is_extended:
            return Status(250, "", hello)
        size = f"SIZE {self.entrance.configuration.max_message_size_bytes}"
        texts = (hello, "8BITMIME", "ENHANCEDSTATUSCODES", size, "PIPELINING", "HELP")
        return tuple([Status(250, "", text) for text in texts])

    def _mail(self, arg: bytes) -> r.Reply:
        sender = self.check_mail(arg)
        return sender if isinstance(sender, Status) else self.accept_mail(sender)

    def check_mail(self, arg: bytes) -> str | Status:
        """The sender, or why no transaction may begin."""
        args = parse_mail_from(arg)
        if isinstance(args, Status):
            return args
        if self.mail_count >= self.entrance.configuration.limits.max_mails:
            return r.S452_TOO_MANY_MAILS
        if args.size_bytes > self.entrance.configuration.max_message_size_bytes:
            return r.S552_TOO_BIG  # RFC 1870 §6.1
        if self._around.memory.is_short:
            return S452_STORE_FULL
        return self._around.mail_refusal() or args.sender

    def accept_mail(self, sender: str) -> Status:
        """Begins a transaction."""
        origin = self.origin
        facts = SessionFacts(tag=origin.tag, peer=self.peer, is_local=self.is_local, sender=sender, helo=origin.helo)
        self.tx = Transaction(facts, sender, new_msgid(int(self._around.now_s() * 1000)), new_token())
        self._enter(State.TRANSACTION)
        return r.S250_OK

    def _rcpt(self, arg: bytes) -> r.Reply:
        assert self.tx is not None
        args = parse_rcpt_to(arg)
        if isinstance(args, Status):
            return args
        verdict = self.check_rcpt(args.rcpt)
        return verdict if isinstance(verdict, Status) else self.accept_rcpt(args.rcpt, verdict)

    def check_rcpt(self, rcpt: str) -> tuple[Destination, ...] | Status:
        """Where `rcpt` leads under the session's ruleset, or why nowhere."""
        assert self.tx is not None
        if len(self.tx.rcpts) >= self.entrance.configuration.limits.max_rcpt:
            return r.S452_TOO_MANY_RCPTS
        expansion = self.entrance.expansions.expand(self.tx.facts, self._source, rcpt)
        if expansion.refusal is None:
            return expansion.destinations
        self._detail = expansion.detail
        if expansion.refusal.status_class is StatusClass.PERMANENT and self._patience.note_rejected_rcpt():
            self.close()  # the refusal itself is still sent
        return expansion.refusal

    def accept_rcpt(self, rcpt: str, destinations: Sequence[Destination]) -> Status:
        """Adds a recipient that may be accepted."""
        assert self.tx is not None
        self.tx.rcpts.append(rcpt)
        self.tx.destinations.extend([(rcpt, destination) for destination in destinations])
        return r.S250_RCPT_OK

    def _data(self, arg: bytes) -> r.Reply:
        assert self.tx is not None
        if arg:
            return r.S501_NO_PARAMETERS
        if not self.tx.rcpts:
            return r.S503_NO_RCPT
        self.tx.reader = DataReader(self.entrance.configuration.max_message_size_bytes)
        self._enter(State.DATA)
        return r.S354_ENTER_MAIL

    def _rset(self, arg: bytes) -> r.Reply:
        if arg:
            return r.S501_NO_PARAMETERS
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

    # Content and what queue says.

    def on_content(self, data: bytes) -> int:
        """Bytes after 354; returns how many were content. Only in DATA."""
        tx = self.tx
        assert tx is not None and tx.reader is not None
        reader = tx.reader
        taken = reader.feed(data)
        self._note_held(reader.memory_bytes)
        if reader.is_complete:
            self._end_content(tx, reader)
        elif reader.held_bytes >= self._enough_for_chunk(tx) and (tx.chunk_count or self._is_head_fine(tx, reader)):
            self._send_chunk(tx, reader)
        return taken

    def _note_held(self, now_bytes: int) -> None:
        self._around.memory.held_bytes += now_bytes - self._noted_bytes
        self._noted_bytes = now_bytes

    def _enough_for_chunk(self, tx: Transaction) -> int:
        """How much content must be held before a chunk of it goes ahead."""
        if self._around.memory.is_short:
            return BLOCK_BYTES
        return CHUNK_BYTES if tx.chunk_count else _INLINE_LIMIT_BYTES

    def _is_head_fine(self, tx: Transaction, reader: DataReader) -> bool:
        """Before the first chunk: no loop, then our header goes in front."""
        if count_received(reader.peek()) >= HOP_LIMIT:
            reader.refuse(S554_LOOP_DETECTED)
            return False
        reader.prepend(tx.received(self.origin, date_text(self._around.now_s())))
        return True

    def _send_chunk(self, tx: Transaction, reader: DataReader) -> None:
        tx.chunk = reader.take(CHUNK_BYTES)
        self.request = tx.append_request()
        self._enter(State.AWAITING_QUEUE_APPEND)

    def _end_content(self, tx: Transaction, reader: DataReader) -> None:
        if tx.chunk_count or (reader.held_bytes > _INLINE_LIMIT_BYTES and self._is_head_fine(tx, reader)):
            self._send_rest(tx, reader)
            return
        if reader.refusal is None and count_received(reader.peek()) >= HOP_LIMIT:
            reader.refuse(S554_LOOP_DETECTED)
        if reader.refusal is None:
            self._ask_commit(tx)
        else:
            self._refuse_message(reader.refusal)

    def _send_rest(self, tx: Transaction, reader: DataReader) -> None:
        """The end of data has been read and the message goes in chunks: the next of them, the commit, or the refusal."""
        if reader.refusal is not None:
            self._refuse_message(reader.refusal)
        elif reader.held_bytes:
            self._send_chunk(tx, reader)
        else:
            self._ask_commit(tx)

    def _ask_commit(self, tx: Transaction) -> None:
        if not tx.chunk_count:
            assert tx.reader is not None
            tx.content = tx.received(self.origin, date_text(self._around.now_s())) + tx.reader.peek()
        self.request = tx.commit_request(self.origin)
        self._enter(State.AWAITING_QUEUE_COMMIT)

    def on_append_verdict(self, verdict: CommitVerdict) -> None:
        """What became of the chunk on its way; no answer counts as failed."""
        tx = self.tx
        assert self.state is State.AWAITING_QUEUE_APPEND and tx is not None and tx.reader is not None
        if verdict is CommitVerdict.TAKEN and tx.chunk_count == 0 and tx.id_count < ID_DRAWS_LIMIT:
            body = tx.chunk[tx.header_bytes :]
            tx.draw_id(int(self._around.now_s() * 1000))
            tx.chunk = tx.received(self.origin, date_text(self._around.now_s())) + body
            self.request = tx.append_request()
            return
        self._enter(State.DATA)
        if verdict is not CommitVerdict.OK:
            tx.reader.refuse(_refusal_of(verdict))
        tx.sent_bytes += len(tx.chunk)
        tx.chunk_count += 1
        tx.chunk = b""
        if tx.reader.is_complete:
            self._send_rest(tx, tx.reader)
        elif tx.reader.held_bytes >= self._enough_for_chunk(tx):
            self._send_chunk(tx, tx.reader)

    def on_commit_verdict(self, verdict: CommitVerdict) -> None:
        """What became of the message; no answer counts as failed. Only after ok is it ours."""
        tx = self.tx
        assert self.state is State.AWAITING_QUEUE_COMMIT and tx is not None
        if verdict is CommitVerdict.TAKEN and not tx.chunk_count and tx.id_count < ID_DRAWS_LIMIT:
            tx.draw_id(int(self._around.now_s() * 1000))
            self._ask_commit(tx)
        elif verdict is CommitVerdict.OK:
            self.mail_count += 1
            self._patience.note_message()
            self.replies.append(Status(250, "2.0.0", f"{tx.msgid} Message accepted for delivery"))
            self._around.journal.note_accepted_message(self.id, self.origin, tx)
            self.tx = None
            self._note_held(0)
            self._enter(State.SETUP)
        else:
            self._refuse_message(_refusal_of(verdict))

    def _refuse_message(self, status: Status) -> None:
        assert self.tx is not None
        self.replies.append(status)
        self._around.journal.note_refused_message(self.id, self.tx.msgid, status)
        self._end_transaction()


def _refusal_of(verdict: CommitVerdict) -> Status:
    return S452_STORE_FULL if verdict is CommitVerdict.FULL else S451_LOCAL_ERROR


Handler = Callable[[Session, bytes], r.Reply]

_ALWAYS: dict[Command, Handler] = {
    Command.NOOP: Session._noop,
    Command.QUIT: Session._quit,
    Command.HELP: Session._help,
    Command.VRFY: Session._vrfy,
    Command.EXPN: Session._expn,
    Command.UNKNOWN: Session._unknown,
}
_ALLOWED: dict[State, dict[Command, Handler]] = {
    State.INIT: {Command.HELO: Session._helo, Command.EHLO: Session._ehlo},
    State.SETUP: {
        Command.HELO: Session._already_identified,
        Command.EHLO: Session._already_identified,
        Command.MAIL: Session._mail,
        Command.RSET: Session._rset,
    },
    State.TRANSACTION: {
        Command.HELO: Session._already_identified,
        Command.EHLO: Session._already_identified,
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
