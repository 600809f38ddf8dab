"""Decides whether somebody is who he says: asks config for what is stored, hashes off the event loop, counts failures, slows them down.

Owns the threads that hash and the bound on what waits for them; never keeps a password or a hash beyond the question, never logs
either, and answers every question exactly once. Asked by server for the questions of access; credentials come over the bus, because
they are never part of a snapshot. OpenSMTPD: lka.c lka_authenticate.
"""

import asyncio
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from smtpfleet.contracts.commands import TableQuery, TableReply, TableService
from smtpfleet.contracts.subjects import CONFIG_AUTH_LOOKUP
from smtpfleet.contracts.wire import Malformed, RemoteFault, UnknownVersion
from smtpfleet.mail.credentials import hash_of_value
from smtpfleet.mail.tables import TableError
from smtpfleet.runtime import metrics
from smtpfleet.runtime.asking import Requester, Spawn
from smtpfleet.runtime.bus import BusUnavailable
from smtpfleet.runtime.maillog import MailLog
from smtpfleet.smtp_in.access_request import AuthAnswer, AuthRequest, AuthVerdict
from smtpfleet.smtp_in.auth import Claim, KeysQuery, ProofResult
from smtpfleet.smtp_in.crypt_library import CryptMissing
from smtpfleet.smtp_in.failures import AuthFailures
from smtpfleet.smtp_in.scram import ITERATIONS_FLOOR, unknown_keys
from smtpfleet.smtp_in.stored_password import (
    DEFAULT_DUMMY,
    UnusableHash,
    dummy_like,
    scram_keys,
    verify_password,
)

ANSWER_WITHIN_S = 10.0
"""How long config may take; a backend has 5 s there. Chosen."""
WAITING_LIMIT = 64
"""Verifications waiting for a thread; beyond it clients are told to come back. At 50 ms each that is seconds. Chosen."""

_attempts = metrics.counter(
    "auth_attempts", "Authentications, by mechanism and how they ended", ("mechanism", "result")
)
_latency = metrics.histogram("auth_hash_seconds", "Verifying one password in a thread")


_IN_ONE_LINE = re.compile(r"[^\r\n\0]*").fullmatch

Resume = Callable[[AuthAnswer], None]


class HasNoPasswords:
    """Instead of what is stored: the table says of a password whether it is right."""


HAS_NO_PASSWORDS = HasNoPasswords()


class CredentialSource(Protocol):
    """Where credentials come from. Both raise TableError where the table cannot answer now."""

    async def lookup_credentials(self, table: str, user: str) -> str | HasNoPasswords | None:
        """The value stored for `user`, None where there is none."""

    async def check_password(self, table: str, user: str, password: str) -> bool:
        """Whether a table that HAS_NO_PASSWORDS takes this one."""


class BusCredentials:
    """Credentials from config, asked anew every time: nothing secret is kept here, and a changed password holds at once."""

    def __init__(self, bus: Requester) -> None:
        self._bus = bus

    async def lookup_credentials(self, table: str, user: str) -> str | HasNoPasswords | None:
        """As CredentialSource."""
        reply = await self._ask(TableQuery(table, TableService.CREDENTIALS, "lookup", [user.lower()]))
        return HAS_NO_PASSWORDS if reply.has_no_passwords else reply.values[0]

    async def check_password(self, table: str, user: str, password: str) -> bool:
        """As CredentialSource."""
        query = TableQuery(table, TableService.AUTH, "check", [f"{user.lower()}:{password}"])
        return (await self._ask(query)).values[0] is not None

    async def _ask(self, query: TableQuery) -> TableReply:
        table = query.table
        try:
            reply = await self._bus.request(CONFIG_AUTH_LOOKUP, query, timeout_s=ANSWER_WITHIN_S)
        except (BusUnavailable, RemoteFault, UnknownVersion, Malformed) as error:
            raise TableError(f"credentials of {table}: {error}") from None
        assert isinstance(reply, TableReply)
        if reply.error or len(reply.values) != 1:
            raise TableError(f"credentials of {table}: {reply.error or 'no answer'}")
        return reply


@dataclass(slots=True)
class _Seen:
    """What a table has shown: a hash of the kind it holds that is nobody's, and whether all it showed were SCRAM keys."""

    dummy: str = DEFAULT_DUMMY
    scram_iterations: int = ITERATIONS_FLOOR
    has_scram: bool = False
    has_other: bool = False


