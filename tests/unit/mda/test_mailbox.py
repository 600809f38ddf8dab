"""Mailbox files, real ones: what is in them afterwards, who else is heeded, and what must not be written to."""

import fcntl
import os
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from smtpfleet.contracts.outcome import OutcomeKind
from smtpfleet.mda.attempt import S452_MAILBOX_FULL, Attempt
from smtpfleet.mda.mailbox import AppendedFile
from smtpfleet.mda.mboxlines import FromQuoting
from smtpfleet.mda.way import FileWay, LocalPolicy
from tests.support.local_mail import CONTENT, delivery_of, expected_file, loaded, local_envelope

NOW_S = 1_700_000_000.0
FROM = b"From bob@example.net Tue Nov 14 22:13:20 2023\n"
IS_ROOT = os.geteuid() == 0
NOBODY = 65534


@pytest.fixture(autouse=True)
def no_descriptor_is_left_open() -> Iterator[None]:
    before = set(os.listdir("/proc/self/fd"))
    yield
    assert set(os.listdir("/proc/self/fd")) <= before


def append(
    path: Path, *pieces: bytes, number: int = 1, sender: str = "bob@example.net", is_spool: bool = True
) -> Attempt:
    """One message appended to `path`."""
    method, target = ("mbox", "") if is_spool else ("file", str(path))
    envelope = local_envelope(number, sender=sender, method=method, target=target)
    policy = LocalPolicy(mbox_folder=str(path.parent))
    delivery = delivery_of(loaded(envelope), path.parent, policy, uid=None if is_spool else (os.geteuid() or NOBODY))
    assert isinstance(delivery.way, FileWay)
    file = AppendedFile(delivery, delivery.way, now_s=NOW_S)
    try:
        for piece in pieces or (CONTENT,):
            if attempt := file.take(piece):
                return attempt
        return file.finish()
    finally:
        file.close()


def whole(number: int = 1) -> bytes:
    return FROM + expected_file(local_envelope(number)) + b"\n"


def test_messages_stand_one_after_the_other(tmp_path: Path) -> None:
    box = tmp_path / "alice"
    assert append(box).kind is append(box, number=2).kind is OutcomeKind.DELIVERED
    assert box.read_bytes() == whole() + whole(2)
    assert box.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["alice"]


def test_the_null_sender_and_a_sender_with_a_blank(tmp_path: Path) -> None:
    box = tmp_path / "alice"
    append(box, sender="")
    append(box, sender='"a b"@example.net')
    lines = [line for line in box.read_bytes().split(b"\n") if line.startswith(b"From ")]
    assert lines == [FROM[:-1].replace(b"bob@example.net", name) for name in (b"MAILER-DAEMON", b'"a_b"@example.net')]


QUOTED = b"From me\r\nFrom: you\r\n>From x\r\n From y\r\nFrom\r\nFrom \r\nlast From "


@pytest.mark.parametrize("step", [1, 2, 3, 5, 7, 1000])
def test_lines_that_look_like_a_beginning_are_quoted_wherever_pieces_are_cut(step: int) -> None:
    quoting, content = FromQuoting(), QUOTED.replace(b"\r", b"")
    written = b"".join(quoting.take(content[at : at + step]) for at in range(0, len(content), step)) + quoting.end()
    assert written == b">From me\nFrom: you\n>From x\n From y\nFrom\n>From \nlast From \n\n"


def test_a_message_in_pieces_is_whole(tmp_path: Path) -> None:
    box = tmp_path / "alice"
    append(box, *[CONTENT[at : at + 1] for at in range(len(CONTENT))])
    assert box.read_bytes() == whole()


@pytest.mark.parametrize(("end", "gap"), [(b"x", b"\n\n"), (b"x\n", b"\n"), (b"x\n\n", b"")])
def test_what_stands_before_is_parted_from_it(tmp_path: Path, end: bytes, gap: bytes) -> None:
    box = tmp_path / "alice"
    box.write_bytes(end)
    append(box)
    assert box.read_bytes() == end + gap + whole()


