"""The mechanisms of AUTH: what the client sends and is sent until it is known who it claims to be (RFC 4954, RFC 4616, RFC 5802).

Pure state machines, one object per AUTH command with the user it has named so far: fed decoded responses, they answer with the next challenge, with a question for the
credentials, or with a refusal. They never see the network, a table or the clock. Driven by access. OpenSMTPD: smtp_session.c
smtp_rfc4954_auth_plain, smtp_rfc4954_auth_login.
"""

import binascii
import re
from base64 import b64decode
from dataclasses import dataclass, field

from smtpfleet.contracts.status import Status
from smtpfleet.smtp_in.scram import ClientFirst, ScramKeys, ServerExchange, parse_client_first

EXCHANGE_LINE_LIMIT_BYTES = 12_288
"""RFC 4954 §4: what a line of the exchange, or an AUTH command with its initial response, may take."""
USER_LIMIT_BYTES = 255
"""Chosen; OpenSMTPD 5.4.1 takes 31 and 7.8 255."""

S501_BAD_BASE64 = Status(501, "5.5.2", "Cannot decode response")
S501_SYNTAX = Status(501, "5.5.2", "Syntax error")

# Strict: no blanks, padding where it belongs (RFC 4954 §4, RFC 4648 §3.3).
_is_base64 = re.compile(rb"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?").fullmatch
# A name that could cut a table key or a log line is nobody's (reference 12: CR and LF in decoded PLAIN).
_is_name = re.compile(r"[^\x00-\x1f\x7f]+").fullmatch


@dataclass(frozen=True, slots=True)
class Challenge:
    """To be sent as 334 with this text, not yet encoded; the client's response comes next."""

    text: bytes


@dataclass(frozen=True, slots=True)
class Claim:
    """Somebody says he is `user`: verify the password."""

    mechanism: str
    user: str
    password: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class KeysQuery:
    """Which SCRAM keys has `user`?"""

    mechanism: str
    user: str


@dataclass(frozen=True, slots=True)
class ProofResult:
    """The exchange itself has shown whether the client knows the password of `user`."""

    mechanism: str
    user: str
    is_proved: bool


Question = Claim | KeysQuery | ProofResult
Move = Challenge | Question | Status
"""What follows a response. A Status refuses the exchange."""


def decode_response(line: bytes) -> bytes | None:
    """The bytes of one base64 line without its CRLF, or None where it is not base64."""
    if not _is_base64(line):
        return None
    try:
        return b64decode(line, validate=True)
    except binascii.Error:
        return None


def user_of(raw: bytes) -> str | None:
    """A user name as a table may be asked for it, or None."""
    try:
        user = raw.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return user if len(raw) <= USER_LIMIT_BYTES and _is_name(user) else None


def _is_password(raw: bytes) -> bool:
    return bool(raw) and not any(byte in raw for byte in (b"\0", b"\r", b"\n"))


class Plain:
    """authzid NUL user NUL password, in one response."""

    NAME = "PLAIN"

    def __init__(self) -> None:
        self.user = ""

    def begin(self, initial: bytes | None) -> Move:
        """initial: the decoded initial response, None without one."""
        return Challenge(b"") if initial is None else self.respond(initial)

    def respond(self, response: bytes) -> Move:
        """The decoded response."""
        parts = response.split(b"\0")
        if len(parts) != 3:
            return S501_SYNTAX
        authzid, raw_user, password = parts
        user = user_of(raw_user)
        if user is None or not _is_password(password):
            return S501_SYNTAX
        self.user = user
        # Nobody acts for another here: naming somebody else is as good as a wrong password (RFC 4616 §2).
        if authzid and authzid != raw_user:
            return ProofResult(self.NAME, user, is_proved=False)
        return Claim(self.NAME, user, password)


class Login:
    """User, then password, each asked for. No RFC; as every client speaks it. An initial response is the user."""

    NAME = "LOGIN"

    def __init__(self) -> None:
        self.user = ""

    def begin(self, initial: bytes | None) -> Move:
        """initial: as in Plain."""
        return Challenge(b"Username:") if initial is None else self.respond(initial)

    def respond(self, response: bytes) -> Move:
        """The decoded response."""
        if self.user:
            return Claim(self.NAME, self.user, response) if _is_password(response) else S501_SYNTAX
        self.user = user_of(response) or ""
        return Challenge(b"Password:") if self.user else S501_SYNTAX


class ScramSha256:
    """client-first, server-first, client-final, server-final, and an empty line from the client before 235."""

    NAME = "SCRAM-SHA-256"

    def __init__(self) -> None:
        self.user = ""
        self._first: ClientFirst | None = None
        self._exchange: ServerExchange | None = None
        self._is_proved = False

    def begin(self, initial: bytes | None) -> Move:
        """initial: as in Plain."""
        return Challenge(b"") if initial is None else self.respond(initial)

    def respond(self, response: bytes) -> Move:
        """The decoded response; while the keys are awaited there is none."""
        try:
            text = response.decode("utf-8")
        except UnicodeDecodeError:
            return S501_SYNTAX
        if self._first is None:
            return self._hear_first(text)
        if self._is_proved:
            return ProofResult(self.NAME, self.user, is_proved=True) if not text else S501_SYNTAX
        assert self._exchange is not None
        server_final = self._exchange.verify(text)
        if server_final is None:
            return ProofResult(self.NAME, self.user, is_proved=False)
        self._is_proved = True
        return Challenge(server_final.encode("ascii"))

    def _hear_first(self, text: str) -> Move:
        first = parse_client_first(text)
        if first is None or user_of(first.user.encode()) is None:
            return S501_SYNTAX
        self._first, self.user = first, first.user
        if first.authzid and first.authzid != first.user:
            return ProofResult(self.NAME, first.user, is_proved=False)
        return KeysQuery(self.NAME, first.user)

    def hear_keys(self, keys: ScramKeys) -> Move:
        """The answer to KeysQuery. Keys of a user who is not there are such that nothing proves them."""
        assert self._first is not None
        self._exchange = ServerExchange(self._first, keys)
        return Challenge(self._exchange.server_first.encode("ascii"))


Mechanism = Plain | Login | ScramSha256
_MECHANISMS: dict[bytes, type[Mechanism]] = {kind.NAME.encode(): kind for kind in (Plain, Login, ScramSha256)}


def new_mechanism(name: bytes) -> Mechanism | None:
    """The mechanism called `name`, whose case does not matter; None for one we do not have."""
    kind = _MECHANISMS.get(name.upper())
    return None if kind is None else kind()