class Authenticator:
    """All authentication of this process."""

    def __init__(
        self, source: CredentialSource, failures: AuthFailures, spawn: Spawn, log: MailLog, *, threads: int
    ) -> None:
        self._source = source
        self._failures = failures
        self._spawn = spawn
        self._log = log
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="auth")
        self._waiting = 0
        self._seen: dict[str, _Seen] = {}
        self._is_closed = False

    def close(self) -> None:
        """No more work; what runs ends by itself."""
        self._is_closed = True
        self._threads.shutdown(wait=False, cancel_futures=True)

    def is_banned(self, peer: str) -> bool:
        """Whether this address may not even try."""
        return self._failures.is_address_banned(peer)

    def has_scram_keys(self, table: str) -> bool:
        """Whether to offer SCRAM for a table of which config does not say what it holds: it has shown SCRAM keys and nothing else."""
        seen = self._seen.get(table)
        return seen is not None and seen.has_scram and not seen.has_other

    def submit(self, request: AuthRequest, resume: Resume) -> None:
        """Answers the question; `resume` hears it, always, and never before this has returned."""
        self._spawn(self._decide(request, resume), name="auth")

    async def _decide(self, request: AuthRequest, resume: Resume) -> None:
        question = request.question
        if await self._failures.is_user_banned(question.user, request.peer):
            answer: AuthAnswer = AuthVerdict.BANNED
        elif isinstance(question, ProofResult):
            answer = await self._conclude(question.user, request.peer, is_right=question.is_proved)
        else:
            answer = await self._ask(question, request)
        if isinstance(answer, AuthVerdict):
            _attempts.labels(question.mechanism, answer.name.lower()).inc()
        resume(answer)

    async def _ask(self, question: Claim | KeysQuery, request: AuthRequest) -> AuthAnswer:
        try:
            value = await self._source.lookup_credentials(request.table, question.user)
            if isinstance(value, HasNoPasswords):
                is_right = isinstance(question, Claim) and await self._is_taken(question, request.table)
                return await self._conclude(question.user, request.peer, is_right=is_right)
        except TableError as error:
            self._log.warning("authentication not possible now", error=error)
            return AuthVerdict.TEMPORARY
        stored = None if value is None else hash_of_value(value)
        if stored is not None:
            self._note_kind(request.table, stored)
        if isinstance(question, KeysQuery):
            keys = None if stored is None else scram_keys(stored)
            return keys or unknown_keys(request.secret, question.user, self._seen_in(request.table).scram_iterations)
        return await self._verify(question, request, stored)

    async def _is_taken(self, claim: Claim, table: str) -> bool:
        """Whether a table that has no passwords takes this one. It is asked in one line, `user:password`, so what could be another user's
        there, or no line, is wrong without asking. Raises TableError."""
        try:
            password = claim.password.decode()
        except UnicodeDecodeError:
            return False
        if not password or ":" in claim.user or not _IN_ONE_LINE(claim.user + password):
            return False
        return await self._source.check_password(table, claim.user, password)

    def _seen_in(self, table: str) -> _Seen:
        return self._seen.setdefault(table, _Seen())

    def _note_kind(self, table: str, stored: str) -> None:
        seen = self._seen_in(table)
        keys = scram_keys(stored)
        if keys is not None:
            seen.has_scram = True
            seen.scram_iterations = keys.iterations
        else:
            seen.has_other = True
        seen.dummy = dummy_like(stored)

    async def _verify(self, claim: Claim, request: AuthRequest, stored: str | None) -> AuthVerdict:
        if self._is_closed:
            return AuthVerdict.TEMPORARY
        if self._waiting >= WAITING_LIMIT:
            self._log.warning("authentication put off: too many wait for a thread")
            return AuthVerdict.TEMPORARY
        dummy = self._seen_in(request.table).dummy
        self._waiting += 1
        try:
            is_right = await self._hash(stored or dummy, claim.password) and stored is not None
        except UnusableHash as error:
            self._log.warning("unusable credentials", table=request.table, user=claim.user, error=error)
            is_right = False
        except CryptMissing as error:
            self._log.error("authentication not possible", error=error)
            return AuthVerdict.TEMPORARY
        finally:
            self._waiting -= 1
        return await self._conclude(claim.user, request.peer, is_right=is_right)

    async def _hash(self, stored: str, password: bytes) -> bool:
        loop = asyncio.get_running_loop()
        began = loop.time()
        is_right = await loop.run_in_executor(self._threads, verify_password, stored, password)
        _latency.observe(loop.time() - began)
        return is_right

    async def _conclude(self, user: str, peer: str, *, is_right: bool) -> AuthVerdict:
        if is_right:
            self._failures.note_success(user, peer)
            return AuthVerdict.OK
        await asyncio.sleep(await self._failures.note_failure(user, peer))
        return AuthVerdict.FAILED
