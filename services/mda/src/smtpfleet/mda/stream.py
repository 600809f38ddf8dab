"""One large message written as its chunks come, so that it is never whole in memory. Same steps and promises as group.py.

StreamedFile does the file work and blocks; deliver_stream runs its steps in threads while chunks are read from queue. A message that
ends early is never published: its size is known from the commit.
"""

import os
from collections.abc import AsyncIterator, Awaitable, Callable

from smtpfleet.contracts import wire
from smtpfleet.mail.dots import lf_lines
from smtpfleet.mail.headers import has_delivered_to
from smtpfleet.mda.attempt import Attempt, delivered, failed_by, looped, tempfailed
from smtpfleet.mda.delivery import Delivery
from smtpfleet.mda.group import MOVED, Attempts, Reach, WrittenFile, find_copies, flush_files, publish_files, write_all
from smtpfleet.mda.maildir import Maildir, Maildirs
from smtpfleet.runtime import killpoint
from smtpfleet.runtime.bus import BusUnavailable

InThread = Callable[..., Awaitable[Attempt | None]]
"""Calls a blocking function with its arguments in a thread."""


class StreamedFile:
    """One delivery's file. `take` each chunk, `finish`, and `close` in any case. A step that returns an Attempt was the last."""

    def __init__(self, maildirs: Maildirs, delivery: Delivery, reach: Reach = killpoint.reach) -> None:
        self._maildirs = maildirs
        self._delivery = delivery
        self._reach = reach
        self._maildir: Maildir | None = None
        self._file: WrittenFile | None = None
        self._taken_bytes = 0

    def take(self, chunk: bytes) -> Attempt | None:
        """Writes the next chunk; the first also decides on loop and moved copy. A header beyond the first chunk is not looked at."""
        try:
            file = self._file or self._begin(chunk)
            if isinstance(file, Attempt):
                return file
            self._taken_bytes += len(chunk)
            write_all(file.descriptor, lf_lines(chunk))
            # Write-back begins now, so that the flush at the end does not have the whole message before it.
            os.posix_fadvise(file.descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        except OSError as error:
            return failed_by(self._delivery.evpid, error, self._delivery.path)
        return None

    def finish(self) -> Attempt:
        """Flushes and publishes, if it is all there."""
        file, delivery = self._file, self._delivery
        if file is None or self._taken_bytes != delivery.size_bytes:
            return tempfailed(
                delivery.evpid, f"content has {self._taken_bytes} bytes, its message record says {delivery.size_bytes}"
            )
        self._reach("mda.delivery.written")
        self._file = None  # closed by flush_files, and from here on no leftover of ours in tmp/
        attempts: Attempts = {}
        flushed = flush_files([file], attempts)
        self._reach("mda.delivery.flushed")
        publish_files(flushed, attempts, self._reach)
        self._reach("mda.delivery.delivered")
        return attempts[delivery]

    def close(self) -> None:
        """Removes what was not finished."""
        if self._file is not None:
            os.close(self._file.descriptor)
            self._file.maildir.discard(self._file.tmp_name)
            self._file = None
        if self._maildir is not None:
            self._maildir.close()
            self._maildir = None

    def _begin(self, first_chunk: bytes) -> WrittenFile | Attempt:
        delivery = self._delivery
        path, folder = delivery.place(first_chunk)
        maildir = self._maildir = self._maildirs.open(path, folder)
        if find_copies(self._maildirs, maildir, [delivery]).intersection({delivery.evpid}):
            return delivered(delivery.evpid, MOVED)
        if has_delivered_to(first_chunk, delivery.dest):
            return looped(delivery.evpid)
        tmp_name = self._maildirs.new_tmp_name(delivery.evpid)
        self._file = WrittenFile(delivery, maildir, tmp_name, maildir.create(tmp_name))
        self._reach("mda.delivery.created")
        write_all(self._file.descriptor, delivery.prefix)
        return self._file


async def deliver_stream(file: StreamedFile, evpid: str, chunks: AsyncIterator[bytes], in_thread: InThread) -> Attempt:
    """The attempt, with the file removed unless it was delivered."""
    try:
        async for chunk in chunks:
            if attempt := await in_thread(file.take, chunk):
                return attempt
        attempt = await in_thread(file.finish)
        assert attempt is not None
        return attempt
    except (BusUnavailable, wire.RemoteFault, wire.UnknownVersion, wire.Malformed) as error:
        return tempfailed(evpid, f"content cannot be read: {error}")
    finally:
        await in_thread(file.close)
