"""One session: a connection to a host, from connecting to QUIT, and the transactions on it.

States go one way, as the table says; a failure before READY is a Status for the connector, which knows other hosts. An EHLO that is
refused becomes HELO unless TLS or a password is demanded; STARTTLS that is not offered or is refused leaves an opportunistic session in
clear; what else fails at TLS ends the session, and open_session makes the relay's next attempt, if it has one. Used by connector.py;
transactions are transaction.py's, passwords auth.py's, bytes client.py's. OpenSMTPD: mta_session.c, reference 7.7.
"""

import secrets
import ssl
import time
from dataclasses import dataclass
from enum import Enum, auto

from smtpfleet.contracts.status import Status
from smtpfleet.mta.auth import Credentials, auth_fault, authenticate
from smtpfleet.mta.client import NOT_OUR_ADDRESS, Extensions, PeerProtocol, connect_peer, read_extensions
from smtpfleet.mta.exchanger import Host
from smtpfleet.mta.reply import Reply
from smtpfleet.mta.task import Task
from smtpfleet.mta.transaction import Timeouts, Transactor, TxResult
from smtpfleet.runtime.maillog import MailLog

S451_NOT_OUR_ADDRESS = Status(451, "4.4.1", NOT_OUR_ADDRESS)
"""The source is not an address of this machine: no host can be reached from it, from another perhaps."""

TLS_OPPORTUNISTIC = "opportunistic"
TLS_REQUIRE = "require"
TLS_SMTPS = "smtps"
TLS_SECURE = "secure"
"""`secure://` of the classic form: STARTTLS, else smtps. No session has it: it is two attempts."""
TLS_NONE = "none"


class SessionState(Enum):
    """Where a session is; AWAITING_* waits for the peer."""

    CONNECTING = auto()
    AWAITING_GREETING = auto()
    AWAITING_EHLO = auto()
    AWAITING_HELO = auto()
    AWAITING_STARTTLS = auto()
    AWAITING_AUTH = auto()
    READY = auto()
    IN_TRANSACTION = auto()
    AWAITING_QUIT = auto()
    CLOSED = auto()


_S = SessionState
NEXT_STATES: dict[SessionState, frozenset[SessionState]] = {
    _S.CONNECTING: frozenset({_S.AWAITING_GREETING, _S.CLOSED}),
    _S.AWAITING_GREETING: frozenset({_S.AWAITING_EHLO, _S.CLOSED}),
    _S.AWAITING_EHLO: frozenset({_S.AWAITING_HELO, _S.AWAITING_STARTTLS, _S.AWAITING_AUTH, _S.READY, _S.CLOSED}),
    _S.AWAITING_HELO: frozenset({_S.READY, _S.CLOSED}),
    _S.AWAITING_STARTTLS: frozenset({_S.AWAITING_EHLO, _S.READY, _S.CLOSED}),
    _S.AWAITING_AUTH: frozenset({_S.READY, _S.CLOSED}),
    _S.READY: frozenset({_S.IN_TRANSACTION, _S.AWAITING_QUIT, _S.CLOSED}),
    _S.IN_TRANSACTION: frozenset({_S.READY, _S.CLOSED}),
    _S.AWAITING_QUIT: frozenset({_S.CLOSED}),
    _S.CLOSED: frozenset(),
}


@dataclass(frozen=True, slots=True)
class Attempt:
    """One way to a host. tls: any but secure."""

    tls: str
    port: int


@dataclass(frozen=True, slots=True)
class SessionParameters:
    """What a relay demands of its sessions. attempts: in order, the next where the one before failed at TLS. context: for TLS of any
    kind. source: local address, "" for any. is_lmtp: the peer speaks LMTP (RFC 2033). credentials: None where the relay wants none.
    max_failures: recipients refused in a row that end the session, 0 for any number."""

    helo: str
    attempts: tuple[Attempt, ...]
    context: ssl.SSLContext
    source: str
    connect_timeout_s: float
    timeouts: Timeouts
    is_lmtp: bool = False
    credentials: Credentials | None = None
    max_failures: int = 0


