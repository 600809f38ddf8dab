"""The store: Lua scripts and reads on Redis, with durability that is checked. The only module that knows redis-py.

Only queue and scheduler hold a Store. Scripts belong to them and are atomic per call; when memory is short Redis refuses a script before
it begins, unless the script is one that makes room, so there is no half-written message.
Expected failures are four exceptions an operator can tell apart. `now_ms` is the store's clock, the only one due times know.
"""

import asyncio
import time
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ConnectionError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TimeoutError,
)

from smtpfleet.runtime import metrics
from smtpfleet.runtime.maillog import MailLog
from smtpfleet.runtime.settings import SECRET, RoleSettings

CALL_TIMEOUT_S = 5.0
"""One command; a flush to a busy disk takes tens of milliseconds. Chosen well below smtp-in's patience."""
CONNECTIONS = 16
"""Connections of one replica to the store. Chosen: calls are batches, a handful are under way at once."""
WAITAOF_MS = 2000
"""How long a replica may take to flush before the commit counts as failed. Chosen."""
FOREIGN_TIMEOUT_S = 1.0
"""Connecting to an operator's Redis, and one reply: master and slave are both tried within the patience of one lookup. Chosen."""
CLOCK_S = 5.0
"""How often the offset to the store's clock is measured; between, the monotonic clock carries it."""

_calls = metrics.histogram("store_call_seconds", "Time of one store call, flush included", ("script",))
_up = metrics.gauge("store_up", "1 while the store answers and takes writes")

Value = str | bytes | int


class Durability(StrEnum):
    """What a 250 promises. local: flushed here. replica: here and on a replica. relaxed: within a second (may lose it)."""

    LOCAL = "local"
    REPLICA = "replica"
    RELAXED = "relaxed"


class StoreSettings(RoleSettings, frozen=True, kw_only=True):
    """Settings of the roles that reach the store."""

    redis_url: Annotated[str, Meta(description="redis://[USER@]HOST:PORT/DB of the store.")] = (
        "redis://127.0.0.1:6379/0"
    )
    redis_password: Annotated[str, Meta(description="Password for Redis, or in a file by _FILE.", extra=SECRET)] = ""
    shards: Annotated[
        int, Meta(description="Shards of the store; fixed when the store is first used.", ge=1, le=1024)
    ] = 1


class StoreUnavailable(Exception):
    """The store does not answer, is loading, or refuses writes: nothing is known to have been written."""


class StoreFull(Exception):
    """The store is at its memory limit and takes no new data; deliveries make room."""


class Script:
    """A Lua file, after the files of functions it uses; its name is in the metrics.

    works_when_full: runs at the memory limit too, because it is part of what makes room (Redis 7 script flag allow-oom). All others
    are refused before they begin, so none is ever half done.
    """

    def __init__(self, path: Path, *functions: Path, works_when_full: bool = False) -> None:
        self.name = path.stem
        head = "#!lua flags=allow-oom" if works_when_full else "#!lua"
        self.source = "\n".join([head, *(part.read_text() for part in (*functions, path))])
        self.sha = ""


