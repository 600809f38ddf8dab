"""Connections: bytes in, sessions fed, replies out. The only module that knows aiosmtpd.

Connection is aiosmtpd's SMTP protocol with its life cycle kept and its inside replaced: no stream reader and no task per connection, no
inspection of methods per connection, no log call per line. All that has arrived is consumed at once and all replies to it leave in one
write (RFC 2920). What a verb does is decided by the session's table. What connections share is in connections. Called by the event loop; made by app. OpenSMTPD: the I/O of smtp_session.c.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import cast

from aiosmtpd.smtp import SMTP

from smtpfleet.contracts.commands import AppendContent, CommitMessage, CommitVerdict, DropContent, TableQuery
from smtpfleet.contracts.status import S421_SHUTTING_DOWN, Status
from smtpfleet.mail.expand import Expansion
from smtpfleet.mail.received import UNKNOWN_HOST
from smtpfleet.mail.tables import TableError
from smtpfleet.smtp_in.arrival import Arrived
from smtpfleet.smtp_in.command import COMMAND_LINE_LIMIT_BYTES, Command, parse_line
from smtpfleet.smtp_in.connections import SWEEP_EVERY_S, Server
from smtpfleet.smtp_in.entrance import Entrance
from smtpfleet.smtp_in.expansions import Unresolved
from smtpfleet.smtp_in.gate import Trouble
from smtpfleet.smtp_in.lingering import Lingering
from smtpfleet.smtp_in.pace import Pace
from smtpfleet.smtp_in.reply import S221_BYE, S421_TOO_MANY_SESSIONS, S500_LINE_TOO_LONG, encode_reply
from smtpfleet.smtp_in.session import Session
from smtpfleet.smtp_in.shell_access import AccessShell, find_long_auth
from smtpfleet.smtp_in.state import CHUNK_STATES, COMMAND_STATES, HELD_STATES, State

PROGRESS_BYTES = 1024
"""Content that must come within the session timeout to count as progress, so that a byte a minute holds no session. Chosen."""
BUFFER_LIMIT_BYTES = 64 * 1024
"""What a peer may pipeline while it waits for queue; beyond it we stop reading. Chosen: hundreds of commands."""

SILENCE_S = 0.001
"""How long a peer that is not local must keep silent, where `limit session greet-pause` asks for no more: a turn of the loop, so that
what has arrived with the connection is seen. Chosen."""
TURNED_AWAY = "turned-away"
"""Why a connection ends that never began a session: counted, not logged, as a flood of them must not become one of the log."""

_COMMANDS = {command.encode(): command for command in Command if command is not Command.UNKNOWN}
_BOUNDED_STATES = frozenset(
    {
        State.AWAITING_QUEUE_APPEND,
        State.AWAITING_QUEUE_COMMIT,
        State.AWAITING_RCPT_VERDICT,
        State.AWAITING_SENDER_VERDICT,
    }
)


class Connection(AccessShell, SMTP):
    """One connection. `session` is ours, and so is TLS: aiosmtpd's own has no place for what was pipelined before it."""

    _server: Server
    session: Session  # type: ignore[assignment]
    transport: asyncio.Transport | None

    def __init__(self, server: Server, entrance: Callable[[], Entrance], arrived: Arrived | None = None) -> None:
        # Not super().__init__: it makes a reader, reads the host name and inspects all methods, for every connection.
        self._server = server
        self._entrance = entrance
        self._arrived = arrived
        self.transport = None
        self._buffer = b""
        self._reason = ""
        self._hostname = UNKNOWN_HOST
        self._local_address = ""
        self._may_talk_early = False
        self._awaited_count = 0
        self._quiet_ticks = 0
        self._progress_bytes = 0
        self._pace: Pace | None = None
        self._is_reading_paused = False
        self._is_writing_paused = False
        self._is_half_closed = False
        self._lingering: Lingering | None = None

    def __del__(self) -> None:
        """aiosmtpd cleans up a future here that we never make."""

    # The life of the connection, called by the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greets, or turns away."""
        transport = cast(asyncio.Transport, transport)  # uvloop's is one by its methods only
        self.transport = transport
        server = self._server
        if server.is_draining:
            self._turn_away(S421_SHUTTING_DOWN)
            return
        if len(server.connections) >= server.max_sessions:
            server.shedding.note(Trouble.SESSIONS)
            self._turn_away(S421_TOO_MANY_SESSIONS)
            return
        entrance, arrived = self._entrance(), self._arrived
        if arrived is None:
            peername = transport.get_extra_info("peername")
            peer = peername[0] if peername else ""
            is_local = entrance.is_local(peer)
            caller = server.callers.admit(peer) if server.callers is not None and not is_local else None
        else:
            peer, is_local, caller = arrived.peer, arrived.is_local, arrived.caller
        if isinstance(caller, Status):
            self._turn_away(caller)
            return
        if entrance.listener.hostnames:
            local_address = arrived.local if arrived is not None else transport.get_extra_info("sockname")[0]
            self._local_address = local_address
        self.session = Session(entrance, server.around, peer=peer, local_address=self._local_address)
        self.session.caller = caller
        self._may_talk_early = is_local
        server.connections.add(self)
        self._welcome()

    def _turn_away(self, status: Status) -> None:
        assert self.transport is not None
        self.transport.write(encode_reply(status))
        self._reason = TURNED_AWAY
        self.transport.close()
        if self._arrived is not None and self._arrived.caller is not None:
            self._arrived.caller.leave()

    def _welcome(self) -> None:
        """The banner, at once or when the peer's name, our own and its permit are known and it has kept silent."""
        server, session = self._server, self.session
        if self._arrived is not None and self._note_arrival(self._arrived):
            self._send_replies()
            return
        if session.caller is not None:
            self._awaited_count += server.admit(session.caller, self._on_permit)
            self._awaited_count += 1
            pause_s = session.entrance.configuration.limits.greet_pause_s or SILENCE_S
            asyncio.get_running_loop().call_later(pause_s, self._on_silence)
        if (question := session.entrance.name_question(self._local_address)) is not None:
            server.look_up(question, self._on_own_name)
            self._awaited_count += 1
        if server.welcome is not None:
            self._awaited_count += server.welcome.look_up(session.peer, self._on_hostname)
        if self._awaited_count:
            session.await_welcome()
            return
        server.journal.note_connected(session.id, session.peer, UNKNOWN_HOST)
        self._send_replies()

    def _on_silence(self) -> None:
        """The peer has had time to say something too early; whether it has is in the buffer."""
        self._greet()

    def _on_hostname(self, hostname: str) -> None:
        self._hostname = hostname
        self._greet()

    def _on_own_name(self, answer: str | TableError | None) -> None:
        """What the table `hostnames` calls us here. Where it cannot answer (config has logged it) we are called as the listener is."""
        if isinstance(answer, str) and answer:
            self.session.hear_own_name(answer)
        self._greet()

    def _on_permit(self, refusal: Status | None) -> None:
        if refusal is not None and self.session.state is State.AWAITING_WELCOME:
            self._reason = TURNED_AWAY
            self.session.turn_away(refusal)
            self._proceed()
        self._greet()

    def _greet(self) -> None:
        """One of the things a banner waits for has come."""
        self._awaited_count -= 1
        session, transport = self.session, self.transport
        if self._awaited_count or session.state is not State.AWAITING_WELCOME:
            return  # another is still missing; or the connection was lost, or has been turned away, meanwhile
        if transport is None or transport.is_closing():
            return
        self._server.journal.note_connected(session.id, session.peer, self._hostname)
        session.welcome(self._hostname, has_talked=bool(self._buffer) and not self._may_talk_early)
        self._proceed()

    def data_received(self, data: bytes) -> None:
        """Bytes from the peer."""
        if self._buffer:
            data = self._buffer + data
        if self._is_held():
            if self._lingering is not None:
                self._lingering.take(len(data))
                return
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
        is_plain = self.session.ssl is None  # TLS cannot half close: the loop ends the connection whatever we say
        self._is_half_closed = self.transport is not None and is_plain and not self._is_closing() and self._is_held()
        return self._is_half_closed

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is gone, by whichever side."""
        self.transport = None
        self._buffer = b""
        if self._lingering is not None:
            self._lingering.end()
        if self not in self._server.connections:
            return  # turned away
        if self.session.state is State.AWAITING_WELCOME:
            self._server.journal.note_connected(self.session.id, self.session.peer, self._hostname)
        if self.session.state is not State.CLOSING and self.session.state is not State.AWAITING_QUEUE_COMMIT:
            self.session.close()
            self._pass_request()
        if self.session.caller is not None:
            self.session.caller.leave()
            if self.session.is_kicked:
                self.session.caller.note_failure()
        self._server.leave(self)
        if self._reason != TURNED_AWAY:
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
                if not end and not (end := self._end_of_long_line(data, start)):
                    break
                self._obey(data[start:end])
                start = end
            elif state in CHUNK_STATES:
                # No more than is the chunk's: many small ones in one write must not each copy all that follows.
                start += self._read_chunk(data[start : start + session.chunk_left_bytes])
            elif state is State.AUTHENTICATING:
                after = self._read_auth_line(data, start)
                if after == start:
                    break
                start = after
            else:
                if state is State.AWAITING_TLS_HANDSHAKE:
                    session.on_plaintext_before_tls()
                break
            if session.request is not None:
                self._pass_request()
        self._buffer = data[start:] if start < size else b""
        self._send_replies()

    def _end_of_long_line(self, data: bytes, start: int) -> int:
        """Where a line ends that is longer than a command may be, because it is an AUTH; 0 for one that is not complete, or too long."""
        if len(data) - start <= COMMAND_LINE_LIMIT_BYTES:
            return 0
        end = find_long_auth(data, start)
        if end is None:
            self.session.on_bad_line(data[start : start + COMMAND_LINE_LIMIT_BYTES], S500_LINE_TOO_LONG)
        return end or 0

    def _read_content(self, data: bytes) -> int:
        taken = self.session.on_content(data)
        self._progress_bytes += taken
        if self._progress_bytes >= PROGRESS_BYTES or self.session.state is not State.DATA:
            self._quiet_ticks = self._progress_bytes = 0
        return taken

    def _read_chunk(self, data: bytes) -> int:
        taken = self.session.on_chunk(data)
        self._progress_bytes += taken
        if self._progress_bytes >= PROGRESS_BYTES:
            self._quiet_ticks = self._progress_bytes = 0
        return taken

    def _obey(self, line: bytes) -> None:
        self._quiet_ticks = 0
        parsed = parse_line(line)
        if type(parsed) is tuple:
            verb, arg = parsed
            self.session.on_command(_COMMANDS.get(verb, Command.UNKNOWN), arg, line)
        else:
            self.session.on_bad_line(line, parsed)  # type: ignore[arg-type]

    def _send_replies(self) -> None:
        session = self.session
        replies = session.replies
        has_quit = False
        if replies:
            has_quit = replies[-1] is S221_BYE
            if self.transport is not None:
                wire = encode_reply(replies[0]) if len(replies) == 1 else b"".join(map(encode_reply, replies))
                self.transport.write(wire)
            replies.clear()
        if session.state is State.CLOSING and self.transport is not None:
            self._reason = self._reason or "quit"
            self._buffer = b""
            self._close(self.transport, has_quit=has_quit)

    def _close(self, transport: asyncio.Transport, *, has_quit: bool) -> None:
        """At once where the peer has said that it is done, else when it has had time to hear why."""
        if has_quit or self._is_half_closed or not transport.can_write_eof():
            transport.close()
        elif self._lingering is None and not transport.is_closing():
            self._lingering = Lingering(transport)
            self._resume_reading()

    # Session to queue and back.

    def _pass_request(self) -> None:
        request, self.session.request = self.session.request, None
        if request is None:
            return
        committer = self._server.committer
        if isinstance(request, CommitMessage):
            committer.submit(request, self._on_commit_verdict)
        elif isinstance(request, Unresolved):
            self._server.inquire(request, partial(self._on_rcpt_verdict, self.session.tx))
        elif isinstance(request, TableQuery):
            self._server.look_up(request, self._on_sender_answer)
        elif isinstance(request, AppendContent):
            self._pause_reading()
            committer.append(request, partial(self._on_append_verdict, self.session.tx))
        elif isinstance(request, DropContent):
            committer.drop(request)
        else:
            self._pass_access_request(request)

    def _on_commit_verdict(self, verdict: CommitVerdict) -> None:
        self.session.on_commit_verdict(verdict)
        self._pass_request()
        self._proceed()

    def _on_rcpt_verdict(self, tx: object, expansion: Expansion) -> None:
        if self.session.state is not State.AWAITING_RCPT_VERDICT or self.session.tx is not tx:
            return  # the connection was lost while config or mda thought about it
        self.session.on_rcpt_verdict(expansion)
        self._pass_request()
        self._proceed()

    def _on_sender_answer(self, answer: str | TableError | None) -> None:
        if self.session.state is not State.AWAITING_SENDER_VERDICT:
            return  # the connection was lost while config thought about it
        self.session.on_sender_answer(answer)
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
        if self.transport is None or self.transport.is_closing():
            self.session.replies.clear()  # the peer is gone, and nothing it has pipelined is obeyed any more
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
        """Another SWEEP_EVERY_S have gone by. Waiting for another role is bounded by who asks it and no fault of the peer."""
        if self.session.state in _BOUNDED_STATES:
            return
        self._quiet_ticks += 1
        limits = self.session.entrance.configuration.limits
        if limits.session_timeout_s and self._quiet_ticks > limits.session_timeout_s // SWEEP_EVERY_S:
            self._reason = "timeout"
            self.session.is_kicked = True
            self.abort()  # without a reply, as OpenSMTPD; nor would a peer that reads nothing let us close in order
            return
        self._pace = pace = Pace.after(self._pace, self.session.content_progress())
        if pace is not None and pace.is_too_slow(SWEEP_EVERY_S, limits.min_content_bytes_per_s):
            self._reason = "too-slow"
            self.session.is_kicked = True
            self.abort()

    def dismiss(self) -> None:
        """421, unless content or a verdict is on its way; then as soon as that is over."""
        if self.session.state in COMMAND_STATES or self.session.state is State.AUTHENTICATING:
            self._reason = "shutdown"
            self.session.replies.append(S421_SHUTTING_DOWN)
            self.session.close()
            self._send_replies()

    def abort(self) -> None:
        """Cuts the connection."""
        self._reason = self._reason or "shutdown"
        if self.transport is not None:
            self.transport.abort()
