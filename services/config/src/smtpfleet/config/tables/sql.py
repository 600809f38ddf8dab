"""What the three SQL backends have in common: the queries by service, the columns each must return, and how rows become a value.

Owns the names and forms of the helpers' configuration (reference 9.6). The key is always a bound parameter: this module passes it beside
the text of a query and never joins the two. The databases themselves are sqlite.py, mysql.py and postgres.py. OpenSMTPD: table_sqlite.c,
table_mysql.c, table_postgres.c.
"""

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from smtpfleet.config.tables.backend import BackendFailed
from smtpfleet.config.tables.bad_file import BadTableFile
from smtpfleet.config.tables.pool import SessionPool
from smtpfleet.contracts.commands import TableService

Rows = list[tuple[object, ...]]

_COLUMNS = {
    TableService.ALIAS: 1,
    TableService.DOMAIN: 1,
    TableService.CREDENTIALS: 2,
    TableService.NETADDR: 1,
    TableService.USERINFO: 3,
    TableService.SOURCE: 1,
    TableService.MAILADDR: 1,
    TableService.ADDRNAME: 1,
    TableService.MAILADDRMAP: 1,
    TableService.RELAYHOST: 1,
    TableService.STRING: 1,
}
"""credentials: user, password. userinfo: uid, gid, home. OpenSMTPD's helpers have those up to mailaddrmap; the last two are ours."""
_LISTS = (TableService.ALIAS, TableService.MAILADDRMAP)
"""Services whose rows are joined; of the others the first row counts."""

FETCH = "fetch_source"
FETCH_EXPIRE_S = 60
FETCH_REFRESH_COUNT = 1000
"""DEFAULT_EXPIRE and DEFAULT_REFRESH of the helpers: how long, and for how many fetches, the sources that were read are given out."""

QUERY_SETTINGS = (
    *(f"query_{service}" for service in _COLUMNS),
    FETCH,
    "fetch_source_expire",
    "fetch_source_refresh",
)


@dataclass(frozen=True, slots=True)
class Queries:
    """by_service: text with one parameter. fetch: text without, or ""."""

    by_service: dict[TableService, str]
    fetch: str
    fetch_expire_s: int
    fetch_refresh_count: int


class SqlSession(Protocol):
    """A connection to a database. Raises SessionLost where it broke, BackendFailed where the query is refused."""

    async def rows(self, query: str, key: str | None) -> tuple[int, Rows]:
        """The number of columns and the rows of `query` with `key` bound to its one parameter (None: it has none)."""

    async def close(self) -> None:
        """Ends it. Never raises."""


def read_queries(values: Mapping[str, str]) -> Queries | BadTableFile:
    """The queries among the settings of a helper's file."""
    numbers: dict[str, int] = {"fetch_source_expire": FETCH_EXPIRE_S, "fetch_source_refresh": FETCH_REFRESH_COUNT}
    for name in numbers:
        text = values.get(name, "")
        if text and not (text.isascii() and text.isdigit() and len(text) <= 9):
            return BadTableFile(f"{name} is a number from 0 to 999999999")
        numbers[name] = int(text) if text else numbers[name]
    by_service = {service: values[f"query_{service}"] for service in _COLUMNS if f"query_{service}" in values}
    if not by_service and FETCH not in values:
        return BadTableFile(f"it has no query, such as query_{TableService.ALIAS}")
    return Queries(by_service, values.get(FETCH, ""), numbers["fetch_source_expire"], numbers["fetch_source_refresh"])


class SqlBackend:
    """A table in a database."""

    def __init__(
        self,
        queries: Queries,
        open_session: Callable[[], Awaitable[SqlSession]],
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._queries = queries
        self._pool = SessionPool(open_session, now_s)
        self._now_s = now_s
        self._sources: list[str] = []
        self._sources_at_s = 0.0
        self._fetch_count = 0

    async def lookup(self, service: TableService, keys: list[str]) -> list[str | None]:
        """The value of each key, all asked on one session."""
        query = self._query_for(service)

        async def ask(session: SqlSession) -> list[str | None]:
            return [_value(service, *await session.rows(query, key)) for key in keys]

        return await self._pool.run(ask)

    async def check(self, service: TableService, keys: list[str]) -> bool:
        """Whether the query of the service returns a row for any of the keys; its columns do not matter."""
        query = self._query_for(service)

        async def ask(session: SqlSession) -> bool:
            for key in keys:
                if (await session.rows(query, key))[1]:
                    return True
            return False

        return await self._pool.run(ask)

    async def fetch(self, service: TableService) -> str | None:
        """The next source; the list is read again when it is old or has been given out often."""
        if service is not TableService.SOURCE or not self._queries.fetch:
            raise BackendFailed(f"it has no {FETCH} for {service}")
        is_old = self._now_s() - self._sources_at_s >= self._queries.fetch_expire_s
        if not self._sources_at_s or is_old or self._fetch_count >= self._queries.fetch_refresh_count:
            columns, rows = await self._pool.run(lambda session: session.rows(self._queries.fetch, None))
            _check_columns(FETCH, 1, columns)
            # Sorted and each once, as the helpers keep them.
            self._sources = sorted({_text(row[0]) for row in rows})
            self._sources_at_s, self._fetch_count = self._now_s(), 0
        if not self._sources:
            return None
        source = self._sources[self._fetch_count % len(self._sources)]
        self._fetch_count += 1
        return source

    async def close(self) -> None:
        """Ends the sessions."""
        await self._pool.close()

    def _query_for(self, service: TableService) -> str:
        query = self._queries.by_service.get(service)
        if query is None:
            raise BackendFailed(f"its configuration has no query_{service}")
        return query


def _value(service: TableService, columns: int, rows: Rows) -> str | None:
    _check_columns(f"query_{service}", _COLUMNS[service], columns)
    if not rows:
        return None
    if service in _LISTS:
        return ", ".join(_text(row[0]) for row in rows)
    return ":".join(_text(field) for field in rows[0])


def _check_columns(query: str, expected: int, columns: int) -> None:
    if columns != expected:
        raise BackendFailed(f"{query} returns {columns} columns, it must return {expected}")


def _text(field: object) -> str:
    """A column as text. NULL is no value: half an answer must not become a user without password or home."""
    match field:
        case str():
            text = field
        case bytes() | bytearray() | memoryview():
            try:
                text = bytes(field).decode()
            except UnicodeDecodeError:
                raise BackendFailed("a column is not UTF-8") from None
        case bool() | None:
            raise BackendFailed("a column is NULL or neither text nor number")
        case int():
            text = str(field)
        case _:
            raise BackendFailed("a column is NULL or neither text nor number")
    if any(char in text for char in "\r\n\0"):
        raise BackendFailed("a column has a line end or a NUL")
    return text
