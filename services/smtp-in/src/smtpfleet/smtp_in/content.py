"""The part of a session that receives content and hands it to queue: end of data, chunks sent ahead, the commit, the verdicts.

Session inherits it; commands are session's business, and so is `_enter` and `_abandon`. A message up to an inline limit goes with its
commit, a larger one in chunks ahead of it (DESIGN section 4); only an ok to the commit makes the message ours (law 1). OpenSMTPD:
smtp_session.c smtp_message_end and the IMSG_QUEUE_* answers.
"""

from smtpfleet.contracts.commands import CHUNK_BYTES, INLINE_CONTENT_LIMIT_BYTES, CommitVerdict
from smtpfleet.contracts.status import S451_LOCAL_ERROR, S452_STORE_FULL, S554_LOOP_DETECTED, Status
from smtpfleet.mail.headers import HOP_LIMIT, count_hops, header_block, separate_body
from smtpfleet.mail.received import date_text
from smtpfleet.smtp_in import reply as r
from smtpfleet.smtp_in.bdat import ChunkReader
from smtpfleet.smtp_in.callers import Caller
from smtpfleet.smtp_in.data import BLOCK_BYTES, DataReader
from smtpfleet.smtp_in.entrance import Entrance, Surroundings
from smtpfleet.smtp_in.pace import Progress
from smtpfleet.smtp_in.patience import Patience
from smtpfleet.smtp_in.state import State
from smtpfleet.smtp_in.transaction import Origin, Request, Transaction

ID_DRAWS_LIMIT = 4
"""msgids drawn for one message before 451. 20 random bits per millisecond: a second collision is already a fault."""
SKIP_FACTOR = 4
SKIP_AT_LEAST_BYTES = 128 * 1024 * 1024
"""What is refused is read up to so many times the limit for messages: clients that do not know it send such messages, and hear 552 only at
their end. More is sent by none that means it. Chosen."""
_INLINE_LIMIT_BYTES = (
    INLINE_CONTENT_LIMIT_BYTES - 4096
)  # room for our Received header: names and an rcpt, each under 1 KiB