class Store:
    """Connection pool to one Redis."""

    def __init__(self, settings: StoreSettings, log: MailLog) -> None:
        self._log = log
        # The pool makes callers wait for a connection: more of them would not make one Redis faster.
        pool = BlockingConnectionPool.from_url(
            settings.redis_url,
            **({"password": settings.redis_password} if settings.redis_password else {}),
            max_connections=CONNECTIONS,
            timeout=CALL_TIMEOUT_S,
            socket_timeout=CALL_TIMEOUT_S,
            socket_connect_timeout=2.0,
            # Retrying is the caller's decision: it knows whether the call may be repeated.
            retry=Retry(NoBackoff(), 0),
            health_check_interval=0,
        )
        self._redis = Redis.from_pool(pool)
        self._offset_ms = 0.0
        self._is_up = False

    @property
    def is_up(self) -> bool:
        """Whether the last call succeeded."""
        return self._is_up

    def now_ms(self) -> int:
        """The store's clock, epoch milliseconds, carried by the monotonic clock since the last measurement."""
        return int(time.monotonic() * 1000 + self._offset_ms)

    async def connect(self) -> None:
        """Waits until the store answers, as long as it takes, and says so."""
        waited = False
        while True:
            try:
                await self._measure_clock()
                break
            except StoreUnavailable as error:
                if not waited:
                    self._log.warning("waiting for redis", error=error)
                    waited = True
                await asyncio.sleep(0.5)
        self._log.info("connected to redis")

    async def follow_clock(self) -> None:
        """Runs for the life of the process."""
        while True:
            await asyncio.sleep(CLOCK_S)
            try:
                await self._measure_clock()
            except StoreUnavailable:
                continue

    async def _measure_clock(self) -> None:
        before = time.monotonic()
        seconds, micros = await self._guard("time", self._redis.time())
        after = time.monotonic()
        self._offset_ms = seconds * 1000 + micros / 1000 - (before + after) / 2 * 1000

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[Value], *, waitaof: bool = False) -> Any:
        """Runs `script`. With waitaof, also until one replica has flushed; StoreUnavailable if none did in time.

        Raises StoreUnavailable or StoreFull. After StoreUnavailable the script may have run: repeat it only if it is idempotent.
        """
        started = time.perf_counter()
        result = await self._guard(script.name, self._evaluate(script, keys, args, waitaof))
        _calls.labels(script.name).observe(time.perf_counter() - started)
        return result

    async def _evaluate(self, script: Script, keys: Sequence[str], args: Sequence[Value], waitaof: bool) -> Any:
        for _ in range(2):
            try:
                if not script.sha:
                    script.sha = await self._redis.script_load(script.source)
                if not waitaof:
                    return await self._redis.evalsha(script.sha, len(keys), *keys, *args)
                async with self._redis.pipeline(transaction=False) as pipe:
                    pipe.evalsha(script.sha, len(keys), *keys, *args)
                    pipe.waitaof(1, 1, WAITAOF_MS)
                    result, flushed = await pipe.execute()
                if flushed[0] < 1 or flushed[1] < 1:
                    raise StoreUnavailable(f"flushed by {flushed[0]} local and {flushed[1]} replicas, need 1 and 1")
                return result
            except NoScriptError:  # Redis restarted or failed over
                script.sha = ""
        raise StoreUnavailable(f"script {script.name} does not stay loaded")

    async def run_all(self, script: Script, runs: Sequence[tuple[Sequence[str], Sequence[Value]]]) -> list[Any]:
        """Runs `script` once per (keys, args) in one round trip; each run is atomic by itself. The results, in order.

        Raises StoreUnavailable or StoreFull, after which any of them may have run.
        """
        started = time.perf_counter()
        results: list[Any] = await self._guard(script.name, self._evaluate_all(script, runs))
        _calls.labels(script.name).observe(time.perf_counter() - started)
        return results

    async def _evaluate_all(self, script: Script, runs: Sequence[tuple[Sequence[str], Sequence[Value]]]) -> list[Any]:
        if not script.sha:
            script.sha = await self._redis.script_load(script.source)
        async with self._redis.pipeline(transaction=False) as pipe:
            for keys, args in runs:
                pipe.evalsha(script.sha, len(keys), *keys, *args)
            results = await pipe.execute(raise_on_error=False)
        for number, result in enumerate(results):
            if isinstance(result, NoScriptError):  # Redis restarted or failed over; it has not run
                results[number] = await self._evaluate(script, *runs[number], waitaof=False)
            elif isinstance(result, Exception):
                raise result
        return results

    async def call(self, *command: Value) -> Any:
        """One plain command, for reads off the path of a message and for start-up checks."""
        return await self._guard(
            str(command[0]).lower(),
            self._redis.execute_command(*command),  # type: ignore[no-untyped-call]
        )

    async def read(self, commands: Sequence[tuple[Value, ...]]) -> list[Any]:
        """The replies of several read commands, in order, in one round trip; an error in one is returned in its place."""
        pipe = self._redis.pipeline(transaction=False)
        for command in commands:
            pipe.execute_command(*command)
        result: list[Any] = await self._guard("read", pipe.execute(raise_on_error=False))
        return result

    async def _guard(self, name: str, calling: Any) -> Any:
        try:
            result = await calling
        except OutOfMemoryError:
            raise StoreFull("redis is at maxmemory") from None
        except (AuthenticationError, NoPermissionError) as error:
            self._down(f"redis refuses us: {error}")
            raise StoreUnavailable(f"redis refuses us: {error}") from None
        except (ReadOnlyError, BusyLoadingError, ConnectionError, TimeoutError, OSError) as error:
            self._down(f"{error or type(error).__name__}")
            raise StoreUnavailable(f"{name}: {error or type(error).__name__}") from None
        except ResponseError as error:
            if _is_oom(error):
                raise StoreFull("redis is at maxmemory") from None
            if str(error).startswith(
                ("NOREPLICAS", "MISCONF", "READONLY", "LOADING", "MASTERDOWN")
            ) or "NOREPLICAS" in str(error):
                self._down(str(error))
                raise StoreUnavailable(f"{name}: {error}") from None
            raise
        except RedisError as error:
            raise StoreUnavailable(f"{name}: {error}") from None
        if not self._is_up:
            self._is_up = True
            _up.set(1)
        return result

    def _down(self, why: str) -> None:
        if self._is_up:
            self._log.warning("redis unavailable", error=why)
        self._is_up = False
        _up.set(0)

    async def check_durability(self, wanted: Durability) -> str:
        """What is wrong with the server's settings for `wanted`, or ""."""
        try:
            raw = await self.call("CONFIG", "GET", "append*")
        except ResponseError:
            return "cannot read CONFIG: make sure that appendonly is yes and appendfsync always"
        config = raw if isinstance(raw, dict) else dict(zip(raw[::2], raw[1::2], strict=True))
        text = {_text(name): _text(value) for name, value in config.items()}
        if text.get("appendonly") != "yes":
            return "redis has appendonly no: nothing would survive a restart; set appendonly yes"
        if wanted is not Durability.RELAXED and text.get("appendfsync") != "always":
            return (
                f"redis has appendfsync {text.get('appendfsync')}: a 250 would not be durable; set appendfsync always"
            )
        return ""

    async def close(self) -> None:
        """Closes the connections."""
        await self._redis.aclose()


