"""Carries out a delivery that is not a maildir's: by program, mailbox file or LMTP, and says what became of it.

The one place in mda where exit codes and replies are classified: for good only where the language of the configuration has it so (7.8),
else everything is temporary (5.4). Whose turn it is was decided by sessions.py. OpenSMTPD: mda.c mda_handle_done, mail.lmtp.c.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar
from weakref import WeakValueDictionary

from smtpfleet.contracts.outcome import OutcomeKind
from smtpfleet.contracts.status import S451_LOCAL_ERROR, Status, StatusClass
from smtpfleet.mail.dots import lf_lines
from smtpfleet.mail.headers import has_delivered_to
from smtpfleet.mda.attempt import Attempt, delivered, failed_by, looped, tempfailed
from smtpfleet.mda.content import ContentUnreadable, ReadContent, pieces
from smtpfleet.mda.delivery import Delivery
from smtpfleet.mda.lmtp import LmtpFault, Refused, hand_over
from smtpfleet.mda.mailbox import AppendedFile
from smtpfleet.mda.program import Ended, Program
from smtpfleet.mda.way import FileWay, LmtpWay, ProgramWay
from smtpfleet.runtime import killpoint

TEMPORARY_EXITS = frozenset({71, 75})
"""EX_OSERR and EX_TEMPFAIL of sysexits(3); all other codes are permanent in 7.8."""
THREADS = 64
"""Most steps that block at once: one per session (`limit mda max-session` is 50) and some that hang on dead homes. Made when needed."""

T = TypeVar("T")


class Singles:
    """Deliveries of one message each."""

    def __init__(self, read_content: ReadContent) -> None:
        self._read_content = read_content
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="single")
        self._loop = asyncio.get_running_loop()
        # One append per file at a time; the others wait here and not in a thread.
        self._files: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def deliver(self, delivery: Delivery) -> Attempt:
        """The attempt. Nothing of it goes on afterwards, also where it is cancelled."""
        content = pieces(delivery, self._read_content)
        try:
            first = await anext(content, b"")
            if has_delivered_to(first, delivery.dest):
                return looped(delivery.evpid)
            return await self._deliver(delivery, _rejoined(first, content))
        except ContentUnreadable as error:
            return tempfailed(delivery.evpid, str(error))
        finally:
            await content.aclose()

    def close(self) -> None:
        """No more steps."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _deliver(self, delivery: Delivery, content: AsyncIterator[bytes]) -> Attempt:
        match delivery.way:
            case ProgramWay() as way:
                return await self._run(delivery, way, content)
            case FileWay() as way:
                return await self._append(delivery, way, content)
            case LmtpWay() as way:
                return await _hand_over(delivery, way, content)
            case None:
                raise AssertionError("a maildir is not delivered to here")

    async def _run(self, delivery: Delivery, way: ProgramWay, content: AsyncIterator[bytes]) -> Attempt:
        try:
            ended = await Program(way, self._pool).run(_file_pieces(delivery, content))
        except OSError as error:
            return failed_by(delivery.evpid, error, "program")
        killpoint.reach("mda.program.ended")
        return attempt_of_program(delivery.evpid, ended, is_strict=way.is_strict)

    async def _append(self, delivery: Delivery, way: FileWay, content: AsyncIterator[bytes]) -> Attempt:
        lock = self._files.setdefault(way.path, asyncio.Lock())
        async with lock:
            file = AppendedFile(delivery, way)
            try:
                async for piece in content:
                    if attempt := await self._in_thread(file.take, piece):
                        return attempt
                return await self._in_thread(file.finish)
            finally:
                await asyncio.shield(self._in_thread(file.close))

    async def _in_thread(self, work: Callable[..., T], *arguments: object) -> T:
        return await self._loop.run_in_executor(self._pool, work, *arguments)


async def _rejoined(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in rest:
        yield piece


async def _file_pieces(delivery: Delivery, content: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Header lines of ours and content with LF line ends; a small message is one piece."""
    head = delivery.prefix
    async for piece in content:
        yield head + lf_lines(piece)
        head = b""


def attempt_of_program(evpid: str, ended: Ended, *, is_strict: bool) -> Attempt:
    """What the end of a program means for the envelope."""
    if ended.fault:
        return _temporary(evpid, ended.fault)
    if ended.code == 0:
        return delivered(evpid) if ended.is_all_read else _temporary(evpid, "mda exited prematurely")
    text = ended.text or (f"terminated; signal {-ended.code}" if ended.code < 0 else "exited abnormally")
    if is_strict and ended.code > 0 and ended.code not in TEMPORARY_EXITS:
        return Attempt(evpid, OutcomeKind.PERMFAIL, Status(554, "5.3.0", text), f"exit {ended.code}")
    return _temporary(evpid, text, f"exit {ended.code}" if ended.code > 0 else "")


def attempt_of_reply(evpid: str, command: str, status: Status, *, is_strict: bool) -> Attempt:
    """What a 4xx or 5xx of an LMTP peer means for the envelope."""
    if status.status_class is not StatusClass.PERMANENT:
        return Attempt(evpid, OutcomeKind.TEMPFAIL, status, command)
    if is_strict:
        return Attempt(evpid, OutcomeKind.PERMFAIL, status, command)
    # 5.4 tries again whatever the peer says; the code of a temporary failure must not be a permanent one.
    return _temporary(evpid, status.line, command)


async def _hand_over(delivery: Delivery, way: LmtpWay, content: AsyncIterator[bytes]) -> Attempt:
    try:
        await hand_over(way, delivery.prefix, content)
    except Refused as refused:
        where = f"{refused} at {way.text}"
        return attempt_of_reply(delivery.evpid, where, refused.status, is_strict=way.is_strict)
    except LmtpFault as fault:
        return tempfailed(delivery.evpid, f"{way.text}: {fault}")
    return delivered(delivery.evpid)


def _temporary(evpid: str, text: str, detail: str = "") -> Attempt:
    return tempfailed(evpid, detail, Status(S451_LOCAL_ERROR.code, S451_LOCAL_ERROR.esc, text))
