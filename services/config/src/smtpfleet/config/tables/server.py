"""Answers the fleet's table queries: CONFIG_TABLE_LOOKUP, CONFIG_AUTH_LOOKUP and CONFIG_CREDENTIALS_LOOKUP.

Owns one backend per table that is asked over the bus, its time limit, and a small cache of answers. Every failure is an error in the
reply, never "not found". Passwords are answered only on their own subjects, for tables that listeners and relays name, and are never
cached or logged. Bound by handlers.py; told of new configurations by app.py. OpenSMTPD: table.c, lka.c.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path

from smtpfleet.config.language.stamp import Stamp, current_stamp
from smtpfleet.config.tables.backend import Backend, BackendFailed
from smtpfleet.config.tables.bad_file import BadTableFile
from smtpfleet.config.tables.inline import InlineBackend
from smtpfleet.config.tables.memory import MemoryBackend
from smtpfleet.config.tables.opening import SETTINGS_BACKENDS, Resolve, open_backend
from smtpfleet.config.tables.proc import ProcBackend, files_of_command
from smtpfleet.config.tables.question import BadQuestion, Question, check_query
from smtpfleet.config.tables.rights import auth_tables, credentials_tables
from smtpfleet.contracts.commands import TableQuery, TableReply, TableService
from smtpfleet.contracts.configuration import INLINE_BACKENDS, Configuration, Table
from smtpfleet.mail.addrname import addrname_spellings
from smtpfleet.mail.tables import Tables
from smtpfleet.runtime import metrics
from smtpfleet.runtime.maillog import MailLog
from smtpfleet.runtime.ttl_cache import TtlCache

ANSWER_S = 5.0
"""A question that a backend has not answered by then is an error. Chosen: a peer at RCPT waits minutes, but holds a session."""
TTL_S = 2.0
"""How long an answer, found or not, may be kept. Chosen: a change in a database reaches all roles as soon as one in a file."""
CACHE_MAX = 20_000
"""Answers kept. Chosen: a few MB, and more than are asked in TTL_S."""
_SECRET_SERVICES = frozenset({TableService.CREDENTIALS, TableService.AUTH})

_lookups = metrics.counter(
    "config_table_lookups", "Table queries, by backend and how they ended", ("backend", "result")
)
_seconds = metrics.histogram("config_table_seconds", "Time a backend took for one query", ("backend",))


@dataclass(slots=True)
class _Served:
    """A table that is asked here. made_from: what it was made from; the same again keeps backend and connections."""

    table: Table
    made_from: object
    backend: Backend | BadTableFile
    is_secret: bool
    is_failing: bool = False


class TableServer:
    """The tables of the configuration in force."""

    def __init__(
        self,
        log: MailLog,
        resolve: Resolve,
        now_s: Callable[[], float] = time.monotonic,
        follow: Callable[[Path], Path] = lambda path: path,
    ) -> None:
        """resolve: the file of a path in a settings file. follow: the settings file that a table's path means now."""
        self._log = log
        self._resolve = resolve
        self._follow = follow
        self._now_s = now_s
        self._served: dict[str, _Served] = {}
        self._auth: frozenset[str] = frozenset()
        self._credentials: frozenset[str] = frozenset()
        self._cache: TtlCache[tuple[str, TableService, str, str], str | None] = TtlCache(CACHE_MAX, now_s)
        self._working: set[asyncio.Task[None]] = set()

    def apply(self, configuration: Configuration, withheld: Mapping[str, Table]) -> None:
        """From now on answers for `configuration`. withheld: tables with the entries it lacks because they are passwords."""
        before, self._served = self._served, {}
        inline = Tables(configuration)
        for name, published in configuration.tables.items():
            table = withheld.get(name, published)
            if name not in withheld and published.is_inline:
                if published.backend != "getpwnam":
                    self._served[name] = _Served(table, None, InlineBackend(inline, name), is_secret=False)
                continue
            made_from = (table, self._stamps_of(table))
            if name in before and before[name].made_from == made_from:
                self._served[name] = before.pop(name)
            elif name in before and before[name].table == table and isinstance(before[name].backend, ProcBackend):
                self._served[name] = served = before.pop(name)
                served.made_from = made_from
                self._start(self._update(served), f"update {name}")
            else:
                backend, is_secret = self._open(table, is_withheld=name in withheld)
                self._served[name] = _Served(table, made_from, backend, is_secret)
        self._auth, self._credentials = auth_tables(configuration), credentials_tables(configuration)
        self._cache.clear()
        for served in before.values():
            if not isinstance(served.backend, InlineBackend):
                self._close(served)

    async def answer(self, query: TableQuery) -> TableReply:
        """CONFIG_TABLE_LOOKUP: anything but passwords."""
        if query.service in _SECRET_SERVICES:
            return self._refuse(query, f"{query.service} is asked on a subject of its own")
        served = self._served.get(query.table)
        if served is not None and served.is_secret and query.operation != "check":
            return self._refuse(query, "its values are passwords")
        return await self._answer(query)

    async def answer_auth(self, query: TableQuery) -> TableReply:
        """CONFIG_AUTH_LOOKUP: passwords of our clients."""
        if query.service not in _SECRET_SERVICES or query.table not in self._auth:
            return self._refuse(query, "no listener checks passwords with it")
        served = self._served.get(query.table)
        if query.service is TableService.CREDENTIALS and served is not None and isinstance(served.backend, ProcBackend):
            return await self._answer_of_helper(served, served.backend, query)
        return await self._answer(query)

    async def answer_credentials(self, query: TableQuery) -> TableReply:
        """CONFIG_CREDENTIALS_LOOKUP: our passwords at relays."""
        if query.service is not TableService.CREDENTIALS or query.table not in self._credentials:
            return self._refuse(query, "no relay logs in with it")
        return await self._answer(query)

    async def close(self) -> None:
        """Ends connections and processes."""
        served, self._served = self._served, {}
        for each in served.values():
            self._close(each)
        if self._working:
            await asyncio.gather(*self._working)

    def _stamps_of(self, table: Table) -> list[Stamp | None]:
        """Of the settings file: the same table with another file behind it is another table. Of what a helper reads: it is told to read
        it again. What was read whole is in the table's entries."""
        paths = [Path(table.path)] if table.backend in SETTINGS_BACKENDS else []
        if table.backend == "proc":
            with contextlib.suppress(ValueError):  # an unclosed quote, which is the backend's to tell
                paths = [path for path in files_of_command(table.path) if self._follow(path).is_file()]
        return [current_stamp(self._follow(path)) for path in paths]

    def _open(self, table: Table, *, is_withheld: bool) -> tuple[Backend | BadTableFile, bool]:
        """The backend, and whether all its values are passwords. That of a database knows by the service what it is asked for."""
        if table.backend not in INLINE_BACKENDS:
            return open_backend(table, self._resolve, self._now_s, self._follow(Path(table.path))), False
        if is_withheld:
            return MemoryBackend(table.entries), True
        # Only after a start without a good file: another replica has published the table, its passwords are not in it.
        return BadTableFile("its file has not been read here"), True

    async def _answer(self, query: TableQuery) -> TableReply:
        question = check_query(query)
        if isinstance(question, BadQuestion):
            return self._refuse(query, question.reason)
        served = self._served.get(question.table)
        if served is None:
            return self._refuse(query, "it is not one that config is asked for")
        if question.has_secret or question.operation == "fetch":
            return await self._ask(served, question, 0.0)
        cached = [self._cache.get((question.table, question.service, question.operation, key)) for key in question.keys]
        if all(hit is not None for hit in cached):
            _lookups.labels(served.table.backend, "cached").inc()
            return _reply_from([hit.value for hit in cached if hit], question, min(hit.left_s for hit in cached if hit))
        reply = await self._ask(served, question, TTL_S)
        if not reply.error:
            self._remember(question, reply)
        return reply

    async def _ask(self, served: _Served, question: Question, ttl_s: float) -> TableReply:
        """Asks the backend, within the time limit."""
        backend, kind = served.backend, served.table.backend
        try:
            if isinstance(backend, BadTableFile):
                raise BackendFailed(backend.reason)
            began = time.perf_counter()
            try:
                async with asyncio.timeout(ANSWER_S):
                    values = await _values(backend, question)
            finally:
                _seconds.labels(kind).observe(time.perf_counter() - began)
        except TimeoutError:
            return self._fail(served, f"no answer within {ANSWER_S:g} s")
        except BackendFailed as error:
            return self._fail(served, str(error))
        if served.is_failing:
            served.is_failing = False
            self._log.info("table answers again", table=served.table.name, backend=kind)
        _lookups.labels(kind, "found" if any(value is not None for value in values) else "not found").inc()
        return TableReply("", values, ttl_s)

    async def _answer_of_helper(self, served: _Served, helper: ProcBackend, query: TableQuery) -> TableReply:
        """A helper of service auth is told passwords and gives none, whatever else it serves (OpenSMTPD 7.6 lka_authenticate)."""
        try:
            async with asyncio.timeout(ANSWER_S):
                if await helper.serves(TableService.AUTH):
                    return TableReply("", [None] * len(query.keys), 0.0, has_no_passwords=True)
        except TimeoutError:
            return self._fail(served, f"no answer within {ANSWER_S:g} s")
        except BackendFailed as error:
            return self._fail(served, str(error))
        return await self._answer(query)

    def _remember(self, question: Question, reply: TableReply) -> None:
        # A check over several keys says that one is there, not which.
        keys = question.keys if question.operation == "lookup" or len(question.keys) == 1 else ()
        for key, value in zip(keys, reply.values, strict=False):
            self._cache.put((question.table, question.service, question.operation, key), value, reply.ttl_s)

    def _refuse(self, query: TableQuery, reason: str) -> TableReply:
        _lookups.labels("none", "refused").inc()
        self._log.warning("table query refused", table=query.table, service=query.service, reason=reason)
        return TableReply(f"table {query.table}: {reason}", [], 0.0)

    def _fail(self, served: _Served, reason: str) -> TableReply:
        """Said once per outage; counted every time."""
        _lookups.labels(served.table.backend, "failed").inc()
        if not served.is_failing:
            served.is_failing = True
            self._log.error("table cannot answer", table=served.table.name, backend=served.table.backend, reason=reason)
        return TableReply(f"table {served.table.name}: {reason}", [], 0.0)

    def _close(self, served: _Served) -> None:
        if not isinstance(served.backend, BadTableFile):
            self._start(served.backend.close(), f"close {served.table.name}")

    async def _update(self, served: _Served) -> None:
        """A helper's files have changed: what it refuses to read leaves it with what it had, and the operator with a line in the log."""
        assert isinstance(served.backend, ProcBackend)
        reason = "the helper goes on with what it read before"
        try:
            async with asyncio.timeout(ANSWER_S):
                is_updated = await served.backend.update()
        except TimeoutError:
            is_updated, reason = False, f"no answer within {ANSWER_S:g} s"
        except BackendFailed as error:
            is_updated, reason = False, str(error)
        self._cache.clear()
        if is_updated:
            self._log.info("table updated", table=served.table.name, backend=served.table.backend)
        else:
            self._log.error("table not updated", table=served.table.name, backend=served.table.backend, reason=reason)

    def _start(self, work: Coroutine[None, None, None], name: str) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._working.add(task)
        task.add_done_callback(self._working.discard)


async def _names(backend: Backend, question: Question) -> list[str | None]:
    """The name for each address: a database may spell it in any of the ways; the first that is there counts."""
    spellings = [addrname_spellings(key) for key in question.keys]
    found = iter(await backend.lookup(question.service, [each for several in spellings for each in several]))
    return [next((name for name in [next(found) for _ in several] if name), None) for several in spellings]


async def _values(backend: Backend, question: Question) -> list[str | None]:
    match question.operation:
        case "lookup" if question.service is TableService.ADDRNAME:
            return await _names(backend, question)
        case "lookup":
            return await backend.lookup(question.service, list(question.keys))
        case "check":
            return ["" if await backend.check(question.service, list(question.keys)) else None]
        case _:
            return [await backend.fetch(question.service)]


def _reply_from(values: list[str | None], question: Question, left_s: float) -> TableReply:
    """From the cache; a check is one answer over all keys."""
    if question.operation == "check":
        values = ["" if any(value is not None for value in values) else None]
    return TableReply("", values, left_s)
