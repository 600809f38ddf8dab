"""One delivery program: started with the user's rights, fed the message, listened to, and ended with everything it left behind.

The program is /bin/sh -c LINE in a session of its own. Its input is a pipe that holds a small message whole before it begins; its
output is read as it comes and all but the end thrown away. After TIME_LIMIT_S, or when it is done, its process group is killed. Decides
nothing about outcomes: single.py does. OpenSMTPD: smtpd.c forkmda; its limit is an alarm that reaches one process only.

A kill -9 of ours leaves the program running: it sees the end of its input where the pipe stood. A message up to PIPE_BYTES was all in
the pipe; of a larger one the program may keep a part and say nothing. In either case the lease runs out and the message comes again.
"""

import array
import asyncio
import contextlib
import fcntl
import os
import signal
import subprocess
import termios
from collections.abc import AsyncIterator
from concurrent.futures import Executor
from dataclasses import dataclass

from smtpfleet.mda.output import OutputTail
from smtpfleet.mda.shell import SHELL
from smtpfleet.mda.way import ProgramWay

TIME_LIMIT_S = 300.0
"""How long a program may take (OpenSMTPD forkmda: alarm(300))."""
END_PATIENCE_S = 5.0
"""From SIGTERM to SIGKILL, and from SIGKILL until we stop waiting for a process the kernel holds. Chosen: time to remove a lock."""
PIPE_BYTES = 1024 * 1024
"""Size asked for the input pipe: a message that travels with its load fits; the most Linux gives without privilege."""
UNREAD_BYTES = 64 * 1024
"""Input left unread that is no fault: what a pipe holds by itself, so OpenSMTPD does not see it either."""
OUTPUT_LIMIT_BYTES = 16 * 1024 * 1024
"""A program that says more than this is ended. Chosen: no program's last line comes after so much."""
_READ_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended. code: exit status, or minus a signal. text: its last line, "" for none. fault: why we ended it, "" where it
    ended by itself. is_all_read: whether its input was used up."""

    code: int
    text: str
    fault: str
    is_all_read: bool


class Program:
    """One run of a program."""

    def __init__(self, way: ProgramWay, starters: Executor, time_limit_s: float = TIME_LIMIT_S) -> None:
        self._way = way
        self._starters = starters
        self._time_limit_s = time_limit_s
        self._loop = asyncio.get_running_loop()
        self._exited = asyncio.Event()
        self._output = OutputTail()
        self._fault = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._pidfd = -1
        self._input = -1
        self._input_end = -1
        self._output_end = -1

    async def run(self, message: AsyncIterator[bytes]) -> Ended:
        """Runs it to its end. Raises OSError where it cannot be started, and whatever reading the message raises: then the program was
        killed before it could take the cut message for a whole one."""
        self._input_end, self._input = _new_pipe()
        try:
            first = await anext(message, b"")
            unwritten = self._write(memoryview(first))
            try:
                async with asyncio.timeout(self._time_limit_s):
                    await self._start()
                    is_all_written = await self._feed(unwritten, message)
                    await self._exited.wait()
            except TimeoutError:
                is_all_written = False
                self._fault = self._fault or "terminated; timeout"
                await self._end()
            return self._ended(is_all_written)
        finally:
            self._kill()
            self._close()

    async def _start(self) -> None:
        """In a thread: a home on a dead file server stops the child before its program begins, and us with it."""
        self._output_end, program_output = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        # Descriptors of its own: the thread may be at it longer than we wait.
        program_input = os.dup(self._input_end)
        starting = self._loop.run_in_executor(self._starters, _start_process, self._way, program_input, program_output)
        try:
            self._process = await asyncio.shield(starting)
        except asyncio.CancelledError:
            starting.add_done_callback(_kill_unwanted)
            raise
        self._pidfd = os.pidfd_open(self._process.pid)
        self._loop.add_reader(self._pidfd, self._on_exit)
        self._loop.add_reader(self._output_end, self._on_output)

    async def _feed(self, unwritten: memoryview, message: AsyncIterator[bytes]) -> bool:
        """Whether everything got into the pipe before the program ended."""
        while True:
            while unwritten:
                await self._until_writable()
                if self._exited.is_set():
                    return False
                unwritten = self._write(unwritten)
            piece = await anext(message, None)
            if piece is None:
                os.close(self._input)
                self._input = -1
                return True
            unwritten = memoryview(piece)

    async def _until_writable(self) -> None:
        """Or until the program has ended: we hold the other end ourselves, so the pipe never breaks."""
        writable = asyncio.Event()
        self._loop.add_writer(self._input, writable.set)
        waits = [asyncio.ensure_future(writable.wait()), asyncio.ensure_future(self._exited.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._loop.remove_writer(self._input)
            for wait in waits:
                wait.cancel()

    def _write(self, data: memoryview) -> memoryview:
        """Writes what fits; returns the rest."""
        while data:
            try:
                data = data[os.write(self._input, data) :]
            except BlockingIOError:
                break
        return data

    def _on_output(self) -> None:
        try:
            data = os.read(self._output_end, _READ_BYTES)
        except BlockingIOError:
            return
        if not data:
            self._loop.remove_reader(self._output_end)
            return
        self._output.take(data)
        if self._output.taken_bytes > OUTPUT_LIMIT_BYTES and not self._fault:
            self._fault = "too much output"
            self._signal(signal.SIGKILL)

    def _on_exit(self) -> None:
        """The program is done. Its group goes before it is reaped: until then its number belongs to nobody else."""
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._pidfd = -1
        self._signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()
        self._exited.set()

    async def _end(self) -> None:
        for signum in (signal.SIGTERM, signal.SIGKILL):
            self._signal(signum)
            try:
                async with asyncio.timeout(END_PATIENCE_S):
                    await self._exited.wait()
                return
            except TimeoutError:
                continue  # what the kernel holds beyond SIGKILL is reaped by _on_exit when it lets go

    def _ended(self, is_all_written: bool) -> Ended:
        while self._output.taken_bytes <= OUTPUT_LIMIT_BYTES:
            try:
                data = os.read(self._output_end, _READ_BYTES)
            except BlockingIOError:
                break  # a process that left the group holds the other end; it is not waited for
            if not data:
                break
            self._output.take(data)
        unread = array.array("i", [0])
        fcntl.ioctl(self._input_end, termios.FIONREAD, unread)
        code = self._process.returncode if self._process is not None else None
        is_all_read = is_all_written and unread[0] <= UNREAD_BYTES
        return Ended(-signal.SIGKILL if code is None else code, self._output.last_line, self._fault, is_all_read)

    def _signal(self, signum: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            # None of the group may be left, or all that is may have changed its user (a setuid program).
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signum)

    def _kill(self) -> None:
        """Nothing goes on without us: we may be here because the message could not be read on, or the role is leaving."""
        if self._exited.is_set() or self._process is None or self._pidfd < 0:
            return
        self._signal(signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=0.5)
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1

    def _close(self) -> None:
        if self._output_end >= 0:
            self._loop.remove_reader(self._output_end)
        for descriptor in (self._input, self._input_end, self._output_end):
            if descriptor >= 0:
                os.close(descriptor)
        self._input = self._input_end = self._output_end = -1


def _new_pipe() -> tuple[int, int]:
    """Read end for the program, write end for us, as large as the kernel allows."""
    read_end, write_end = os.pipe2(os.O_CLOEXEC)
    # Refused where this user's pipes take too much already: then the message is written as the program reads.
    with contextlib.suppress(PermissionError):
        fcntl.fcntl(write_end, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    os.set_blocking(write_end, False)
    return read_end, write_end


def _start_process(way: ProgramWay, program_input: int, program_output: int) -> "subprocess.Popen[bytes]":
    """Closes both descriptors in any case. Raises OSError."""
    is_root = os.geteuid() == 0
    try:
        os.set_blocking(program_output, True)
        return subprocess.Popen(
            [SHELL, "-c", way.line],
            stdin=program_input,
            stdout=program_output,
            stderr=program_output,
            cwd=way.folder if os.access(way.folder, os.X_OK) and os.path.isdir(way.folder) else "/",  # noqa: PTH112
            env=way.variables,
            start_new_session=True,
            umask=0o077,
            user=way.uid if is_root else None,
            group=way.gid if is_root else None,
            extra_groups=[way.gid] if is_root else None,
        )
    finally:
        os.close(program_input)
        os.close(program_output)


def _kill_unwanted(starting: "asyncio.Future[subprocess.Popen[bytes]]") -> None:
    """The delivery was given up while its program was being started."""
    if starting.cancelled() or starting.exception() is not None:
        return
    process = starting.result()
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
