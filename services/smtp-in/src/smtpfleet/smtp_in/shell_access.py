"""The part of a connection that carries out what access asks for: the handshake of STARTTLS, the question to the credentials.

Connection inherits it; what is said and when is access's. While either lasts the session is held in a state of its own, and reading is
paused before the handshake, so that not one byte of plain text can be taken for one under TLS. OpenSMTPD: the TLS part of smtp_io.
"""

import asyncio
from typing import Protocol

from smtpfleet.smtp_in.access_request import AccessRequest, AuthAnswer, AuthVerdict, StartTls
from smtpfleet.smtp_in.arrival import Arrived
from smtpfleet.smtp_in.auth import EXCHANGE_LINE_LIMIT_BYTES
from smtpfleet.smtp_in.credentials import Authenticator
from smtpfleet.smtp_in.handshake import facts_of, secure
from smtpfleet.smtp_in.journal import FactLog
from smtpfleet.smtp_in.session import Session
from smtpfleet.smtp_in.state import State


class AccessServer(Protocol):
    """What all connections share, as far as access goes."""

    authenticator: Authenticator | None
    journal: FactLog
    handshakes: set[asyncio.Task[None]]


class AccessShell:
    """What Connection inherits; the attributes are Connection's."""

    _server: AccessServer
    _buffer: bytes
    _reason: str
    session: Session
    transport: asyncio.Transport | None

    def _pause_reading(self) -> None:
        raise NotImplementedError

    def _proceed(self) -> None:
        raise NotImplementedError

    def _pass_request(self) -> None:
        raise NotImplementedError

    def _note_arrival(self, arrived: Arrived) -> bool:
        """What the way here has shown of the peer; whether its name is known with it."""
        session = self.session
        if arrived.uid is not None:
            self._server.journal.note_connected(session.id, session.peer, f"{arrived.uid}@localhost")
            session.on_submission(arrived.uid)
            return True
        facts = facts_of(self.transport) if self.transport is not None else None
        if facts is not None:
            session.on_tls(facts, is_new=False)
        return False

    def _pass_access_request(self, request: AccessRequest) -> None:
        """A request of access; its end is heard later."""
        if isinstance(request, StartTls):
            self._pause_reading()
            # The task begins after this turn: 220 is on its way then, and what was pipelined behind STARTTLS has been noticed.
            task = asyncio.get_running_loop().create_task(self._secure(request), name="handshake")
            self._server.handshakes.add(task)
            task.add_done_callback(self._server.handshakes.discard)
            return
        authenticator = self._server.authenticator
        if authenticator is None:
            asyncio.get_running_loop().call_soon(self._on_auth_answer, AuthVerdict.TEMPORARY)
        else:
            authenticator.submit(request, self._on_auth_answer)

    def _on_auth_answer(self, answer: AuthAnswer) -> None:
        if self.session.state is not State.AWAITING_AUTH_VERDICT:
            return  # the connection was lost meanwhile
        self.session.on_auth_answer(answer)
        self._pass_request()
        self._proceed()

    async def _secure(self, request: StartTls) -> None:
        session, transport = self.session, self.transport
        if session.state is not State.AWAITING_TLS_HANDSHAKE or transport is None or transport.is_closing():
            return
        if self._buffer:
            transport.abort()  # plain text that came although reading is paused: a fault of ours, never to be obeyed
            return
        secured = await secure(transport, self, request.context)  # type: ignore[arg-type]
        if isinstance(secured, str):
            self._server.journal.note_tls_failed(session.id, session.peer, secured)
            self._reason = self._reason or "tls-failed"
            transport.abort()
            self.connection_lost(None)
            return
        facts = facts_of(secured)
        if self.transport is None or facts is None:
            secured.abort()
            return
        self.transport = secured
        self._is_reading_paused = False
        # What is in the buffer by now has come out of TLS: some loops deliver before they wake us.
        session.on_tls(facts, is_new=True)
        self._proceed()

    def connection_lost(self, error: Exception | None) -> None:
        """As Connection; may come twice for one connection."""
        raise NotImplementedError

    def _read_auth_line(self, data: bytes, start: int) -> int:
        """Where the next line begins after one of an AUTH exchange, or `start` while the line is incomplete."""
        end = data.find(b"\n", start, start + EXCHANGE_LINE_LIMIT_BYTES) + 1
        if end:
            self.session.on_auth_line(data[start:end])
            return end
        if len(data) - start >= EXCHANGE_LINE_LIMIT_BYTES:
            self.session.on_auth_overflow()
        return start


def find_long_auth(data: bytes, start: int) -> int | None:
    """A command line that is too long for any other command may be an AUTH with its initial response: where it ends, 0 while it is
    incomplete; None where it is no AUTH, or longer than RFC 4954 §4 lets it be."""
    if data[start : start + 5].upper() != b"AUTH ":
        return None
    end = data.find(b"\n", start, start + EXCHANGE_LINE_LIMIT_BYTES) + 1
    return end if end or len(data) - start < EXCHANGE_LINE_LIMIT_BYTES else None
