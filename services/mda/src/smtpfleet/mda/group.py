"""Several deliveries in one go: written, flushed, published, flushed, so that the disk's journal is asked twice and not per message.

The only promise that counts is made here: `delivered` means file and directory entry are flushed. Called in a thread by sessions.py
with small messages of one or more maildirs; large ones are for stream.py. Measured on ext4, groups of 25: starting write-back of all
files before the first fsync gives 4,400 deliveries a second, flushing one by one 2,200.

What a kill -9 (or, after the named flush, a power cut) leaves between two durable effects, by the point reached, and who repairs it:

  created    an empty or partial file in tmp/: no client reads tmp/; Maildir.tidy removes it after 36 h
  written    as above with whole files; the lease runs out and another attempt uses another name in tmp/
  flushed    as above
  published  complete files in new/, the outcome unreported: the lease runs out, the redelivery has the same name and replaces them
             (publish), or finds them in cur/ where the client has moved them (find_moved). A power cut may also take the entry back:
             then the redelivery makes the only copy
  delivered  as published, and no power cut takes it back
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from smtpfleet.mail.dots import lf_lines
from smtpfleet.mail.headers import has_delivered_to
from smtpfleet.mda.attempt import Attempt, delivered, failed_by, looped
from smtpfleet.mda.delivery import Delivery
from smtpfleet.mda.maildir import Maildir, Maildirs
from smtpfleet.mda.rights import acting_as
from smtpfleet.runtime import killpoint

Attempts = dict[Delivery, Attempt]
MOVED = "an earlier attempt's copy is in cur/"

Reach = Callable[[str], None]
"""Told each point of the table above as `mda.delivery.<point>`; tests kill the process there."""


@dataclass(slots=True)
class WrittenFile:
    """A complete file in tmp/, not flushed, still open."""

    delivery: Delivery
    maildir: Maildir
    tmp_name: str
    descriptor: int


def deliver_group(maildirs: Maildirs, deliveries: Sequence[Delivery], reach: Reach = killpoint.reach) -> list[Attempt]:
    """One attempt per delivery, in order. What fails for one of them does not touch the others."""
    attempts: Attempts = {}
    opened: list[Maildir] = []
    try:
        written: list[WrittenFile] = []
        for (path, folder), members in _by_maildir(deliveries).items():
            try:
                maildir = maildirs.open(path, folder)
            except OSError as error:
                attempts |= {delivery: failed_by(delivery.evpid, error, path) for delivery in members}
                continue
            opened.append(maildir)
            written += _write_members(maildirs, maildir, members, attempts, reach)
        reach("mda.delivery.written")
        flushed = flush_files(written, attempts)
        reach("mda.delivery.flushed")
        publish_files(flushed, attempts, reach)
        reach("mda.delivery.delivered")
        return [attempts[delivery] for delivery in deliveries]
    finally:
        for maildir in opened:
            maildir.close()


def deliver_as_users(
    deliveries: Sequence[Delivery], deliver: Callable[[Sequence[Delivery]], list[Attempt]]
) -> list[Attempt]:
    """`deliver` with the rights of the users: all at once where those are ours, one user after the other where we are root."""
    if os.geteuid() != 0:
        return deliver(deliveries)
    by_user: dict[tuple[int, int], list[Delivery]] = {}
    for delivery in deliveries:
        by_user.setdefault((delivery.uid, delivery.gid), []).append(delivery)
    attempts: Attempts = {}
    for (uid, gid), members in by_user.items():
        try:
            with acting_as(uid, gid):
                attempts |= zip(members, deliver(members), strict=True)
        except OSError as error:
            attempts |= {delivery: failed_by(delivery.evpid, error, f"becoming uid {uid}") for delivery in members}
    return [attempts[delivery] for delivery in deliveries]


def find_copies(maildirs: Maildirs, maildir: Maildir, members: Sequence[Delivery]) -> frozenset[str]:
    """evpids whose copy of an earlier attempt has been moved to cur/. No copy where cur/ cannot be read: doubling beats losing."""
    try:
        return maildir.find_moved(min(delivery.created_at_s for delivery in members), maildirs.now_s())
    except OSError:
        return frozenset()


def write_all(descriptor: int, *parts: bytes) -> None:
    """Writes everything or raises OSError: a disk that fills up takes a part first."""
    done = os.writev(descriptor, parts)
    if done < sum(map(len, parts)):
        rest = memoryview(b"".join(parts))[done:]
        while rest:
            rest = rest[os.write(descriptor, rest) :]


def _by_maildir(deliveries: Sequence[Delivery]) -> dict[tuple[str, str], list[Delivery]]:
    groups: dict[tuple[str, str], list[Delivery]] = {}
    for delivery in deliveries:
        # Hardly any rule wants junk apart; the others are not to pay for the question.
        place = delivery.place(delivery.content) if delivery.is_junk else (delivery.path, delivery.folder)
        groups.setdefault(place, []).append(delivery)
    return groups


def _write_members(
    maildirs: Maildirs, maildir: Maildir, members: Sequence[Delivery], attempts: Attempts, reach: Reach
) -> list[WrittenFile]:
    written: list[WrittenFile] = []
    copies = find_copies(maildirs, maildir, members)
    for delivery in members:
        if delivery.evpid in copies:
            attempts[delivery] = delivered(delivery.evpid, MOVED)
        elif has_delivered_to(delivery.content, delivery.dest):
            attempts[delivery] = looped(delivery.evpid)
        else:
            result = _write(maildir, delivery, maildirs.new_tmp_name(delivery.evpid), reach)
            if isinstance(result, Attempt):
                attempts[delivery] = result
            else:
                written.append(result)
    return written


def _write(maildir: Maildir, delivery: Delivery, tmp_name: str, reach: Reach) -> WrittenFile | Attempt:
    descriptor = -1
    try:
        descriptor = maildir.create(tmp_name)
        reach("mda.delivery.created")
        write_all(descriptor, delivery.prefix, lf_lines(delivery.content))
        # Starts write-back without waiting, so that the flushes below find most of their work done. Drops no page: all are dirty.
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    except OSError as error:
        if descriptor >= 0:
            os.close(descriptor)
            maildir.discard(tmp_name)
        return failed_by(delivery.evpid, error, maildir.path)
    return WrittenFile(delivery, maildir, tmp_name, descriptor)


def flush_files(written: Sequence[WrittenFile], attempts: Attempts) -> list[WrittenFile]:
    """Flushes and closes; returns what is safe in tmp/ and adds the attempts of what is not."""
    flushed: list[WrittenFile] = []
    for file in written:
        try:
            try:
                os.fsync(file.descriptor)
            finally:
                os.close(file.descriptor)
        except OSError as error:
            # Never tried again on the same file: after a failed fsync the pages count as clean though they are not on disk.
            file.maildir.discard(file.tmp_name)
            attempts[file.delivery] = failed_by(file.delivery.evpid, error, file.maildir.path)
        else:
            flushed.append(file)
    return flushed


def publish_files(flushed: Sequence[WrittenFile], attempts: Attempts, reach: Reach) -> None:
    """Moves flushed files to new/ and flushes each new/ once; only then is anything delivered."""
    published: dict[int, list[WrittenFile]] = {}
    for file in flushed:
        try:
            file.maildir.publish(file.tmp_name, file.delivery.name)
        except OSError as error:
            file.maildir.discard(file.tmp_name)
            attempts[file.delivery] = failed_by(file.delivery.evpid, error, file.maildir.path)
        else:
            published.setdefault(file.maildir.new, []).append(file)
    reach("mda.delivery.published")
    for directory, files in published.items():
        try:
            os.fsync(directory)
        except OSError as error:
            # The entry may or may not last; the next attempt replaces it by name.
            attempts |= {file.delivery: failed_by(file.delivery.evpid, error, file.maildir.path) for file in files}
        else:
            attempts |= {file.delivery: delivered(file.delivery.evpid) for file in files}
