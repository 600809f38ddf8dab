"""A table in PostgreSQL: `table NAME postgres:/conf` with the helper's settings (conninfo, query_* with $1, fetch_source*).

Speaks through psycopg, which is libpq, so that a conninfo means exactly what it means to OpenSMTPD's helper; the only module that does.
Queries are prepared by the server and the key is bound to $1. Made by opening.py, run by sql.SqlBackend. OpenSMTPD: table_postgres.c.
"""

from collections.abc import Callable, Mapping
from typing import Any

import psycopg

from smtpfleet.config.tables.backend import BackendFailed, SessionLost
from smtpfleet.config.tables.bad_file import BadTableFile
from smtpfleet.config.tables.settings_file import missing_setting
from smtpfleet.config.tables.sql import QUERY_SETTINGS, Rows, SqlBackend, read_queries

SETTINGS = ("conninfo", *QUERY_SETTINGS)
CONNECT_S = 4
"""Where the conninfo has no connect_timeout. Chosen below the server's time limit, so that its text says what the matter is."""


class PostgresBackend(SqlBackend):
    """A table in a PostgreSQL database."""

    def __init__(self, values: Mapping[str, str], now_s: Callable[[], float]) -> None:
        queries = read_queries(values)
        assert not isinstance(queries, BadTableFile), "check_settings has seen them"
        settings = psycopg.conninfo.conninfo_to_dict(values["conninfo"])
        self._settings: dict[str, Any] = {"connect_timeout": CONNECT_S, **settings}
        super().__init__(queries, self._open, now_s)

    async def _open(self) -> "_Session":
        try:
            connection = await psycopg.AsyncConnection.connect(
                **self._settings, autocommit=True, cursor_factory=psycopg.AsyncRawCursor
            )
        except psycopg.Error as error:
            raise BackendFailed(f"postgres: {_text(error)}") from None
        return _Session(connection)


def check_settings(values: Mapping[str, str]) -> BadTableFile | None:
    """What is wrong with the settings of a table."""
    if fault := missing_setting(values, ("conninfo",)):
        return BadTableFile(fault)
    try:
        psycopg.conninfo.conninfo_to_dict(values["conninfo"])
    except psycopg.Error:
        return BadTableFile(
            "its conninfo is not one, such as host=db dbname=mail user=smtpd"
        )  # libpq's text may quote it
    queries = read_queries(values)
    return queries if isinstance(queries, BadTableFile) else None


class _Session:
    """A connection; psycopg keeps its prepared statements by text."""

    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self._connection = connection

    async def rows(self, query: str, key: str | None) -> tuple[int, Rows]:
        try:
            async with self._connection.cursor() as cursor:
                await cursor.execute(query, None if key is None else (key,), prepare=True)
                result = cursor.pgresult
                if result is None:
                    raise BackendFailed("postgres: a query returns no rows")
                # As text, whatever the column's type: psycopg would make objects of inet or numeric.
                rows: Rows = [
                    tuple(result.get_value(row, column) for column in range(result.nfields))
                    for row in range(result.ntuples)
                ]
                return result.nfields, rows
        except psycopg.Error as error:
            kind = SessionLost if self._connection.broken or self._connection.closed else BackendFailed
            raise kind(f"postgres: {_text(error)}") from None

    async def close(self) -> None:
        await self._connection.close()


def _text(error: psycopg.Error) -> str:
    """The server's own words on one line, which name users and hosts but no password."""
    return " ".join((error.diag.message_primary or str(error) or type(error).__name__).split())
