"""From envelope and user to path, folder, name and header lines: what a peer sends must stay harmless in them."""

import os
from pathlib import Path

import pytest

from smtpfleet.contracts.envelope import LocalDispatcher
from smtpfleet.contracts.outcome import OutcomeKind
from smtpfleet.mail.tables import Tables, UserInfo
from smtpfleet.mda.attempt import Attempt
from smtpfleet.mda.delivery import Delivery, folder_of, new_delivery
from smtpfleet.mda.users import Userbases, find_user
from tests.support.local_mail import delivery_of, loaded, local_configuration, local_envelope

OWN_UID = 1234


@pytest.mark.parametrize(
    ("dest", "folder"),
    [
        pytest.param("alice@example.test", "", id="no tag"),
        pytest.param("alice+lists@example.test", ".lists", id="tag"),
        pytest.param("alice+a+b@example.test", ".a+b", id="only the first plus counts"),
        pytest.param("alice+..lists@example.test", ".lists", id="leading dots go"),
        pytest.param("alice+..@example.test", "", id="only dots"),
        pytest.param("alice+@example.test", "", id="empty"),
        pytest.param('"alice+to do"@example.test', ".to do", id="of a quoted local part"),
        pytest.param('"alice+a@b"@example.test', ".a@b", id="with an @"),
        pytest.param('"alice"', "", id="nothing but a quoted local part"),
        pytest.param("alice+../../etc@example.test", ".:..:etc", id="slashes"),
        pytest.param("alice+a*b?@example.test", ".a:b:", id="wildcards"),
        pytest.param("alice+a\0b@example.test", "", id="control character"),
        pytest.param("alice+" + "x" * 300 + "@example.test", "", id="longer than a file name"),
    ],
)
def test_subaddress_folder(dest: str, folder: str) -> None:
    assert folder_of(dest) == folder


def test_name_is_the_same_at_every_attempt_and_its_host_part_is_escaped(tmp_path: Path) -> None:
    message = loaded(local_envelope())
    assert delivery_of(message, tmp_path).name == delivery_of(message, tmp_path).name
    assert "/" not in delivery_of(message, tmp_path).name


@pytest.mark.parametrize(
    "target",
    [
        pytest.param("~/%{nonsense}", id="unknown token"),
        pytest.param("/mail/\n%{dest.user}", id="control character"),
        pytest.param("/mail/%{dest.user[1:2]}/box", id="address that climbs"),
        pytest.param("%{dest.user[1:2]}/box", id="address that climbs out of the home"),
    ],
)
def test_a_target_without_a_safe_path_fails_temporarily(target: str) -> None:
    envelope = local_envelope(dest='".."@example.test', target=target)
    assert isinstance(envelope.dispatcher, LocalDispatcher)
    user = UserInfo("alice", os.geteuid(), 0, "/home/alice")
    attempt = new_delivery(loaded(envelope), envelope, envelope.dispatcher, user)
    assert isinstance(attempt, Attempt), attempt
    assert attempt.kind is OutcomeKind.TEMPFAIL
    assert attempt.detail.startswith("maildir ")
    assert target.strip() not in attempt.status.text


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("~/Maildir/", "/home/alice/Maildir"),
        ("/var/mail/%{dest.user}", "/var/mail/bob"),
        ("Maildir", "/home/alice/Maildir"),
        ("%{dest.domain}/%{dest.user}", "/home/alice/example.test/bob"),
        ("%{user.directory}/x", "/home/alice/x"),
    ],
)
def test_a_relative_maildir_is_in_the_home(target: str, path: str) -> None:
    envelope = local_envelope(dest="bob@example.test", target=target)
    assert isinstance(envelope.dispatcher, LocalDispatcher)
    user = UserInfo("alice", os.geteuid(), 0, "/home/alice")
    delivery = new_delivery(loaded(envelope), envelope, envelope.dispatcher, user)
    assert isinstance(delivery, Delivery), delivery
    assert delivery.path == path


def test_control_characters_of_an_address_make_no_header_line(tmp_path: Path) -> None:
    delivery = delivery_of(loaded(local_envelope(sender="a\r\nX-Evil: 1\n@b")), tmp_path)
    assert delivery.prefix == b"Return-Path: <aX-Evil: 1@b>\nDelivered-To: alice@example.test\n"


@pytest.mark.parametrize(
    ("userbase", "user", "kind", "code", "text"),
    [
        pytest.param(
            {"bob": "1234:1:/h"}, "alice", "permfail", 550, "Permanent failure in user lookup", id="user is gone"
        ),
        pytest.param(
            {"alice": "99:1:/h"}, "alice", "tempfail", 451, "Temporary failure in user lookup", id="another uid"
        ),
        pytest.param(
            {"alice": "1234:1:home"}, "alice", "tempfail", 451, "Temporary failure in user lookup", id="relative home"
        ),
        pytest.param(
            {"alice": "nonsense"}, "alice", "tempfail", 451, "Temporary failure in user lookup", id="unreadable value"
        ),
    ],
)
def test_user_lookup_failures(userbase: dict[str, str], user: str, kind: str, code: int, text: str) -> None:
    tables = Tables(local_configuration(userbase))
    attempt = find_user(
        Userbases(tables, {}), LocalDispatcher("maildir", "~/Maildir", user, "users"), "e" * 24, own_uid=OWN_UID
    )
    assert isinstance(attempt, Attempt), attempt
    assert (attempt.kind.value, attempt.status.code, attempt.status.text) == (kind, code, text)


def test_an_operator_is_told_how_to_mend_a_uid() -> None:
    tables = Tables(local_configuration({"alice": "99:1:/h"}))
    attempt = find_user(
        Userbases(tables, {}), LocalDispatcher("maildir", "~/Maildir", "alice", "users"), "e" * 24, own_uid=OWN_UID
    )
    assert isinstance(attempt, Attempt)
    assert "run mda as 99 or write 1234 into the userbase" in attempt.detail


def test_a_userbase_that_left_the_configuration_fails_temporarily() -> None:
    tables = Tables(local_configuration({}))
    attempt = find_user(
        Userbases(tables, {}), LocalDispatcher("maildir", "~/Maildir", "alice", "other"), "e" * 24, own_uid=OWN_UID
    )
    assert isinstance(attempt, Attempt)
    assert attempt.kind is OutcomeKind.TEMPFAIL
    assert "other" in attempt.detail


def test_a_user_that_fits() -> None:
    tables = Tables(local_configuration({"alice": f"{OWN_UID}:7:/home/alice"}))
    user = find_user(
        Userbases(tables, {}), LocalDispatcher("maildir", "~/Maildir", "alice", "users"), "e" * 24, own_uid=OWN_UID
    )
    assert user == UserInfo("alice", OWN_UID, 7, "/home/alice")
