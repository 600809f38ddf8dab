"""One session: a connection to a host, from connecting to QUIT, and the transactions on it.

States go one way, as the table says; a failure before READY is a Status for the connector, which knows other hosts. An EHLO that is
refused becomes HELO unless TLS is demanded; STARTTLS that is not offered or is refused leaves an opportunistic session in clear; a
handshake that fails ends the session, and open_session begins another in clear where the relay allows it (OpenSMTPD 7.8). Used by
connector.py; transactions are transaction.py's, bytes client.py's. OpenSMTPD: mta_session.c, reference 7.7.
"""

import secrets
import ssl
from dataclasses import dataclass
from enum import Enum, auto

from smtpfleet.contracts.status import Status
from smtpfleet.mta.client import Extensions, PeerProtocol, connect_peer, read_extensions
from smtpfleet.mta.exchanger import Host
from smtpfleet.mta.reply import Reply
from smtpfleet.mta.task import Task
from smtpfleet.mta.transaction import Timeouts, Transactor, TxResult
from smtpfleet.runtime.maillog import MailLog

TLS_OPPORTUNISTIC = "opportunistic"
TLS_REQUIRE = "require"
TLS_SMTPS = "smtps"
TLS_NONE = "none"


class SessionState(Enum):
    """Where a session is; AWAITING_* waits for the peer."""

    CONNECTING = auto()
    AWAITING_GREETING = auto()
    AWAITING_EHLO = auto()
    AWAITING_HELO = auto()
    AWAITING_STARTTLS = auto()
    READY = auto()
    IN_TRANSACTION = auto()
    AWAITING_QUIT = auto()
    CLOSED = auto()


_S = SessionState
NEXT_STATES: dict[SessionState, frozenset[SessionState]] = {
    _S.CONNECTING: frozenset({_S.AWAITING_GREETING, _S.CLOSED}),
    _S.AWAITING_GREETING: frozenset({_S.AWAITING_EHLO, _S.CLOSED}),
    _S.AWAITING_EHLO: frozenset({_S.AWAITING_HELO, _S.AWAITING_STARTTLS, _S.READY, _S.CLOSED}),
    _S.AWAITING_HELO: frozenset({_S.READY, _S.CLOSED}),
    _S.AWAITING_STARTTLS: frozenset({_S.AWAITING_EHLO, _S.READY, _S.CLOSED}),
    _S.READY: frozenset({_S.IN_TRANSACTION, _S.AWAITING_QUIT, _S.CLOSED}),
    _S.IN_TRANSACTION: frozenset({_S.READY, _S.CLOSED}),
    _S.AWAITING_QUIT: frozenset({_S.CLOSED}),
    _S.CLOSED: frozenset(),
}


@dataclass(frozen=True, slots=True)
class SessionParameters:
    """What a relay demands of its sessions. context: for TLS of any kind. source: local address, "" for any."""

    helo: str
    port: int
    tls: str
    context: ssl.SSLContext
    source: str
    connect_timeout_s: float
    timeouts: Timeouts


