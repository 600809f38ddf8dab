"""A user's `.forward` through real processes: read by mda when smtp-in asks at RCPT, followed, changed, refused, and what a dead mda means."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from smtpfleet.local.fleet import Fleet
from tests.path.ground import STRANGER, Client, until

pytestmark = [pytest.mark.path, pytest.mark.connected]

CONFIG = """\
table users file:@ETC@/users
table aliases { "staff" = ":include:@ETC@/staff.txt, alice" }
listen on 127.0.0.1 port @SMTP_PORT@ hostname mx.example.test
accept from any for domain "example.test" alias <aliases> userbase <users> deliver to maildir "~/Maildir"
"""


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    root = tmp_path_factory.mktemp("forward")
    (root / "etc").mkdir()
    (root / "etc" / "staff.txt").write_text("# the staff\nbob\nnot a target\n")
    users = [f"{user} {os.getuid()}:{os.getgid()}:{root}/mail/{user}\n" for user in ("alice", "bob", "erin")]
    (root / "etc" / "users").write_text("".join(users))
    with Fleet(root, replicas={"mta": 0, "admin": 0}, config_text=CONFIG) as fleet:
        yield fleet


@pytest.fixture
def home(fleet: Fleet) -> Iterator[Path]:
    """alice's; a fresh one for each test, and mda's last word forgotten."""
    home = fleet.mail / "alice"
    yield home
    home.chmod(0o755)
    (home / ".forward").unlink(missing_ok=True)
    until(lambda: rcpt(fleet, "alice") == 250, "alice to be as she was")


def write(home: Path, text: str, mode: int = 0o600) -> None:
    """As an editor does: in one step."""
    fresh = home / ".forward.new"
    fresh.write_text(text)
    fresh.chmod(mode)
    fresh.rename(home / ".forward")


def rcpt(fleet: Fleet, user: str) -> int:
    with Client(fleet.smtp_address, STRANGER) as client:
        client.mail("carol@abroad.test")
        return client.rcpt(f"{user}@example.test")[0]


def has(fleet: Fleet, user: str, subject: str) -> bool:
    new = fleet.mail / user / "Maildir" / "new"
    return any(f"Subject: {subject}\n".encode() in path.read_bytes() for path in new.glob("*"))


def send(fleet: Fleet, user: str, subject: str) -> None:
    with Client(fleet.smtp_address, STRANGER) as client:
        client.deliver(
            "carol@abroad.test", [f"{user}@example.test"], b"Subject: " + subject.encode() + b"\r\n\r\nx\r\n"
        )


def test_mail_follows_a_forward_and_its_changes(fleet: Fleet, home: Path) -> None:
    write(home, "# on holiday\n\\alice, bob\n")

    def reaches_both() -> bool:
        subject = f"both-{len(list((fleet.mail / 'alice' / 'Maildir' / 'new').glob('*')))}"
        send(fleet, "alice", subject)
        until(lambda: has(fleet, "alice", subject), "a copy with alice")
        return has(fleet, "bob", subject)

    until(reaches_both, "mail for alice with bob, too, once mda is asked again")
    (home / ".forward").unlink()
    write(home, "bob\n")
    send_count = 0

    def reaches_bob_alone() -> bool:
        nonlocal send_count
        send_count += 1
        subject = f"alone-{send_count}"
        send(fleet, "alice", subject)
        until(lambda: has(fleet, "bob", subject), "a copy with bob")
        return not has(fleet, "alice", subject)

    until(reaches_bob_alone, "mail for alice with bob alone")


@pytest.mark.parametrize(
    ("text", "mode", "home_mode", "code"),
    [
        pytest.param("bob\n", 0o666, 0o755, 550, id="a file that others may write"),
        pytest.param("bob\n", 0o600, 0o777, 550, id="a home that others may write"),
        pytest.param("bob\n", 0o600, 0o1755, 451, id="a sticky home"),
        pytest.param("x" * 4096, 0o600, 0o755, 451, id="a file that is too large"),
        pytest.param("bob, nobody\n", 0o600, 0o755, 550, id="a target that does not exist"),
        pytest.param("not a target\n", 0o600, 0o755, 451, id="a file that cannot be read"),
        pytest.param("error:550 gone away\n", 0o600, 0o755, 550, id="an error"),
    ],
)
def test_a_forward_that_is_not_followed(
    fleet: Fleet, home: Path, text: str, mode: int, home_mode: int, code: int
) -> None:
    write(home, text, mode)
    home.chmod(home_mode)
    until(lambda: rcpt(fleet, "alice") == code, f"{code} for alice")


def test_an_included_file_is_part_of_the_alias(fleet: Fleet) -> None:
    send(fleet, "staff", "for-the-staff")
    for user in ("alice", "bob"):
        until(lambda user=user: has(fleet, user, "for-the-staff"), f"a copy with {user}")  # type: ignore[misc]


def test_while_mda_is_away_its_last_word_counts_and_others_wait(fleet: Fleet) -> None:
    assert rcpt(fleet, "alice") == 250
    fleet.replica("mda").kill9()

    def is_answered_from_memory() -> bool:
        assert rcpt(fleet, "alice") == 250
        return fleet.replica("smtp-in").metrics().get('smtpfleet_forward_queries_total{result="stale"}', 0) > 0

    until(is_answered_from_memory, "an answer older than two seconds")
    assert rcpt(fleet, "erin") == 451
    fleet.replica("mda").start()
    until(lambda: rcpt(fleet, "erin") == 250, "mda to be back")