class ContentPhase:
    """What Session inherits; the attributes are Session's."""

    # Session has the slots; spelled so that mypy does not take this class to have none of its attributes.
    __slots__ = tuple[str, ...]()

    _around: Surroundings
    _after_skip: State
    _noted_bytes: int
    _patience: Patience
    _skip_bytes: int
    caller: Caller | None
    entrance: Entrance
    id: str
    mail_count: int
    origin: Origin
    replies: list[r.Reply]
    request: Request | None
    state: State
    tx: Transaction | None

    def _enter(self, state: State) -> None:
        raise NotImplementedError

    def _end_transaction(self) -> None:
        raise NotImplementedError

    def close(self) -> None:
        """As Session."""
        raise NotImplementedError

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
        elif reader.refusal is not None and reader.received_bytes > self.skip_limit_bytes:
            self._refuse_message(reader.refusal)
            self.close()
        return taken

    @property
    def skip_limit_bytes(self) -> int:
        """How much of what is refused is read, to stay in step and be heard; beyond it the session ends."""
        return max(SKIP_FACTOR * self.entrance.configuration.max_message_size_bytes, SKIP_AT_LEAST_BYTES)

    def content_progress(self) -> Progress | None:
        """Which message's content is on its way and how many octets have come, counted from anywhere; None for commands and waits."""
        if self.state is State.SKIP:
            return "", -self._skip_bytes
        if self.state not in (State.DATA, State.CHUNK, State.CHUNKING):
            return None
        tx = self.tx
        assert tx is not None and tx.reader is not None
        return tx.msgid, tx.reader.received_bytes

    def begin_chunk(self, tx: Transaction, size_bytes: int, *, is_last: bool) -> None:
        """The octets of a BDAT follow."""
        if tx.reader is None:
            tx.reader = ChunkReader(
                self.entrance.configuration.max_message_size_bytes,
                mends_line_ends=self.entrance.listener.mends_line_ends,
            )
        assert isinstance(tx.reader, ChunkReader), "DATA leads to a state without BDAT"
        tx.reader.begin(size_bytes, is_last=is_last)
        self._enter(State.CHUNK)
        if not size_bytes:
            self._go_on_with_chunk(tx, tx.reader)

    @property
    def chunk_left_bytes(self) -> int:
        """How many octets of the BDAT have not come. Only in CHUNK_STATES."""
        if self.state is State.SKIP:
            return self._skip_bytes
        assert self.tx is not None and isinstance(self.tx.reader, ChunkReader)
        return self.tx.reader.left_bytes

    def on_chunk(self, data: bytes) -> int:
        """Octets after BDAT; returns how many were its. Only in CHUNK_STATES."""
        if self.state is State.SKIP:
            taken = min(len(data), self._skip_bytes)
            self._skip_bytes -= taken
            if not self._skip_bytes:
                self._enter(self._after_skip)
            return taken
        tx = self.tx
        assert tx is not None and isinstance(tx.reader, ChunkReader)
        taken = tx.reader.feed(data)
        self._note_held(tx.reader.memory_bytes)
        self._go_on_with_chunk(tx, tx.reader)
        return taken

    def _go_on_with_chunk(self, tx: Transaction, reader: ChunkReader) -> None:
        if reader.is_complete:
            self._end_content(tx, reader)
        elif reader.held_bytes >= self._enough_for_chunk(tx) and (tx.chunk_count or self._is_head_fine(tx, reader)):
            self._send_chunk(tx, reader)
        elif reader.is_chunk_complete:
            if reader.refusal is not None:
                self._refuse_message(reader.refusal)  # BDATs behind it find no transaction (RFC 3030 §2)
            else:
                self.replies.append(Status(250, "2.0.0", f"{reader.size_bytes} octets received"))
                self._enter(State.CHUNKING)

    def _skip(self, size_bytes: int) -> None:
        """The octets of a refused BDAT follow (RFC 3030 §2: they are accepted and thrown away)."""
        if size_bytes:
            self._skip_bytes, self._after_skip = size_bytes, self.state
            self._enter(State.SKIP)

    def _note_held(self, now_bytes: int) -> None:
        self._around.memory.held_bytes += now_bytes - self._noted_bytes
        self._noted_bytes = now_bytes

    def _enough_for_chunk(self, tx: Transaction) -> int:
        """How much content must be held before a chunk of it goes ahead."""
        if self._around.memory.is_short:
            return BLOCK_BYTES
        return CHUNK_BYTES if tx.chunk_count else _INLINE_LIMIT_BYTES

    def _is_head_fine(self, tx: Transaction, reader: DataReader) -> bool:
        """Before the first chunk: nothing wrong with the header, then ours goes in front."""
        if not self._pass_header(tx, reader):
            return False
        self._prepend_received(tx, reader)
        return True

    def _prepend_received(self, tx: Transaction, reader: DataReader) -> None:
        reader.prepend(tx.received(self.origin, date_text(self._around.now_s())))

    def _send_chunk(self, tx: Transaction, reader: DataReader) -> None:
        tx.chunk = reader.take(CHUNK_BYTES)
        self.request = tx.append_request()
        self._enter(State.AWAITING_QUEUE_APPEND)

    def _end_content(self, tx: Transaction, reader: DataReader) -> None:
        if tx.chunk_count:
            self._send_rest(tx, reader)
        elif reader.refusal is not None or not self._pass_header(tx, reader):
            assert reader.refusal is not None
            self._refuse_message(reader.refusal)
        elif reader.held_bytes > _INLINE_LIMIT_BYTES:  # asked now: what is done with the header may add to it
            self._prepend_received(tx, reader)
            self._send_rest(tx, reader)
        else:
            self._ask_commit(tx)

    def _pass_header(self, tx: Transaction, reader: DataReader) -> bool:
        """What is done with the header of every message; `reader` holds all of it, or the first chunk. False: it is refused."""
        content = reader.peek()
        block = header_block(content)
        separated = separate_body(content, block)
        if separated is not content:
            reader.replace(separated)
        if count_hops(block) >= HOP_LIMIT:
            reader.refuse(S554_LOOP_DETECTED)
            return False
        if tx.is_utf8:
            tx.has_utf8_header = not block.isascii()
        if self.entrance.completion is not None:
            self.entrance.completion.apply(reader, tx, self.origin, self._around.now_s())
            self._note_held(reader.memory_bytes)
        return reader.refusal is None

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
        self._enter(State.CHUNK if isinstance(tx.reader, ChunkReader) else State.DATA)
        if verdict is not CommitVerdict.OK:
            tx.reader.refuse(_refusal_of(verdict))
        tx.sent_bytes += len(tx.chunk)
        tx.chunk_count += 1
        tx.chunk = b""
        if tx.reader.is_complete:
            self._send_rest(tx, tx.reader)
        elif tx.reader.held_bytes >= self._enough_for_chunk(tx):
            self._send_chunk(tx, tx.reader)
        elif isinstance(tx.reader, ChunkReader) and tx.reader.is_chunk_complete:
            self._go_on_with_chunk(tx, tx.reader)

    def on_commit_verdict(self, verdict: CommitVerdict) -> None:
        """What became of the message; no answer counts as failed. Only after ok is it ours."""
        tx = self.tx
        assert self.state is State.AWAITING_QUEUE_COMMIT and tx is not None
        if verdict is CommitVerdict.TAKEN and not tx.chunk_count and tx.id_count < ID_DRAWS_LIMIT:
            tx.draw_id(int(self._around.now_s() * 1000))
            self._ask_commit(tx)
        elif verdict is CommitVerdict.OK:
            self.mail_count += 1
            if self.caller is not None:
                self.caller.note_rcpts(len(tx.rcpts))
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