def test_a_message_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    box = tmp_path / "alice"
    append(box)
    delivery = delivery_of(
        loaded(local_envelope(2, method="mbox", target="")), tmp_path, LocalPolicy(mbox_folder=str(tmp_path))
    )
    assert isinstance(delivery.way, FileWay)
    file = AppendedFile(delivery, delivery.way, now_s=NOW_S)
    assert file.take(CONTENT) is None
    assert len(box.read_bytes()) > len(whole())
    file.close()
    assert box.read_bytes() == whole()
    assert not (tmp_path / "alice.lock").exists()


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    import resource
    import signal

    box = tmp_path / "alice"
    append(box)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole()) + 100, limits[1]))
        attempt = append(box, number=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, previous)
    assert (attempt.kind, attempt.status) == (OutcomeKind.TEMPFAIL, S452_MAILBOX_FULL)
    assert box.read_bytes() == whole()


def test_a_device_takes_the_message_or_not(tmp_path: Path) -> None:
    assert append(Path("/dev/null"), is_spool=False).kind is OutcomeKind.DELIVERED
    attempt = append(Path("/dev/full"), is_spool=False)
    assert (attempt.kind, attempt.status) == (OutcomeKind.TEMPFAIL, S452_MAILBOX_FULL)
    assert not Path("/dev/null.lock").exists()


@pytest.mark.parametrize("kind", ["link", "fifo", "folder", "second name"])
def test_only_a_file_of_its_own_is_written(tmp_path: Path, kind: str) -> None:
    box, victim = tmp_path / "alice", tmp_path / "victim"
    victim.write_bytes(b"precious")
    match kind:
        case "link":
            box.symlink_to(victim)
        case "fifo":
            os.mkfifo(box)
        case "folder":
            box.mkdir()
        case "second name":
            os.link(victim, box)
    attempt = append(box)
    assert attempt.kind is OutcomeKind.TEMPFAIL
    assert str(box) in attempt.detail
    assert victim.read_bytes() == b"precious"


@pytest.mark.skipif(not IS_ROOT, reason="only root can make files of others")
def test_root_gives_the_file_to_the_user_and_writes_to_no_other(tmp_path: Path) -> None:
    policy = LocalPolicy(mbox_folder=str(tmp_path))
    delivery = delivery_of(loaded(local_envelope(method="mbox", target="")), tmp_path, policy, uid=NOBODY)
    assert isinstance(delivery.way, FileWay)
    for _ in range(2):
        file = AppendedFile(delivery, delivery.way, now_s=NOW_S)
        assert file.take(CONTENT) is None
        assert file.finish().kind is OutcomeKind.DELIVERED
    box = tmp_path / "alice"
    assert (box.stat().st_uid, box.stat().st_gid) == (NOBODY, NOBODY)
    assert append(box).detail == f"{box}: belongs to uid {NOBODY} and not to the user"


@pytest.mark.skipif(not IS_ROOT, reason="only root delivers for others")
def test_a_file_of_the_users_choice_is_reached_with_the_users_rights_alone(tmp_path: Path) -> None:
    box = tmp_path / "box"
    box.touch(0o600)
    attempt = append(box, is_spool=False)
    assert (attempt.kind, attempt.detail) == (OutcomeKind.TEMPFAIL, f"{box}: Permission denied")
    for parent in (tmp_path, *tmp_path.parents):
        if not parent.stat().st_mode & 0o001:  # pytest's own folders, as many as there are
            parent.chmod(0o711)
    os.chown(box, NOBODY, NOBODY)
    assert append(box, is_spool=False).kind is OutcomeKind.DELIVERED  # without a dotlock: the folder is not the user's
    assert box.read_bytes() == whole()
    assert (os.geteuid(), (tmp_path / "mine").touch(), (tmp_path / "mine").stat().st_uid) == (0, None, 0)


