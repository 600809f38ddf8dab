"""Asks config for what a table answers, where the table is not in the snapshot: dynamic backends, and passwords.

Every failure (no bus, no answer in time, a backend that is down) is mail.tables.TableError, which is temporary: 451, never "no such
user". Answers are kept as long as config says and never longer; equal questions under way are asked once. Passwords are asked for every
time. Used by smtp-in, mta and mda. OpenSMTPD: lka_session.c, lka.c.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol

from msgspec import Struct

from smtpfleet.contracts import wire
from smtpfleet.contracts.commands import TableQuery, TableReply, TableService
from smtpfleet.contracts.subjects import (
    CONFIG_CREDENTIALS_LOOKUP,
    CONFIG_TABLE_LOOKUP,
    Subject,
)
from smtpfleet.mail.tables import TableError
from smtpfleet.runtime import metrics
from smtpfleet.runtime.bus import BusUnavailable
from smtpfleet.runtime.ttl_cache import TtlCache

REQUEST_S = 7.0
"""For one reply: config's own limit for a backend is 5 s (config/tables/server.py), its text should reach us. Chosen."""
BATCH = 64
"""Keys of one query (contracts.commands.TableQuery)."""
CACHE_MAX = 10_000
"""Answers kept. Chosen: a few MB; what is asked within their two seconds is less."""

_cached = metrics.counter("table_client_answers", "Answers about tables, by where they came from", ("source",))

_Key = tuple[str, TableService, str, str]


class Asking(Protocol):
    """The part of runtime.bus.Bus that is used here."""

    async def request(self, subject: Subject, payload: Struct, *, timeout_s: float = 10.0) -> Any:
        """The reply. Raises BusUnavailable or wire.RemoteFault."""


class TableClient:
    """One role's view of the tables that config serves. All methods raise TableError where a table cannot answer."""

    def __init__(self, bus: Asking, now_s: Callable[[], float] = time.monotonic) -> None:
        self._bus = bus
        self._cache: TtlCache[_Key, str | None] = TtlCache(CACHE_MAX, now_s)
        self._under_way: dict[_Key, asyncio.Future[str | None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def lookup(self, table: str, service: TableService, key: str) -> str | None:
        """The value of `key` in the form of the service (reference 9.1), None where there is none."""
        return (await self._answers(table, service, "lookup", [key]))[0]

    async def lookup_many(self, table: str, service: TableService, keys: Sequence[str]) -> list[str | None]:
        """The value of each key, in as few requests as can be."""
        return await self._answers(table, service, "lookup", keys)

    async def check(self, table: str, service: TableService, key: str) -> bool:
        """Whether `key` is there."""
        return (await self._answers(table, service, "check", [key]))[0] is not None

    async def fetch(self, table: str, service: TableService) -> str | None:
        """The next of the table's values, round and round over all who ask; None where it has none."""
        return (await self._request(CONFIG_TABLE_LOOKUP, TableQuery(table, service, "fetch", []))).values[0]

    async def lookup_credentials(self, table: str, label: str) -> str | None:
        """mta alone: `user:password` or `password` for a relay, None where there is no such label."""
        query = TableQuery(table, TableService.CREDENTIALS, "lookup", [label])
        return (await self._request(CONFIG_CREDENTIALS_LOOKUP, query)).values[0]

    def forget(self) -> None:
        """Drops what is kept: there is a new configuration."""
        self._cache.clear()

    async def _answers(
        self, table: str, service: TableService, operation: str, keys: Sequence[str]
    ) -> list[str | None]:
        """From the cache, from a question that is under way, or from config."""
        names: list[_Key] = [(table, service, operation, key.lower()) for key in keys]
        found: dict[_Key, str | None] = {}
        missing: list[_Key] = []
        for name in dict.fromkeys(names):
            hit = self._cache.get(name)
            if hit is not None:
                found[name] = hit.value
            elif name not in self._under_way:
                missing.append(name)
        _cached.labels("cache").inc(len(found))
        _cached.labels("config").inc(len(missing))
        for at in range(0, len(missing), 1 if operation == "check" else BATCH):
            self._start(missing[at : at + (1 if operation == "check" else BATCH)])
        waiting = {name: self._under_way[name] for name in names if name not in found}
        if waiting:
            # Not cancelled with whoever waits here: others may wait for the same answer.
            await asyncio.wait(waiting.values())
            found.update({name: future.result() for name, future in waiting.items()})
        return [found[name] for name in names]

    def _start(self, names: list[_Key]) -> None:
        """Asks for `names`, which differ in their keys alone; the answers come through _under_way."""
        loop = asyncio.get_running_loop()
        for name in names:
            self._under_way[name] = loop.create_future()
        self._spawn(self._resolve(names))

    async def _resolve(self, names: list[_Key]) -> None:
        table, service, operation, _ = names[0]
        reply: TableReply | None = None
        fault = f"table {table}: asking was broken off"
        try:
            query = TableQuery(table, service, operation, [name[3] for name in names])
            reply = await self._request(CONFIG_TABLE_LOOKUP, query)
        except TableError as error:
            fault = str(error)
        finally:
            for index, name in enumerate(names):
                future = self._under_way.pop(name)
                if future.done():
                    continue
                if reply is None:
                    future.set_exception(TableError(fault))
                    future.exception()  # seen: nobody may be waiting any more
                else:
                    self._cache.put(name, reply.values[index], reply.ttl_s)
                    future.set_result(reply.values[index])

    async def _request(self, subject: Subject, query: TableQuery) -> TableReply:
        """A reply without error, with as many values as its query asks for."""
        try:
            reply: TableReply = await self._bus.request(subject, query, timeout_s=REQUEST_S)
        except (BusUnavailable, wire.RemoteFault, wire.UnknownVersion, wire.Malformed) as error:
            raise TableError(f"table {query.table}: {error}") from None
        if reply.error:
            raise TableError(reply.error)
        if len(reply.values) != (len(query.keys) if query.operation == "lookup" else 1):
            raise TableError(f"table {query.table}: the answer does not fit the question")
        return reply

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