class Session:
    """One connection. Made by open_session."""

    def __init__(self, host: Host, parameters: SessionParameters, log: MailLog) -> None:
        self.id = secrets.token_hex(8)
        self.host = host
        self.source = parameters.source
        self.state = SessionState.CONNECTING
        self.has_failed_handshake = False
        self._parameters = parameters
        self._log = log
        self._peer: PeerProtocol | None = None
        self._tx: Transactor | None = None

    def _enter(self, state: SessionState) -> None:
        assert state in NEXT_STATES[self.state], f"{self.state.name} to {state.name}"
        self.state = state

    # until READY

    async def open(self) -> Status | None:
        """Brings the session to READY; otherwise closes it and says why."""
        p = self._parameters
        self._log.fact(
            self.id,
            "mta connecting",
            address=f"{'smtps' if p.tls == TLS_SMTPS else 'smtp'}://{_in_url(self.host.address)}:{p.port}",
            host=self.host.name,
        )
        failure = await self._open()
        if failure is not None:
            self._fail(failure.text)
        return failure

    async def _open(self) -> Status | None:
        p = self._parameters
        peer = await connect_peer(
            self.host.address,
            p.port,
            source=p.source,
            context=p.context if p.tls == TLS_SMTPS else None,
            name=self.host.tls_name,
            timeout_s=p.connect_timeout_s,
        )
        if isinstance(peer, str):
            return Status(451, "4.4.1", peer)
        self._peer = peer
        self.source = peer.source
        self._log.fact(self.id, "mta connected")
        self._log_tls(peer)
        self._enter(SessionState.AWAITING_GREETING)
        greeting = await peer.read_greeting(p.timeouts.greeting_s)
        if greeting is None or not 200 <= greeting.code < 300:
            return self._rejected("BANNER", greeting)
        extensions = await self._greet()
        if isinstance(extensions, Status):
            return extensions
        if p.tls in (TLS_OPPORTUNISTIC, TLS_REQUIRE):
            extensions = await self._start_tls(extensions)
            if isinstance(extensions, Status):
                return extensions
        self._tx = Transactor(peer, extensions, p.timeouts)
        self._enter(SessionState.READY)
        return None

    async def _greet(self) -> Extensions | Status:
        """EHLO, or HELO where the peer knows no better and nothing of EHLO is needed."""
        peer, p = self._connected(), self._parameters
        self._enter(SessionState.AWAITING_EHLO)
        reply = await peer.command(b"EHLO", p.helo.encode("ascii"), timeout_s=p.timeouts.mail_s)
        if reply is not None and 200 <= reply.code < 300:
            return read_extensions(reply)
        if reply is None or reply.code == 421 or p.tls == TLS_REQUIRE:
            return self._rejected("EHLO", reply)
        self._enter(SessionState.AWAITING_HELO)
        reply = await peer.command(b"HELO", p.helo.encode("ascii"), timeout_s=p.timeouts.mail_s)
        if reply is None or not 200 <= reply.code < 300:
            return self._rejected("HELO", reply)
        return Extensions()

    async def _start_tls(self, extensions: Extensions) -> Extensions | Status:
        """The extensions to go on with: those of the second EHLO, or the first ones where the session stays in clear."""
        peer, p = self._connected(), self._parameters
        is_required = p.tls == TLS_REQUIRE
        if not extensions.has_starttls:
            return Status(451, "4.7.4", "STARTTLS not advertised") if is_required else extensions
        self._enter(SessionState.AWAITING_STARTTLS)
        result = await peer.upgrade(p.context, self.host.tls_name, p.timeouts.data_s)
        if isinstance(result, Reply):
            return self._rejected("STARTTLS", result) if is_required or result.code == 421 else extensions
        if result:
            self.has_failed_handshake = True
            return Status(451, "4.7.5", result)
        self._log_tls(peer)
        # RFC 3207 §4.2: what the peer offered in clear is forgotten.
        return await self._greet()

    def _log_tls(self, peer: PeerProtocol) -> None:
        if tls_text := peer.tls_text:
            self._log.fact(self.id, "mta tls", ciphers=tls_text)

    def _rejected(self, what: str, reply: Reply | None) -> Status:
        """A failure of the session, not of any envelope: always temporary, whatever the peer's first digit (OpenSMTPD mta_error)."""
        if reply is None:
            return Status(451, "4.4.2", self._connected().fault)
        return Status(451, "4.3.0", f"{what} rejected: {reply.code} {reply.last_line}"[:500])

    def _connected(self) -> PeerProtocol:
        assert self._peer is not None
        return self._peer

    # READY

    @property
    def is_usable(self) -> bool:
        """Whether a transaction may begin."""
        return self.state is SessionState.READY and self._tx is not None and self._tx.is_usable

    @property
    def accepted_count(self) -> int:
        """Messages the peer took on this connection."""
        return self._tx.accepted_count if self._tx is not None else 0

    @property
    def mail_count(self) -> int:
        """Transactions begun."""
        return self._tx.mail_count if self._tx is not None else 0

    @property
    def relay_text(self) -> str:
        """The host as the log shows it: `192.0.2.1 (mx.example.org)`."""
        return f"{self.host.address} ({self.host.name})"

    @property
    def end_status(self) -> Status:
        """Why no more transactions may begin here."""
        assert self._tx is not None
        return self._tx.lost_status()

    def fits(self, task: Task) -> bool:
        """Whether the peer takes messages of that size."""
        return self._tx is None or self._tx.fits(task)

    async def deliver(self, task: Task, following: Task | None) -> TxResult:
        """One transaction. Where `following` is given it must be the next one here, or the session must end."""
        assert self._tx is not None
        self._enter(SessionState.IN_TRANSACTION)
        result = await self._tx.send(task, following)
        self._enter(SessionState.READY)
        return result

    # the end

    async def close(self) -> None:
        """QUIT where the peer can still be spoken to, then gone. May be called in any state, and again."""
        if self.state is SessionState.CLOSED:
            return
        reason = "quit"
        peer, tx = self._connected(), self._tx
        if tx is not None and tx.has_announced:
            # Inside DATA nothing but content could follow; the peer drops the transaction with the connection.
            reason = "abandoned"
        elif peer.fault:
            reason = peer.fault
        elif self.state is SessionState.READY:
            self._enter(SessionState.AWAITING_QUIT)
            await peer.command(b"QUIT", timeout_s=self._parameters.timeouts.quit_s)
        peer.abort(reason)
        self._log.fact(self.id, "mta disconnected", reason=reason, messages=self.accepted_count)
        self._enter(SessionState.CLOSED)

    def _fail(self, reason: str) -> None:
        if self._peer is not None:
            self._peer.abort(reason)
        self._log.fact(self.id, "mta error", reason=reason)
        self._enter(SessionState.CLOSED)


async def open_session(host: Host, parameters: SessionParameters, log: MailLog) -> Session | Status:
    """A session that is READY, or why there is none. Opportunistic TLS that fails is tried again in clear, once."""
    session = Session(host, parameters, log)
    failure = await session.open()
    if failure is not None and session.has_failed_handshake and parameters.tls == TLS_OPPORTUNISTIC:
        p = parameters
        in_clear = SessionParameters(p.helo, p.port, TLS_NONE, p.context, p.source, p.connect_timeout_s, p.timeouts)
        session = Session(host, in_clear, log)
        failure = await session.open()
    return session if failure is None else failure


def _in_url(address: str) -> str:
    return f"[{address}]" if ":" in address else address