def test_a_lock_of_another_program_is_waited_for(tmp_path: Path) -> None:
    box = tmp_path / "alice"
    box.touch()
    with box.open("r+b") as held:
        fcntl.fcntl(held, fcntl.F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
        appending = threading.Thread(target=append, args=(box,))
        appending.start()
        time.sleep(0.15)
        assert box.read_bytes() == b""
    appending.join(5)
    assert box.read_bytes() == whole()


def test_a_dotlock_of_another_program_is_waited_for_and_nothing_else_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("smtpfleet.mda.mailbox.LOCK_PATIENCE_S", 0.2)
    box, lock = tmp_path / "alice", tmp_path / "alice.lock"
    lock.write_text("4711")
    attempt = append(box)
    assert (attempt.kind, "locked by somebody else" in attempt.detail) == (OutcomeKind.TEMPFAIL, True)
    assert box.read_bytes() == b""
    assert lock.read_text() == "4711"
    os.utime(lock, (time.time() - 301, time.time() - 301))
    assert append(box).kind is OutcomeKind.DELIVERED
    assert not lock.exists()


def test_a_reader_that_puts_another_file_in_its_place(tmp_path: Path) -> None:
    """Between our opening and our locking: then the lock is of a file nobody looks at any more."""
    box = tmp_path / "alice"
    box.write_bytes(b"old\n\n")
    with box.open("r+b") as held:
        fcntl.fcntl(held, fcntl.F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
        appending = threading.Thread(target=append, args=(box,))
        appending.start()
        time.sleep(0.1)
        (tmp_path / "new").write_bytes(b"new\n\n")
        (tmp_path / "new").rename(box)
    appending.join(5)
    assert box.read_bytes() == b"new\n\n" + whole()


def test_many_at_once_do_not_mix(tmp_path: Path) -> None:
    box = tmp_path / "alice"
    attempts: list[Attempt] = []
    threads = [
        threading.Thread(target=lambda n=n: attempts.append(append(box, CONTENT[:20], CONTENT[20:], number=n)))
        for n in range(1, 9)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert [attempt.kind for attempt in attempts] == [OutcomeKind.DELIVERED] * 8
    assert box.read_bytes() == whole() * 8


def note(box: Path, length: int, *, word: str = "smtpfleet-begun") -> None:
    """What a process that died left beside the mailbox."""
    (box.parent / f"{box.name}.lock").write_bytes(f"{word} {length} {box.stat().st_ino}\n".encode() + FROM)


@pytest.mark.parametrize("left_bytes", [0, 3, len(FROM), len(FROM) + 40, len(whole())])
def test_what_a_dead_process_had_appended_is_cut_off(tmp_path: Path, left_bytes: int) -> None:
    box = tmp_path / "alice"
    append(box)
    box.write_bytes(whole() + whole(2)[:left_bytes])
    note(box, len(whole()))
    assert append(box, number=3).kind is OutcomeKind.DELIVERED
    assert box.read_bytes() == whole() + whole(3)


@pytest.mark.parametrize(
    ("tail", "word", "owner"),
    [
        pytest.param(whole(2) + whole(3), "smtpfleet-begun", None, id="somebody appended behind it"),
        pytest.param(
            b"From carol@x Tue Nov 14 22:13:20 2023\n\nhi\n\n",
            "smtpfleet-begun",
            None,
            id="something else stands there",
        ),
        pytest.param(whole(2), "smtpfleet-whole", None, id="it was delivered"),
        pytest.param(whole(2), "smtpfleet-begun", NOBODY, id="the note is a stranger's"),
    ],
)
def test_a_note_never_cuts_what_it_does_not_know(tmp_path: Path, tail: bytes, word: str, owner: int | None) -> None:
    box = tmp_path / "alice"
    append(box)
    box.write_bytes(whole() + tail)
    note(box, len(whole()), word=word)
    if owner is not None:
        if not IS_ROOT:
            pytest.skip("only root can make files of others")
        os.chown(tmp_path / "alice.lock", owner, owner)
        os.utime(tmp_path / "alice.lock", (0, 0))
    assert append(box, number=9).kind is OutcomeKind.DELIVERED
    assert box.read_bytes() == whole() + tail + whole(9)
