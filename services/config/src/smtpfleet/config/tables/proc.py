"""A table answered by a program: OpenSMTPD's external table protocol 0.1 on its standard input and output (smtpd-tables(7)).

The program is started from an argument list, never by a shell, when it is first asked, and again after it died, hung or broke the
protocol. Questions are asked one after the other, as the protocol wants. Most of OpenSMTPD's helpers read their files when they start
and when they are told to update, never else. What it writes to standard error is not kept: helpers of
OpenSMTPD print their configuration there, passwords included. Made by opening.py. OpenSMTPD: table_proc.c (reference 9.5).
"""

import asyncio
import contextlib
import os
import secrets
import shlex
import signal
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable
from pathlib import Path

from smtpfleet.config.tables.backend import BackendFailed
from smtpfleet.contracts.commands import TableService

PROTOCOL = "0.1"
SMTPD_VERSION = "7.8.0"
"""The OpenSMTPD whose protocol we speak; a helper may look at it."""
LINE_LIMIT_BYTES = 64 * 1024
"""The longest answer. Chosen: OpenSMTPD's helpers cut at LINE_MAX, 2 KiB."""
RESTART_PAUSE_S = 1.0
"""Between two starts: a helper that dies at once must not cost a process per question. Chosen."""
LEAVE_S = 2.0
"""A helper whose input is closed may take this long to leave before it is killed. Chosen."""
SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""A helper's whole environment is PATH, as under OpenSMTPD; ours holds the bus's password."""


def files_of_command(command: str) -> list[Path]:
    """What a helper may read: the arguments that are absolute paths. The program itself is none of them."""
    return [Path(argument) for argument in shlex.split(command)[1:] if argument.startswith("/")]


class ProcBackend:
    """One helper, for one table."""

    def __init__(self, name: str, command: str, now_s: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._arguments = shlex.split(command)
        self._now_s = now_s
        self._process: Process | None = None
        self._services: set[str] = set()
        self._turn = asyncio.Lock()
        self._start_at_s = 0.0
        self._ending: set[asyncio.Task[None]] = set()

    async def lookup(self, service: TableService, keys: list[str]) -> list[str | None]:
        """The value of each key."""
        return [await self._ask("lookup", service, key) for key in keys]

    async def check(self, service: TableService, keys: list[str]) -> bool:
        """Whether any of the keys is there."""
        for key in keys:
            if await self._ask("check", service, key) is not None:
                return True
        return False

    async def fetch(self, service: TableService) -> str | None:
        """The next value, as the helper counts."""
        return await self._ask("fetch", service, None)

    async def serves(self, service: TableService) -> bool:
        """Whether the helper has registered the service; starts it, if it has to be."""
        async with self._turn:
            try:
                await self._started()
            except BaseException:
                self._kill()
                raise
            return service in self._services

    async def update(self) -> bool:
        """Has a running helper read its files anew; False where it cannot, and goes on with what it had."""
        async with self._turn:
            if self._process is None or self._process.returncode is not None:
                return True  # it reads them when it starts
            try:
                answer = await self._exchange(self._process, "update")
                match answer:
                    case ["ok"]:
                        return True
                    case ["error", *_]:
                        return False
                raise BackendFailed("the helper answered something that was not asked")
            except BaseException:
                self._kill()
                raise

    async def close(self) -> None:
        """Closes the helper's input, which tells it to leave."""
        async with self._turn:
            process, self._process = self._process, None
            if process is not None:
                await _see_off(process)
        if self._ending:
            await asyncio.wait(self._ending)

    async def _ask(self, operation: str, service: TableService, key: str | None) -> str | None:
        """The value, "" where a check found the key, None where it is not there."""
        async with self._turn:
            try:
                process = await self._started()
                if service not in self._services:
                    raise _Answered(f"the helper does not serve {service}")
                return _read_answer(operation, await self._exchange(process, operation, service, key))
            except _Answered as error:
                raise BackendFailed(str(error)) from None
            except BaseException:
                # Out of step, or cancelled by the time limit: its answer would be taken for that of the next question.
                self._kill()
                raise

    async def _exchange(
        self, process: Process, operation: str, service: TableService | None = None, key: str | None = None
    ) -> list[str]:
        """Asks, and gives the words of the answer behind the identifier; the last keeps its bars."""
        identifier = secrets.token_hex(8)
        words = ("table", PROTOCOL, f"{time.time():.6f}", self._name, operation, service, identifier, key)
        await self._send(process, "|".join(word for word in words if word is not None))
        kind, *rest = (await self._receive(process)).split("|", 3)
        # smtpd-tables(7) shows a fetch answered by lookup-result, smtpd wants fetch-result; both are taken.
        kinds = {f"{operation}-result"} | ({"lookup-result"} if operation == "fetch" else set())
        if kind not in kinds or len(rest) < 2 or rest[0] != identifier:
            raise BackendFailed("the helper answered something that was not asked")
        return rest[1:]

    async def _started(self) -> Process:
        """The running helper, after its greeting."""
        if self._process is not None and self._process.returncode is None:
            return self._process
        if self._now_s() < self._start_at_s:
            raise BackendFailed("the helper has just died, it is started again in a moment")
        self._start_at_s = self._now_s() + RESTART_PAUSE_S
        try:
            self._process = process = await asyncio.create_subprocess_exec(
                *self._arguments,
                stdin=PIPE,
                stdout=PIPE,
                stderr=DEVNULL,
                env={"PATH": SEARCH_PATH},
                limit=LINE_LIMIT_BYTES,
                start_new_session=True,
            )
        except OSError as error:
            raise BackendFailed(f"cannot start {self._arguments[0]}: {error.strerror}") from None
        for line in (f"smtpd-version|{SMTPD_VERSION}", f"protocol|{PROTOCOL}", f"tablename|{self._name}", "ready"):
            await self._send(process, f"config|{line}")
        self._services = set()
        while (line := await self._receive(process)) != "register|ready":
            kind, _, service = line.partition("|")
            if kind != "register" or not service or len(self._services) > len(TableService):
                raise BackendFailed("the helper does not speak the table protocol")
            self._services.add(service)
        return process

    async def _send(self, process: Process, line: str) -> None:
        assert process.stdin is not None
        try:
            process.stdin.write(line.encode() + b"\n")
            await process.stdin.drain()
        except (OSError, RuntimeError):  # RuntimeError: uvloop's name for a pipe that is closed
            raise BackendFailed("the helper has died") from None

    async def _receive(self, process: Process) -> str:
        assert process.stdout is not None
        try:
            line = await process.stdout.readuntil(b"\n")
            return line[:-1].decode()
        except asyncio.IncompleteReadError:
            raise BackendFailed("the helper has died") from None
        except asyncio.LimitOverrunError:
            raise BackendFailed(f"the helper answered with more than {LINE_LIMIT_BYTES} bytes") from None
        except UnicodeDecodeError:
            raise BackendFailed("the helper answered in other than UTF-8") from None

    def _kill(self) -> None:
        """Ends the helper at once; nobody waits for it, but its pipes are emptied and its exit is collected."""
        process, self._process = self._process, None
        if process is not None:
            _end_group(process)
            task = asyncio.get_running_loop().create_task(_see_off(process))
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)


async def _see_off(process: Process) -> None:
    """Returns when the helper has left, which the end of its input tells it to do."""
    try:
        async with asyncio.timeout(LEAVE_S):
            with contextlib.suppress(OSError):
                await process.communicate()
    except TimeoutError:
        _end_group(process)
        await process.wait()


def _end_group(process: Process) -> None:
    """Kills the helper and what it has started, which is a process group of its own."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


class _Answered(Exception):
    """The helper is well and in step, and says that it cannot answer this."""


def _read_answer(operation: str, words: list[str]) -> str | None:
    """The value in an answer; what follows `found|` belongs to it, bars included."""
    match words:
        case ["found"] if operation == "check":
            return ""
        case ["found", value] if operation != "check" and "\r" not in value and "\0" not in value:
            return value
        case ["not-found"]:
            return None
        case ["error", *_]:
            raise _Answered("the helper cannot answer")
    raise BackendFailed("the helper answered something that was not asked")