class ForeignRedis:
    """A Redis of the operator's that is no store of ours: config's redis tables ask it, one command at a time."""

    def __init__(self, *, host: str, port: int, socket_path: str, database: int, password: str) -> None:
        """socket_path: instead of host and port, "" for none. Nothing is connected before the first command."""
        where: dict[str, Any] = {"unix_socket_path": socket_path} if socket_path else {"host": host, "port": port}
        self._redis: Any = Redis(
            **where,
            socket_timeout=FOREIGN_TIMEOUT_S,
            socket_connect_timeout=FOREIGN_TIMEOUT_S,
            db=database,
            password=password or None,
            max_connections=CONNECTIONS,
            protocol=2,
            # A connection the server closed while it was idle is opened again; what is asked is a lookup, so twice does no harm.
            retry=Retry(NoBackoff(), 1),
        )
        self._redis.response_callbacks.clear()  # replies as the server gives them, not as redis-py's types

    async def command(self, *words: str) -> Any:
        """The raw reply. Raises StoreUnavailable, also where the server refuses the command."""
        try:
            return await self._redis.execute_command(*words)
        except (RedisError, OSError) as error:
            raise StoreUnavailable(str(error) or type(error).__name__) from None

    async def close(self) -> None:
        """Closes the connections."""
        await self._redis.aclose()


def _is_oom(error: ResponseError) -> bool:
    text = str(error)
    return text.startswith("OOM") or "OOM command not allowed" in text


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
