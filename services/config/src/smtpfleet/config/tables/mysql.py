"""A table in MySQL or MariaDB: `table NAME mysql:/conf` with the helper's settings (host, username, password, database, query_*).

Speaks through aiomysql, and is the only module that does. Queries are prepared by the server, as OpenSMTPD's helper does, and the key
reaches it as a hexadecimal literal, so neither quoting nor the session's SQL mode matters. Beyond the helper: `port`, and a host that
begins with / is a socket. Made by opening.py, run by sql.SqlBackend. OpenSMTPD: table_mysql.c.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import aiomysql  # type: ignore[import-untyped]
import pymysql  # type: ignore[import-untyped]

from smtpfleet.config.tables.backend import BackendFailed, SessionLost
from smtpfleet.config.tables.bad_file import BadTableFile
from smtpfleet.config.tables.settings_file import missing_setting
from smtpfleet.config.tables.sql import QUERY_SETTINGS, Rows, SqlBackend, read_queries

SETTINGS = ("host", "port", "username", "password", "database", *QUERY_SETTINGS)
DEFAULT_PORT = 3306
CONNECT_S = 4.0
"""Chosen below the server's time limit, so that its text says what the matter is."""
LOCAL_SOCKETS = ("/run/mysqld/mysqld.sock", "/var/run/mysqld/mysqld.sock", "/tmp/mysql.sock")  # noqa: S108  as libmysqlclient
"""Where `localhost` means a socket to libmysqlclient, which the helper uses."""
_LOST = frozenset({1053, 1927, 2006, 2013, 2014, 2055, 4031})
"""Error numbers of a broken connection: server shutdown, killed, gone away, lost, out of step, lost with errno, idle too long."""


class MysqlBackend(SqlBackend):
    """A table in a MySQL database."""

    def __init__(self, values: Mapping[str, str], now_s: Callable[[], float]) -> None:
        queries = read_queries(values)
        assert not isinstance(queries, BadTableFile), "check_settings has seen them"
        self._values = values
        super().__init__(queries, self._open, now_s)

    async def _open(self) -> "_Session":
        values = self._values
        try:
            connection = await aiomysql.connect(
                **_where(values),
                user=values["username"],
                password=values.get("password", ""),
                db=values["database"],
                charset="utf8mb4",
                autocommit=True,
                connect_timeout=CONNECT_S,
            )
        except (pymysql.err.MySQLError, OSError, TimeoutError) as error:
            raise BackendFailed(f"mysql: {_text(error)}") from None
        return _Session(connection)


def check_settings(values: Mapping[str, str]) -> BadTableFile | None:
    """What is wrong with the settings of a table."""
    if fault := missing_setting(values, ("host", "username", "database")):
        return BadTableFile(fault)
    port = values.get("port", "1")
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and 1 <= int(port) <= 65535):
        return BadTableFile("port is a number from 1 to 65535")
    queries = read_queries(values)
    return queries if isinstance(queries, BadTableFile) else None


class _Session:
    """A connection and the statements prepared on it."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._statements: dict[str, str] = {}

    async def rows(self, query: str, key: str | None) -> tuple[int, Rows]:
        try:
            async with self._connection.cursor() as cursor:
                statement = self._statements.get(query)
                if statement is None:
                    statement = f"smtpfleet_{len(self._statements)}"
                    await cursor.execute(f"SET @smtpfleet_query = {_literal(query)}")
                    await cursor.execute(f"PREPARE {statement} FROM @smtpfleet_query")
                    self._statements[query] = statement
                if key is None:
                    await cursor.execute(f"EXECUTE {statement}")
                else:
                    await cursor.execute(f"SET @smtpfleet_key = {_literal(key)}")
                    await cursor.execute(f"EXECUTE {statement} USING @smtpfleet_key")
                return len(cursor.description or ()), list(await cursor.fetchall())
        except pymysql.err.InterfaceError as error:
            raise SessionLost(f"mysql: {_text(error)}") from None
        except pymysql.err.MySQLError as error:
            kind = SessionLost if error.args and error.args[0] in _LOST else BackendFailed
            raise kind(f"mysql: {_text(error)}") from None
        except (OSError, EOFError, RuntimeError) as error:  # RuntimeError: aiomysql on a transport that is closed
            raise SessionLost(f"mysql: {_text(error)}") from None

    async def close(self) -> None:
        self._connection.close()


def _literal(text: str) -> str:
    """`text` in a form in which nothing of it can end the literal."""
    return f"CONVERT(X'{text.encode().hex()}' USING utf8mb4)"


def _where(values: Mapping[str, str]) -> dict[str, Any]:
    """`localhost` without a port is a socket where there is one, as libmysqlclient has it."""
    host = values["host"]
    sockets = [path for path in LOCAL_SOCKETS if host == "localhost" and "port" not in values and Path(path).exists()]
    if host.startswith("/") or sockets:
        return {"unix_socket": host if host.startswith("/") else sockets[0]}
    return {"host": host, "port": int(values.get("port", DEFAULT_PORT))}


def _text(error: BaseException) -> str:
    """The server's own words, which name users and hosts but no password."""
    return ": ".join(str(part) for part in error.args) or type(error).__name__
