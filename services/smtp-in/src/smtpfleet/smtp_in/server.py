"""Connections: bytes in, sessions fed, replies out. The only module that knows aiosmtpd.

Connection is aiosmtpd's SMTP protocol with its life cycle kept and its inside replaced: no stream reader and no task per connection, no
inspection of methods per connection, no log call per line. All that has arrived is consumed at once and all replies to it leave in one
write (RFC 2920). Verbs are dispatched by aiosmtpd's naming, smtp_VERB, collected once for the class; what a verb does is decided by the
session's table. Server holds what connections share. Called by the event loop; built by app. OpenSMTPD: smtp.c, the I/O of smtp_session.c.
"""

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import cast

from aiosmtpd.smtp import SMTP

from smtpfleet.contracts.commands import AppendContent, CommitMessage, CommitVerdict
from smtpfleet.contracts.status import S421_SHUTTING_DOWN
from smtpfleet.mail.received import UNKNOWN_HOST
from smtpfleet.smtp_in.command import COMMAND_LINE_LIMIT_BYTES, Command, parse_line
from smtpfleet.smtp_in.committer import Committer
from smtpfleet.smtp_in.entrance import Entrance, Surroundings
from smtpfleet.smtp_in.gate import Gate
from smtpfleet.smtp_in.journal import FactLog
from smtpfleet.smtp_in.memory import ContentMemory
from smtpfleet.smtp_in.reply import S421_TOO_MANY_SESSIONS, S500_LINE_TOO_LONG, encode_reply
from smtpfleet.smtp_in.session import Session
from smtpfleet.smtp_in.state import COMMAND_STATES, HELD_STATES, State

SESSION_TIMEOUT_S = 300
"""OpenSMTPD SMTPD_SESSION_TIMEOUT; RFC 5321 §4.5.3.2.7."""
SWEEP_EVERY_S = 5
"""How often quiet sessions are looked for; one timer for all of them. Chosen."""
PROGRESS_BYTES = 1024
"""Content that must come within SESSION_TIMEOUT_S to count as progress, so that a byte a minute holds no session. Chosen."""
BUFFER_LIMIT_BYTES = 64 * 1024
"""What a peer may pipeline while it waits for queue; beyond it we stop reading. Chosen: hundreds of commands."""

_QUIET_TICKS = SESSION_TIMEOUT_S // SWEEP_EVERY_S


