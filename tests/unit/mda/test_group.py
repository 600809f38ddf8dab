"""Delivery of groups into real maildirs: what is in them afterwards, and what failed deliveries leave."""

import os
import resource
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from smtpfleet.contracts.outcome import OutcomeKind
from smtpfleet.contracts.status import S451_LOCAL_ERROR, S554_LOOP_DETECTED
from smtpfleet.mda.attempt import S250_DELIVERED, S452_MAILBOX_FULL
from smtpfleet.mda.group import deliver_group
from smtpfleet.mda.maildir import STALE_TMP_S, Maildirs
from tests.support.local_mail import (
    CONTENT,
    CREATED_AT_S,
    delivery_of,
    expected_file,
    files_in,
    loaded,
    local_envelope,
)


@pytest.fixture(autouse=True)
def no_descriptor_is_left_open() -> Iterator[None]:
    before = set(os.listdir("/proc/self/fd"))
    yield
    assert set(os.listdir("/proc/self/fd")) <= before


def test_a_message_arrives_whole_with_its_header_lines(tmp_path: Path) -> None:
    envelope = local_envelope()
    (attempt,) = deliver_group(Maildirs(), [delivery_of(loaded(envelope), tmp_path)])
    assert (attempt.kind, attempt.status) == (OutcomeKind.DELIVERED, S250_DELIVERED)
    name = f"{CREATED_AT_S}.E{envelope.evpid}.mx.example.test"
    assert files_in(tmp_path / "Maildir/new") == {name: expected_file(envelope)}
    assert files_in(tmp_path / "Maildir/tmp") == {}
    assert (tmp_path / "Maildir/new" / name).stat().st_mode & 0o777 == 0o600


def test_the_null_sender_is_shown(tmp_path: Path) -> None:
    deliver_group(Maildirs(), [delivery_of(loaded(local_envelope(sender="")), tmp_path)])
    (content,) = files_in(tmp_path / "Maildir/new").values()
    assert content.startswith(b"Return-Path: <>\nDelivered-To: alice@example.test\nReceived:")


def test_missing_directories_are_made_for_the_owner_alone(tmp_path: Path) -> None:
    home = tmp_path / "mail/alice"
    deliver_group(Maildirs(), [delivery_of(loaded(local_envelope()), home)])
    for part in (home.parent, home, home / "Maildir", *((home / "Maildir" / p) for p in ("cur", "new", "tmp"))):
        assert part.stat().st_mode & 0o777 == 0o700, part


def test_attempts_come_in_the_order_of_deliveries_of_several_users(tmp_path: Path) -> None:
    looping = b"Delivered-To: alice@example.test\r\n" + CONTENT
    deliveries = [
        delivery_of(loaded(local_envelope(1)), tmp_path / "a"),
        delivery_of(loaded(local_envelope(2), looping), tmp_path / "b"),
        delivery_of(loaded(local_envelope(3)), tmp_path / "b"),
        delivery_of(loaded(local_envelope(4)), tmp_path / "a"),
    ]
    attempts = deliver_group(Maildirs(), deliveries)
    assert [attempt.evpid for attempt in attempts] == [delivery.evpid for delivery in deliveries]
    assert [attempt.kind.value for attempt in attempts] == ["delivered", "loop", "delivered", "delivered"]
    assert attempts[1].status == S554_LOOP_DETECTED
    assert (len(files_in(tmp_path / "a/Maildir/new")), len(files_in(tmp_path / "b/Maildir/new"))) == (2, 1)


@pytest.mark.parametrize(
    ("dest", "folder_exists", "arrives_in"),
    [
        pytest.param("alice+Lists@example.test", True, "Maildir/.Lists/new", id="a folder the user has"),
        pytest.param("alice+Lists@example.test", False, "Maildir/new", id="a folder the user has not"),
        pytest.param("alice@example.test", True, "Maildir/new", id="no tag"),
    ],
)
def test_a_subaddress_goes_to_its_folder(tmp_path: Path, dest: str, folder_exists: bool, arrives_in: str) -> None:
    if folder_exists:
        (tmp_path / "Maildir/.Lists").mkdir(parents=True)
    deliver_group(Maildirs(), [delivery_of(loaded(local_envelope(dest=dest)), tmp_path)])
    assert len(files_in(tmp_path / arrives_in)) == 1


def test_a_redelivery_replaces_the_unseen_copy(tmp_path: Path) -> None:
    delivery = delivery_of(loaded(local_envelope()), tmp_path)
    deliver_group(Maildirs(), [delivery])
    (attempt,) = deliver_group(Maildirs(), [delivery])
    assert attempt.kind is OutcomeKind.DELIVERED
    assert len(files_in(tmp_path / "Maildir/new")) == 1


