"""kill -9 at every named point of a delivery: nothing partial in new/, and a redelivery leaves exactly one copy of each message."""

import subprocess
import sys
from pathlib import Path

import pytest

from smtpfleet.contracts.outcome import OutcomeKind
from smtpfleet.mda.group import deliver_group
from smtpfleet.mda.maildir import Maildirs
from smtpfleet.mda.stream import StreamedFile
from tests.support.deliver_and_die import chunks_of
from tests.support.local_mail import delivery_of, expected_file, files_in, loaded, loaded_large, local_envelope

ROOT = Path(__file__).resolve().parents[3]
COUNT = 3
LARGE_BYTES = 300_000
POINTS = [
    pytest.param("created", 1, 0, id="created, first file"),
    pytest.param("created", 3, 0, id="created, last file"),
    pytest.param("written", 1, 0, id="written"),
    pytest.param("flushed", 1, 0, id="flushed"),
    pytest.param("published", 1, COUNT, id="published"),
    pytest.param("delivered", 1, COUNT, id="delivered"),
]


def die_at(home: Path, point: str, nth: int, size_bytes: int) -> None:
    command = [sys.executable, "-m", "tests.support.deliver_and_die", str(home), point, str(nth), str(size_bytes)]
    died = subprocess.run([*command, str(COUNT)], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert died.returncode == -9, died.stderr


@pytest.mark.parametrize(("point", "nth", "visible"), POINTS)
def test_a_group_killed(tmp_path: Path, point: str, nth: int, visible: int) -> None:
    die_at(tmp_path, point, nth, 0)
    envelopes = [local_envelope(number) for number in range(1, COUNT + 1)]
    whole = sorted(map(expected_file, envelopes))
    new = tmp_path / "Maildir/new"
    seen = files_in(new)
    assert len(seen) == visible
    assert all(content in whole for content in seen.values())
    attempts = deliver_group(Maildirs(), [delivery_of(loaded(envelope), tmp_path) for envelope in envelopes])
    assert [attempt.kind for attempt in attempts] == [OutcomeKind.DELIVERED] * COUNT
    assert sorted(files_in(new).values()) == whole


@pytest.mark.parametrize("point", ["published", "delivered"])
def test_a_group_killed_whose_mail_was_read_before_the_redelivery(tmp_path: Path, point: str) -> None:
    die_at(tmp_path, point, 1, 0)
    box = tmp_path / "Maildir"
    first = min(files_in(box / "new"))
    (box / "new" / first).rename(box / "cur" / f"{first}:2,S")
    envelopes = [local_envelope(number) for number in range(1, COUNT + 1)]
    attempts = deliver_group(Maildirs(), [delivery_of(loaded(envelope), tmp_path) for envelope in envelopes])
    assert [attempt.kind for attempt in attempts] == [OutcomeKind.DELIVERED] * COUNT
    assert len(files_in(box / "new")) == COUNT - 1
    assert list(files_in(box / "cur")) == [f"{first}:2,S"]


@pytest.mark.parametrize("point", ["created", "written", "flushed", "published", "delivered"])
def test_a_large_message_killed(tmp_path: Path, point: str) -> None:
    die_at(tmp_path, point, 1, LARGE_BYTES)
    chunks = chunks_of(LARGE_BYTES)
    envelope = local_envelope(1)
    whole = expected_file(envelope, b"".join(chunks))
    new = tmp_path / "Maildir/new"
    assert set(files_in(new).values()) <= {whole}
    file = StreamedFile(Maildirs(), delivery_of(loaded_large(envelope, chunks), tmp_path))
    for chunk in chunks:
        assert file.take(chunk) is None
    assert file.finish().kind is OutcomeKind.DELIVERED
    file.close()
    assert list(files_in(new).values()) == [whole]
