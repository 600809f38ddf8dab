"""A table in an SQLite file: `table NAME sqlite:/conf` with the helper's settings (dbpath, query_*, fetch_source*).

Opens the file read-only; somebody else writes it. A file replaced by another is opened anew. SQLite blocks, so each table has threads of
its own, and a question that takes too long is interrupted. Made by opening.py, run by sql.SqlBackend. OpenSMTPD: table_sqlite.c.
"""

import asyncio
import os
import sqlite3
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from smtpfleet.config.tables.backend import BackendFailed, SessionLost
from smtpfleet.config.tables.bad_file import BadTableFile
from smtpfleet.config.tables.pool import SESSIONS_MAX
from smtpfleet.config.tables.settings_file import missing_setting
from smtpfleet.config.tables.sql import QUERY_SETTINGS, Rows, SqlBackend, read_queries

SETTINGS = ("dbpath", *QUERY_SETTINGS)
LOCK_WAIT_S = 2.0
"""How long a question waits for a writer's lock; chosen below the server's time limit."""

T = TypeVar("T")
Find = Callable[[], Path]
"""Where the file is now: a link may lead to another one."""


class SqliteBackend(SqlBackend):
    """A table in an SQLite file, with its threads."""

    def __init__(self, find: Find, values: Mapping[str, str], now_s: Callable[[], float]) -> None:
        queries = read_queries(values)
        assert not isinstance(queries, BadTableFile), "read_settings has checked them"
        self._find = find
        self._threads = ThreadPoolExecutor(SESSIONS_MAX, thread_name_prefix="sqlite-table")
        super().__init__(queries, self._open, now_s)

    async def _open(self) -> "_Session":
        session = _Session(self._find, self._threads)
        await session.open()
        return session

    async def close(self) -> None:
        """Ends sessions and threads."""
        await super().close()
        self._threads.shutdown(wait=False)


def check_settings(values: Mapping[str, str]) -> BadTableFile | None:
    """What is wrong with the settings of a table."""
    if fault := missing_setting(values, ("dbpath",)):
        return BadTableFile(fault)
    queries = read_queries(values)
    return queries if isinstance(queries, BadTableFile) else None


class _Session:
    """A connection, used by one thread at a time."""

    def __init__(self, find: Find, threads: ThreadPoolExecutor) -> None:
        self._find = find
        self._threads = threads
        self._database: sqlite3.Connection | None = None
        self._identity = (0, 0)

    async def open(self) -> None:
        await self._in_thread(self._connect)

    async def rows(self, query: str, key: str | None) -> tuple[int, Rows]:
        return await self._in_thread(lambda: self._rows(query, key))

    async def close(self) -> None:
        database, self._database = self._database, None
        if database is not None:
            database.interrupt()  # from this thread: the one that works on it comes back at once
            self._threads.submit(database.close)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except sqlite3.Error as error:
            raise BackendFailed(f"sqlite: {error}") from None
        except OSError as error:
            raise BackendFailed(f"sqlite: {self._find()}: {error.strerror}") from None

    def _connect(self) -> None:
        path = self._find()
        self._identity = _identity(path)
        # A URI, because only there a file can be opened without being created or written.
        uri = f"file:{quote(str(path))}?mode=ro"
        self._database = sqlite3.connect(
            uri, uri=True, timeout=LOCK_WAIT_S, isolation_level=None, check_same_thread=False
        )

    def _rows(self, query: str, key: str | None) -> tuple[int, Rows]:
        path = self._find()
        if self._database is None or _identity(path) != self._identity:
            raise SessionLost(f"sqlite: {path} is another file now")
        cursor = self._database.execute(query, () if key is None else (key,))
        try:
            return len(cursor.description or ()), cursor.fetchall()
        finally:
            cursor.close()


def _identity(path: Path) -> tuple[int, int]:
    status = os.stat(path)  # noqa: PTH116  in a thread, and cheaper than a Path's
    return status.st_dev, status.st_ino