@pytest.mark.parametrize("moved_name", ["{name}:2,S", "{name},S=77:2,RS", "{name}"])
def test_a_redelivery_finds_the_copy_the_client_has_moved(tmp_path: Path, moved_name: str) -> None:
    delivery = delivery_of(loaded(local_envelope()), tmp_path)
    deliver_group(Maildirs(), [delivery])
    box = tmp_path / "Maildir"
    (box / "new" / delivery.name).rename(box / "cur" / moved_name.format(name=delivery.name))
    (attempt,) = deliver_group(Maildirs(), [delivery])
    assert attempt.kind is OutcomeKind.DELIVERED
    assert "cur/" in attempt.detail
    assert files_in(box / "new") == {}


def test_a_fresh_envelope_costs_no_listing_of_the_mailbox(tmp_path: Path) -> None:
    created_at_s = int(time.time())
    delivery = delivery_of(loaded(local_envelope(created_at_s=created_at_s)), tmp_path)
    maildir = Maildirs().open(delivery.path)
    (tmp_path / "Maildir/cur" / f"{delivery.name}:2,S").touch()
    assert maildir.find_moved(created_at_s, created_at_s + 1) == frozenset()
    assert maildir.find_moved(created_at_s, created_at_s + 60) == {delivery.evpid}
    maildir.close()


def test_an_old_envelope_costs_no_listing_of_a_mailbox_nobody_reads(tmp_path: Path) -> None:
    delivery = delivery_of(loaded(local_envelope()), tmp_path)
    maildir = Maildirs().open(delivery.path)
    (tmp_path / "Maildir/cur" / f"{delivery.name}:2,S").touch()
    os.utime(tmp_path / "Maildir/cur", (CREATED_AT_S - 1000, CREATED_AT_S - 1000))
    assert maildir.find_moved(CREATED_AT_S, CREATED_AT_S + 3600) == frozenset()
    maildir.close()


def test_stale_files_in_tmp_go_and_young_ones_stay(tmp_path: Path) -> None:
    box = tmp_path / "Maildir"
    (box / "tmp").mkdir(parents=True)
    now_s = 2_000_000_000.0
    for name, age_s in (("old", STALE_TMP_S + 1), ("young", STALE_TMP_S - 1)):
        (box / "tmp" / name).touch()
        os.utime(box / "tmp" / name, (now_s - age_s, now_s - age_s))
    Maildirs(now_s=lambda: now_s).open(str(box)).close()
    assert set(files_in(box / "tmp")) == {"young"}


@pytest.mark.parametrize("part", ["tmp", "new", "cur"])
def test_a_link_below_the_maildir_is_not_followed(tmp_path: Path, part: str) -> None:
    (tmp_path / "Maildir").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "Maildir" / part).symlink_to(tmp_path / "elsewhere")
    (attempt,) = deliver_group(Maildirs(), [delivery_of(loaded(local_envelope()), tmp_path)])
    assert (attempt.kind, attempt.status) == (OutcomeKind.TEMPFAIL, S451_LOCAL_ERROR)
    assert str(tmp_path) in attempt.detail
    assert files_in(tmp_path / "elsewhere") == {}


def test_a_home_that_cannot_be_opened_fails_alone(tmp_path: Path) -> None:
    (tmp_path / "broken").write_text("a file where a home should be")
    deliveries = [
        delivery_of(loaded(local_envelope(1)), tmp_path / "broken"),
        delivery_of(loaded(local_envelope(2)), tmp_path / "fine"),
    ]
    assert [attempt.kind.value for attempt in deliver_group(Maildirs(), deliveries)] == ["tempfail", "delivered"]


def test_a_file_that_does_not_fit_fails_alone_and_leaves_nothing(tmp_path: Path) -> None:
    """The limit of the process stands for a full disk: the kernel writes what fits, then refuses."""
    too_long = CONTENT + b"y" * 8192 + b"\r\n"
    deliveries = [
        delivery_of(loaded(local_envelope(1), too_long), tmp_path),
        delivery_of(loaded(local_envelope(2)), tmp_path),
    ]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        full, fine = deliver_group(Maildirs(), deliveries)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (full.kind, full.status) == (OutcomeKind.TEMPFAIL, S452_MAILBOX_FULL)
    assert fine.kind is OutcomeKind.DELIVERED
    assert list(files_in(tmp_path / "Maildir/new")) == [deliveries[1].name]
    assert files_in(tmp_path / "Maildir/tmp") == {}


def test_a_name_taken_in_new_by_a_directory_fails_and_leaves_nothing(tmp_path: Path) -> None:
    delivery = delivery_of(loaded(local_envelope()), tmp_path)
    (tmp_path / "Maildir/new" / delivery.name / "x").mkdir(parents=True)
    (attempt,) = deliver_group(Maildirs(), [delivery])
    assert attempt.kind is OutcomeKind.TEMPFAIL
    assert files_in(tmp_path / "Maildir/tmp") == {}