class Session:
    """One connection. Made by open_session."""

    def __init__(self, host: Host, attempt: Attempt, parameters: SessionParameters, log: MailLog) -> None:
        self.id = secrets.token_hex(8)
        self.host = host
        self.source = parameters.source
        self.state = SessionState.CONNECTING
        self.has_failed_tls = False
        self._is_greeted = False
        self.last_mail_at = 0.0
        """When the last transaction ended, monotonic; 0 before the first."""
        self._attempt = attempt
        self._parameters = parameters
        self._log = log
        self._peer: PeerProtocol | None = None
        self._tx: Transactor | None = None

    def _enter(self, state: SessionState) -> None:
        assert state in NEXT_STATES[self.state], f"{self.state.name} to {state.name}"
        self.state = state

    # until READY

    @property
    def may_try_otherwise(self) -> bool:
        """Whether another attempt at this host makes sense: TLS failed, or, where TLS is demanded, nobody took the connection or said a
        word on it, as a peer that waits for TLS from the first byte."""
        return self.has_failed_tls or (self._attempt.tls == TLS_REQUIRE and not self._is_greeted)

    async def open(self) -> Status | None:
        """Brings the session to READY; otherwise closes it and says why."""
        scheme = "lmtp" if self._parameters.is_lmtp else "smtps" if self._attempt.tls == TLS_SMTPS else "smtp"
        self._log.fact(
            self.id,
            "mta connecting",
            address=f"{scheme}://{_in_url(self.host.address)}:{self._attempt.port}",
            host=self.host.name,
        )
        failure = await self._open()
        if failure is not None:
            self._fail(failure.text)
        return failure

    async def _open(self) -> Status | None:
        p, tls = self._parameters, self._attempt.tls
        peer = await connect_peer(
            self.host.address,
            self._attempt.port,
            source=p.source,
            context=p.context if tls == TLS_SMTPS else None,
            name=self.host.tls_name,
            timeout_s=p.connect_timeout_s,
        )
        if isinstance(peer, str):
            return S451_NOT_OUR_ADDRESS if peer == NOT_OUR_ADDRESS else Status(451, "4.4.1", peer)
        self._peer = peer
        self.source = peer.source
        self._log.fact(self.id, "mta connected")
        self._log_tls(peer)
        self._enter(SessionState.AWAITING_GREETING)
        greeting = await peer.read_greeting(p.timeouts.greeting_s)
        self._is_greeted = greeting is not None
        if greeting is None or not 200 <= greeting.code < 300:
            return self._rejected("BANNER", greeting)
        extensions = await self._greet()
        if isinstance(extensions, Status):
            return extensions
        if tls in (TLS_OPPORTUNISTIC, TLS_REQUIRE):
            extensions = await self._start_tls(extensions)
            if isinstance(extensions, Status):
                return extensions
        if p.credentials is not None and (failure := await self._say_who(extensions, p.credentials)) is not None:
            return failure
        self._tx = Transactor(peer, extensions, p.timeouts, is_lmtp=p.is_lmtp, max_failures=p.max_failures)
        self._enter(SessionState.READY)
        return None

    async def _greet(self) -> Extensions | Status:
        """EHLO, or HELO where the peer knows no better and nothing of EHLO is needed; LHLO of LMTP."""
        peer, p = self._connected(), self._parameters
        verb = b"LHLO" if p.is_lmtp else b"EHLO"
        self._enter(SessionState.AWAITING_EHLO)
        reply = await peer.command(verb, p.helo.encode("ascii"), timeout_s=p.timeouts.mail_s)
        if reply is not None and 200 <= reply.code < 300:
            return read_extensions(reply)
        needs_ehlo = p.is_lmtp or p.credentials is not None or self._attempt.tls == TLS_REQUIRE
        if reply is None or reply.code == 421 or needs_ehlo:
            return self._rejected(verb.decode(), reply)
        self._enter(SessionState.AWAITING_HELO)
        reply = await peer.command(b"HELO", p.helo.encode("ascii"), timeout_s=p.timeouts.mail_s)
        if reply is None or not 200 <= reply.code < 300:
            return self._rejected("HELO", reply)
        return Extensions()

    async def _start_tls(self, extensions: Extensions) -> Extensions | Status:
        """The extensions to go on with: those of the second EHLO, or the first ones where the session stays in clear."""
        peer, p = self._connected(), self._parameters
        is_required = self._attempt.tls == TLS_REQUIRE
        if not extensions.has_starttls:
            self.has_failed_tls = is_required
            return Status(451, "4.7.4", "STARTTLS not advertised") if is_required else extensions
        self._enter(SessionState.AWAITING_STARTTLS)
        result = await peer.upgrade(p.context, self.host.tls_name, p.timeouts.data_s)
        if isinstance(result, Reply):
            self.has_failed_tls = is_required
            return self._rejected("STARTTLS", result) if is_required or result.code == 421 else extensions
        if result:
            self.has_failed_tls = True
            return Status(451, "4.7.5", result)
        self._log_tls(peer)
        # RFC 3207 §4.2: what the peer offered in clear is forgotten.
        return await self._greet()

    async def _say_who(self, extensions: Extensions, credentials: Credentials) -> Status | None:
        """AUTH, or why it came to nothing."""
        peer = self._connected()
        fault = auth_fault(extensions, is_encrypted=bool(peer.tls_text))
        if fault is not None:
            return fault
        self._enter(SessionState.AWAITING_AUTH)
        reply = await authenticate(peer, extensions, credentials, self._parameters.timeouts.mail_s)
        if reply is None or reply.code != 235:
            return self._rejected("AUTH", reply)
        self._log.fact(self.id, "mta authenticated", user=credentials.user)
        return None

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
    def has_failed_too_often(self) -> bool:
        """Whether it is over because too many recipients were refused in a row."""
        return self._tx is not None and self._tx.has_failed_too_often

    @property
    def relay_text(self) -> str:
        """The host as the log shows it: `192.0.2.1 (mx.example.org)`."""
        return f"{self.host.address} ({self.host.name})"

    @property
    def end_status(self) -> Status:
        """Why no more transactions may begin here."""
        assert self._tx is not None
        return self._tx.lost_status()

    def refusal(self, task: Task) -> Status | None:
        """Why the peer cannot have this task, by what its EHLO offers; None where it can."""
        return self._tx.refusal(task) if self._tx is not None else None

    @property
    def has_dsn(self) -> bool:
        """Whether the peer is told what the sender wants to hear (RFC 3461 §5.2.1)."""
        return self._tx is not None and self._tx.has_dsn

    async def deliver(self, task: Task, following: Task | None) -> TxResult:
        """One transaction. Where `following` is given it must be the next one here, or the session must end."""
        assert self._tx is not None
        self._enter(SessionState.IN_TRANSACTION)
        result = await self._tx.send(task, following)
        self.last_mail_at = time.monotonic()
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
    """A session that is READY, or why there is none: the failure of the last attempt."""
    failure: Status | None = None
    for attempt in parameters.attempts:
        session = Session(host, attempt, parameters, log)
        failure = await session.open()
        if failure is None:
            return session
        if not session.may_try_otherwise:
            break
    assert failure is not None
    return failure


def _in_url(address: str) -> str:
    return f"[{address}]" if ":" in address else address