class Server:
    """What all connections of this process share: who they are, the way to queue, the journal."""

    def __init__(
        self,
        *,
        committer: Committer,
        gate: Gate,
        journal: FactLog,
        max_sessions: int,
        content_memory_bytes: int,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self.committer = committer
        self.journal = journal
        self.memory = ContentMemory(content_memory_bytes)
        self.around = Surroundings(now_s, gate.refusal, journal, self.memory)
        self.max_sessions = max_sessions
        self.connections: set[Connection] = set()
        self.is_draining = False
        self._emptied = asyncio.Event()

    def leave(self, connection: "Connection") -> None:
        """A connection is gone."""
        self.connections.discard(connection)
        if not self.connections:
            self._emptied.set()

    async def sweep(self) -> None:
        """Closes sessions that have been quiet too long; runs for the life of the process."""
        while True:
            await asyncio.sleep(SWEEP_EVERY_S)
            for connection in list(self.connections):
                connection.tick()

    async def drain(self) -> None:
        """Dismisses who is idle and waits for messages whose content is on its way. Listeners are closed already."""
        self.is_draining = True
        for connection in list(self.connections):
            connection.dismiss()
        while self.connections:
            self._emptied.clear()
            await self._emptied.wait()

    def abort(self) -> None:
        """Ends what drain could not wait for; a peer without its 250 keeps its copy."""
        for connection in list(self.connections):
            connection.abort()


class Connection(SMTP):
    """One connection. `session` is ours; aiosmtpd's attributes for TLS stay where they are for the issue that brings it."""

    session: Session  # type: ignore[assignment]
    transport: asyncio.Transport | None

    def __init__(self, server: Server, entrance: Callable[[], Entrance]) -> None:
        # Not super().__init__: it makes a reader, reads the host name and inspects all methods, for every connection.
        self._server = server
        self._entrance = entrance
        self.transport = None
        self._buffer = b""
        self._reason = ""
        self._quiet_ticks = 0
        self._progress_bytes = 0
        self._is_reading_paused = False
        self._is_writing_paused = False
        self._is_half_closed = False

    def __del__(self) -> None:
        """aiosmtpd cleans up a future here that we never make."""

    # The life of the connection, called by the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greets, or turns away."""
        transport = cast(asyncio.Transport, transport)  # uvloop's is one by its methods only
        self.transport = transport
        server = self._server
        if len(server.connections) >= server.max_sessions or server.is_draining:
            transport.write(encode_reply(S421_SHUTTING_DOWN if server.is_draining else S421_TOO_MANY_SESSIONS))
            self._reason = "turned-away"
            transport.close()
            return
        peername = transport.get_extra_info("peername")
        peer = peername[0] if peername else ""
        entrance = self._entrance()
        self.session = Session(entrance, server.around, peer=peer, is_local=entrance.is_local(peer))
        server.connections.add(self)
        server.journal.note_connected(self.session.id, peer, UNKNOWN_HOST)
        self._send_replies()

    def data_received(self, data: bytes) -> None:
        """Bytes from the peer."""
        if self._buffer:
            data = self._buffer + data
        if self._is_held():
            self._buffer = data
            if len(data) > BUFFER_LIMIT_BYTES:
                self._pause_reading()
            return
        self._consume(data)

    def eof_received(self) -> bool | None:
        """The peer will send no more; where it still waits for a verdict, it gets it first."""
        if self not in self._server.connections:
            return False
        self._reason = self._reason or "eof"
        self._is_half_closed = self.transport is not None and not self._is_closing() and self._is_held()
        return self._is_half_closed

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is gone, by whichever side."""
        self.transport = None
        self._buffer = b""
        if self not in self._server.connections:
            return  # turned away
        if self.session.state is not State.CLOSING and self.session.state is not State.AWAITING_QUEUE_COMMIT:
            self.session.close()
            self._pass_request()
        self._server.leave(self)
        self._server.journal.note_disconnected(self.session.id, self._reason or ("io-error" if error else "eof"))

    def pause_writing(self) -> None:
        """The peer does not read its replies: we read no more commands until it does."""
        self._is_writing_paused = True
        self._pause_reading()

    def resume_writing(self) -> None:
        """It does again."""
        self._is_writing_paused = False
        self._proceed()

    # Bytes to session.

    def _is_closing(self) -> bool:
        return self.session.state is State.CLOSING

    def _is_held(self) -> bool:
        return self._is_writing_paused or self.session.state in HELD_STATES

    def _consume(self, data: bytes) -> None:
        """Feeds the session all it can take now and answers it in one write; the rest stays in the buffer."""
        session = self.session
        start, size = 0, len(data)
        while start < size:
            state = session.state
            if state is State.DATA:
                start += self._read_content(data[start:] if start else data)
            elif state in COMMAND_STATES:
                end = data.find(b"\n", start, start + COMMAND_LINE_LIMIT_BYTES + 1) + 1
                if not end:
                    if size - start > COMMAND_LINE_LIMIT_BYTES:
                        session.on_bad_line(data[start : start + COMMAND_LINE_LIMIT_BYTES], S500_LINE_TOO_LONG)
                    break
                self._obey(data[start:end])
                start = end
            else:
                break
            if session.request is not None:
                self._pass_request()
        self._buffer = data[start:] if start < size else b""
        self._send_replies()

    def _read_content(self, data: bytes) -> int:
        taken = self.session.on_content(data)
        self._progress_bytes += taken
        if self._progress_bytes >= PROGRESS_BYTES or self.session.state is not State.DATA:
            self._quiet_ticks = self._progress_bytes = 0
        return taken

    def _obey(self, line: bytes) -> None:
        self._quiet_ticks = 0
        parsed = parse_line(line)
        if type(parsed) is tuple:
            verb, arg = parsed
            _VERBS.get(verb, _obey_unknown)(self, arg, line)
        else:
            self.session.on_bad_line(line, parsed)  # type: ignore[arg-type]

    def _send_replies(self) -> None:
        session = self.session
        replies = session.replies
        if replies:
            if self.transport is not None:
                wire = encode_reply(replies[0]) if len(replies) == 1 else b"".join(map(encode_reply, replies))
                self.transport.write(wire)
            replies.clear()
        if session.state is State.CLOSING and self.transport is not None:
            self._reason = self._reason or "quit"
            self._buffer = b""
            self.transport.close()

    # Session to queue and back.

    def _pass_request(self) -> None:
        request, self.session.request = self.session.request, None
        if request is None:
            return
        committer = self._server.committer
        if isinstance(request, CommitMessage):
            committer.submit(request, self._on_commit_verdict)
        elif isinstance(request, AppendContent):
            self._pause_reading()
            committer.append(request, partial(self._on_append_verdict, self.session.tx))
        else:
            committer.drop(request)

    def _on_commit_verdict(self, verdict: CommitVerdict) -> None:
        self.session.on_commit_verdict(verdict)
        self._pass_request()
        self._proceed()

    def _on_append_verdict(self, tx: object, verdict: CommitVerdict) -> None:
        if self.session.state is not State.AWAITING_QUEUE_APPEND or self.session.tx is not tx:
            return  # the connection was lost while the chunk was on its way
        self.session.on_append_verdict(verdict)
        self._pass_request()
        self._proceed()

    def _proceed(self) -> None:
        """Goes on after a wait: replies first, then what the peer has pipelined meanwhile."""
        self._quiet_ticks = 0
        if self.transport is None:
            self.session.replies.clear()
            return
        if self._server.is_draining and self.session.state in COMMAND_STATES:
            self.dismiss()
            return
        if self._buffer and not self._is_held():
            self._consume(self._buffer)
        else:
            self._send_replies()
        if not self._is_held() and self.transport is not None:
            if self._is_half_closed:
                self.transport.close()
            else:
                self._resume_reading()

    def _pause_reading(self) -> None:
        if not self._is_reading_paused and self.transport is not None and not self.transport.is_closing():
            self._is_reading_paused = True
            self.transport.pause_reading()

    def _resume_reading(self) -> None:
        if self._is_reading_paused and self.transport is not None and not self.transport.is_closing():
            self._is_reading_paused = False
            self.transport.resume_reading()

    # What the server does to a connection.

    def tick(self) -> None:
        """Another SWEEP_EVERY_S have gone by. Waiting for queue is bounded by the committer and no fault of the peer."""
        if self.session.state in (State.AWAITING_QUEUE_APPEND, State.AWAITING_QUEUE_COMMIT):
            return
        self._quiet_ticks += 1
        if self._quiet_ticks > _QUIET_TICKS:
            self._reason = "timeout"
            self.abort()  # without a reply, as OpenSMTPD; nor would a peer that reads nothing let us close in order

    def dismiss(self) -> None:
        """421, unless content or a verdict is on its way; then as soon as that is over."""
        if self.session.state in COMMAND_STATES:
            self._reason = "shutdown"
            self.session.replies.append(S421_SHUTTING_DOWN)
            self.session.close()
            self._send_replies()

    def abort(self) -> None:
        """Cuts the connection."""
        self._reason = self._reason or "shutdown"
        if self.transport is not None:
            self.transport.abort()


Verb = Callable[[Connection, bytes, bytes], None]


def _verb(command: Command) -> Verb:
    """An smtp_VERB method that hands the command to the session."""

    def obey(connection: Connection, arg: bytes, line: bytes) -> None:
        connection.session.on_command(command, arg, line)

    return obey


for _command in Command:
    setattr(Connection, f"smtp_{_command}", _verb(_command))
# aiosmtpd's own smtp_STARTTLS and smtp_AUTH are not among them: they wait for the issue that brings TLS and AUTH.
_VERBS: dict[bytes, Verb] = {
    name[5:].encode(): method for name, method in vars(Connection).items() if name.startswith("smtp_")
}
_obey_unknown = _VERBS[Command.UNKNOWN.encode()]
