"""The part of a session that decides who may go on: STARTTLS, AUTH, and what they are a condition of.

Session inherits it; the mechanisms are auth's, the verdicts credentials', the handshake handshake's. `mail_bar` says at any time why no
message may begin, worked out when access changes and never per command. No line of an AUTH exchange is ever logged, not even one that
was meant for a command we did not take. OpenSMTPD: smtp_session.c smtp_check_starttls, smtp_check_auth; reference 4.3, 4.5, 4.6, 11.3.
RFC 3207, RFC 4954; RFC 8314 §3.3 for AUTH without TLS.
"""

import re
from base64 import b64encode

from msgspec import structs

from smtpfleet.contracts.status import Status
from smtpfleet.mail.credentials import SCRAM
from smtpfleet.smtp_in import reply as r
from smtpfleet.smtp_in.access_request import AuthAnswer, AuthRequest, AuthVerdict, StartTls, TlsFacts
from smtpfleet.smtp_in.auth import (
    S501_BAD_BASE64,
    Challenge,
    Mechanism,
    Move,
    ScramSha256,
    decode_response,
    new_mechanism,
)
from smtpfleet.smtp_in.command import Command
from smtpfleet.smtp_in.entrance import Entrance, Surroundings
from smtpfleet.smtp_in.expansions import SourceClass
from smtpfleet.smtp_in.scram import ScramKeys
from smtpfleet.smtp_in.state import State
from smtpfleet.smtp_in.transaction import Origin, Request

AUTH_FAILURES_LIMIT = 3
"""Failed authentications in one session; then it is closed. Chosen, Postfix and others allow about as many before they hang up."""
_HIDDEN = b"(not logged)"
_is_mechanism_name = re.compile(rb"[A-Za-z0-9_-]{1,20}").fullmatch
"""RFC 4422 §3.1; in any case, as we take them."""
_VERDICTS = {
    AuthVerdict.FAILED: r.S535_AUTH_FAILED,
    AuthVerdict.TEMPORARY: r.S454_AUTH_UNAVAILABLE,
    AuthVerdict.BANNED: r.S454_AUTH_BANNED,
}


class AccessPhase:
    """What Session inherits; the attributes are Session's."""

    # Session has the slots; spelled so that mypy does not take this class to have none of its attributes.
    __slots__ = tuple[str, ...]()

    _around: Surroundings
    _auth_failures: int
    _hides_lines: bool
    _source: SourceClass
    authenticated: bool
    entrance: Entrance
    exchange: Mechanism | None
    id: str
    is_kicked: bool
    mail_bar: Status | None
    origin: Origin
    peer: str
    replies: list[r.Reply]
    request: Request | None
    ssl: TlsFacts | None
    state: State
    user: str

    def _enter(self, state: State) -> None:
        raise NotImplementedError

    def _note_failed(self, command: Command, line: bytes, status: Status) -> None:
        raise NotImplementedError

    def close(self) -> None:
        """As Session."""
        raise NotImplementedError

    # What access the session has.

    def _judge_access(self) -> None:
        """Works out what must come before MAIL."""
        listener = self.entrance.listener
        if listener.tls == "require" and self.ssl is None:
            self.mail_bar = r.S530_STARTTLS_FIRST
        elif listener.auth == "required" and not self.authenticated:
            self.mail_bar = r.S530_AUTH_FIRST
        else:
            self.mail_bar = None

    def on_tls(self, facts: TlsFacts, *, is_new: bool) -> None:
        """The connection is secure. is_new: by STARTTLS, so all that was said before is forgotten (RFC 3207 §4.2); else from the start."""
        self.ssl = facts
        self._around.journal.note_tls(self.id, facts.text)
        self.origin = structs.replace(self.origin, tls=facts.text)
        self._judge_access()
        if is_new:
            self._enter(State.INIT)

    def on_submission(self, uid: int) -> None:
        """The peer is a process of this machine on the submission socket: authenticated by its kernel (reference 4.9)."""
        self.authenticated = True
        self._source = self.entrance.expansions.source_class(self.peer, is_local=True)
        self.origin = structs.replace(self.origin, hostname=f"{uid}@localhost", is_authenticated=True)
        self._judge_access()

    def _renew_origin(self, helo: str, protocol: str) -> None:
        """What messages of this session come from, from this greeting on."""
        if self.ssl is not None:
            protocol += "S"
        if self.user:
            protocol += "A"
        self.origin = structs.replace(self.origin, helo=helo, protocol=protocol)

    def access_lines(self) -> tuple[Status, ...]:
        """What EHLO offers of STARTTLS and AUTH now."""
        lines: list[Status] = []
        tls = self.entrance.tls
        if self.ssl is None and tls is not None and tls.context is not None and self._has_starttls():
            lines.append(r.S250_STARTTLS)
        if self._may_authenticate() and self.ssl is not None:
            lines.append(r.S250_AUTH_SCRAM if self._has_scram() else r.S250_AUTH)
        return tuple(lines)

    def _has_scram(self) -> bool:
        """Whether the table holds SCRAM keys and nothing else: a client that prefers SCRAM could not be verified against any other kind
        of hash, and does not always try another mechanism."""
        kinds, authenticator = self.entrance.password_kinds, self._around.authenticator
        if authenticator is None:
            return False
        return kinds == (SCRAM,) if kinds else authenticator.has_scram_keys(self.entrance.listener.auth_table)

    def _has_starttls(self) -> bool:
        return self.entrance.listener.tls in ("starttls", "require")

    def _may_authenticate(self) -> bool:
        listener = self.entrance.listener
        return listener.auth != "none" and bool(listener.auth_table) and not self.authenticated

    # STARTTLS.

    def _starttls(self, arg: bytes) -> r.Reply:
        if self.ssl is not None:
            return r.S503_ALREADY_SECURE
        if not self._has_starttls():
            return r.S503_NOT_SUPPORTED
        if arg:
            return r.S501_NO_PARAMETERS
        tls = self.entrance.tls
        if tls is None or tls.context is None:
            return r.S454_TLS_UNAVAILABLE
        self.request = StartTls(tls.context)
        self._enter(State.AWAITING_TLS_HANDSHAKE)
        return r.S220_READY_FOR_TLS

    def on_plaintext_before_tls(self) -> None:
        """The peer has sent more behind STARTTLS before it heard 220: what it said there must never count as said under TLS
        (CVE-2011-0411 and its kin). The session ends."""
        self.replies = [each for each in self.replies if each is not r.S220_READY_FOR_TLS]
        self.replies.append(r.S554_PLAINTEXT_BEFORE_TLS)
        self._around.journal.note_failed_command(self.id, b"STARTTLS", r.S554_PLAINTEXT_BEFORE_TLS, "")
        self.is_kicked = True
        self.close()

    # AUTH.

    def _auth(self, arg: bytes) -> r.Reply | None:
        refusal = self._check_auth(arg)
        if refusal is not None:
            return refusal
        name, _, text = arg.partition(b" ")
        exchange = new_mechanism(name)
        if exchange is None:
            # Only a well-formed name is repeated: replies are ASCII (RFC 5321 §4.2), whatever the peer sends.
            shown = f' "{name.decode("ascii")}"' if _is_mechanism_name(name) else ""
            return Status(504, "5.5.4", f"AUTH method{shown} not supported")
        # RFC 4954 §4: `=` is an initial response of no bytes.
        initial = None if not text else b"" if text == b"=" else decode_response(text)
        if text and initial is None:
            return S501_BAD_BASE64
        self.exchange = exchange
        return self._follow(exchange.begin(initial))

    def _check_auth(self, arg: bytes) -> Status | None:
        """Why nobody may authenticate now."""
        authenticator = self._around.authenticator
        if self.authenticated:
            return r.S503_ALREADY_AUTHENTICATED
        if not self._may_authenticate() or authenticator is None:
            return r.S503_NOT_SUPPORTED
        if self.ssl is None:
            return r.S538_ENCRYPTION_REQUIRED
        if authenticator.is_banned(self.peer):
            self.close()
            return r.S421_AUTH_BANNED
        return None if arg else r.S501_NO_MECHANISM

    def _follow(self, move: Move) -> r.Reply | None:
        """The reply that a mechanism's move leads to, or None where somebody has to be asked first."""
        if isinstance(move, Challenge):
            self._enter(State.AUTHENTICATING)
            return Status(334, "", b64encode(move.text).decode("ascii"))
        if isinstance(move, Status):
            self._end_exchange()
            return move
        tls = self.entrance.tls
        self.request = AuthRequest(move, self.peer, self.entrance.listener.auth_table, tls.secret if tls else b"")
        self._enter(State.AWAITING_AUTH_VERDICT)
        return None

    def _end_exchange(self) -> None:
        self.exchange = None
        self._enter(State.SETUP)

    def on_auth_line(self, line: bytes) -> None:
        """A line of the exchange, with its line end; only in AUTHENTICATING."""
        assert self.exchange is not None
        reply: r.Reply | None
        if not line.endswith(b"\r\n"):
            reply = self._follow(r.S500_BARE_LF)
        elif line == b"*\r\n":
            reply = self._follow(r.S501_AUTH_CANCELLED)
        elif (response := decode_response(line[:-2])) is None:
            reply = self._follow(S501_BAD_BASE64)
        else:
            reply = self._follow(self.exchange.respond(response))
        if reply is not None:
            self._answer_auth(reply)

    def on_auth_overflow(self) -> None:
        """A line of the exchange is longer than RFC 4954 §4 allows; where it ends nobody knows."""
        self.exchange = None
        self._answer_auth(r.S500_AUTH_LINE_TOO_LONG)
        self.is_kicked = True
        self.close()

    def on_auth_answer(self, answer: AuthAnswer) -> None:
        """What was asked is known; only in AWAITING_AUTH_VERDICT."""
        assert self.state is State.AWAITING_AUTH_VERDICT
        if isinstance(answer, ScramKeys):
            assert isinstance(self.exchange, ScramSha256)
            reply = self._follow(self.exchange.hear_keys(answer))
            assert reply is not None
            self.replies.append(reply)
            return
        assert self.exchange is not None
        name = self.exchange.NAME
        user = self.exchange.user
        self._around.journal.note_authentication(self.id, self.peer, user, name, answer.name.lower())
        self._end_exchange()
        if answer is AuthVerdict.OK:
            self._become(user)
            self.replies.append(r.S235_AUTHENTICATED)
            return
        self._answer_auth(_VERDICTS[answer])
        if answer is AuthVerdict.FAILED:
            self._count_failure()

    def _count_failure(self) -> None:
        self._auth_failures += 1
        if self._auth_failures >= AUTH_FAILURES_LIMIT and self.state is not State.CLOSING:
            self.replies.append(r.S421_AUTH_BANNED)
            self.close()

    def _become(self, user: str) -> None:
        """Authenticated: local to the rules of the classic form, a user by name to those of the modern one."""
        self.authenticated = True
        self.user = user
        self._source = self.entrance.expansions.source_class(self.peer, is_local=True)
        self.origin = structs.replace(
            self.origin, user=user, is_authenticated=True, protocol=self.origin.protocol.removesuffix("A") + "A"
        )
        self._judge_access()

    def _answer_auth(self, reply: r.Reply) -> None:
        self.replies.append(reply)
        if type(reply) is Status and reply.code >= 400:
            self._note_failed(Command.AUTH, b"AUTH", reply)

    def _loggable(self, command: Command, line: bytes) -> bytes:
        """What of a refused line may be logged: nothing of AUTH but the word, and after a refused AUTH nothing that is no command,
        because clients that did not wait send user and password there."""
        if command is Command.AUTH or line.lstrip()[:4].upper() == b"AUTH":
            self._hides_lines = True
            return b"AUTH"
        return _HIDDEN if self._hides_lines and command is Command.UNKNOWN else line
