"""Which `.forward` files mda hands out: all of what is safe, nothing of what is not (reference 3.4, 12)."""

import os
import socket
from pathlib import Path

import pytest

from smtpfleet.contracts.commands import ForwardQuery
from smtpfleet.mail.tables import UserInfo
from smtpfleet.mda.forward import SIZE_LIMIT_BYTES, read_forward
from smtpfleet.mda.handlers import Handlers

OTHER_UID = os.getuid() + 1
"""Not the owner of what the tests write, and not root."""


def user_of(home: Path, uid: int | None = None) -> UserInfo:
    return UserInfo("alice", os.getuid() if uid is None else uid, os.getgid(), str(home))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "alice"
    home.mkdir(mode=0o755)
    return home


def write(home: Path, text: str | bytes, mode: int = 0o600) -> Path:
    path = home / ".forward"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o400])
def test_a_safe_file_is_read_whole(home: Path, mode: int) -> None:
    write(home, "bob, käthe\n", mode)
    reply = read_forward(user_of(home))
    assert (reply.result, reply.content) == ("present", "bob, käthe\n")


def test_nothing_is_no_forward(home: Path, tmp_path: Path) -> None:
    assert read_forward(user_of(home)).result == "absent"
    assert read_forward(user_of(tmp_path / "missing")).result == "absent"
    write(home, "")
    assert read_forward(user_of(home)).result == "absent"
    assert read_forward(user_of(home / ".forward")).result == "absent"


def test_the_largest_file_and_one_byte_more(home: Path) -> None:
    write(home, "x" * (SIZE_LIMIT_BYTES - 1))
    assert len(read_forward(user_of(home)).content) == SIZE_LIMIT_BYTES - 1
    write(home, "x" * SIZE_LIMIT_BYTES)
    assert read_forward(user_of(home)).result == "temporary"


@pytest.mark.parametrize(
    ("content", "mode", "home_mode", "result"),
    [
        pytest.param("bob", 0o620, 0o755, "refused", id="the group may write the file"),
        pytest.param("bob", 0o602, 0o755, "refused", id="all may write the file"),
        pytest.param("bob", 0o600, 0o775, "refused", id="the group may write the home"),
        pytest.param("bob", 0o600, 0o1755, "temporary", id="a sticky home"),
        pytest.param(b"b\xffb", 0o600, 0o755, "temporary", id="not UTF-8"),
        pytest.param("b\0b", 0o600, 0o755, "temporary", id="a NUL"),
    ],
)
def test_what_is_not_followed(home: Path, content: str | bytes, mode: int, home_mode: int, result: str) -> None:
    write(home, content, mode)
    home.chmod(home_mode)
    reply = read_forward(user_of(home))
    home.chmod(0o755)
    assert (reply.result, reply.content) == (result, "")
    assert reply.detail


def test_a_sticky_home_says_not_now_without_a_file_too(home: Path) -> None:
    home.chmod(0o1755)
    assert read_forward(user_of(home)).result == "temporary"


def test_another_users_file_is_not_ours_to_follow(home: Path) -> None:
    if os.getuid() != 0:
        assert read_forward(user_of(home, OTHER_UID)).result == "absent"
        write(home, "bob")
        assert read_forward(user_of(home, OTHER_UID)).result == "refused"
    else:
        os.chown(write(home, "bob"), OTHER_UID, os.getgid())
        assert read_forward(user_of(home)).result == "refused"
        os.chown(home, OTHER_UID, os.getgid())
        assert read_forward(user_of(home, OTHER_UID)).content == "bob"


def test_a_link_leads_nowhere(home: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("root's")
    secret.chmod(0o600)
    (home / ".forward").symlink_to(secret)
    reply = read_forward(user_of(home))
    assert (reply.result, reply.content) == ("refused", "")
    (home / ".forward").unlink()
    os.link(secret, home / ".forward")
    reply = read_forward(user_of(home))
    assert (reply.result, reply.content) == ("refused", "")


def test_what_is_no_file_holds_nobody(home: Path) -> None:
    os.mkfifo(home / ".forward", 0o600)
    assert read_forward(user_of(home)).result == "refused"
    (home / ".forward").unlink()
    (home / ".forward").mkdir(mode=0o700)
    assert read_forward(user_of(home)).result == "refused"
    (home / ".forward").rmdir()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(home / ".forward"))
        assert read_forward(user_of(home)).result == "refused"


def test_no_descriptor_stays_open(home: Path) -> None:
    write(home, "bob")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        read_forward(user_of(home))
        read_forward(user_of(home.parent))
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    ("content", "is_refused"),
    [
        pytest.param("|/usr/bin/procmail\n", True, id="a command"),
        pytest.param("bob@example.test, \"|exec /bin/sh -c 'id > /tmp/x'\"\n", True, id="a command among others"),
        pytest.param("# mine\n/mail/bob/inbox\n", True, id="a file"),
        pytest.param("bob@example.test, \\carol\n", False, id="addresses"),
        pytest.param("error:550 gone\n", False, id="an error"),
        pytest.param("", False, id="nothing"),
    ],
)
async def test_programs_need_the_rights_of_their_user(tmp_path: Path, content: str, is_refused: bool) -> None:
    (tmp_path / ".forward").write_text(content)
    me = UserInfo("alice", os.getuid(), os.getgid(), str(tmp_path))

    async def find(table: str, name: str) -> UserInfo:
        return me

    query = ForwardQuery("users", "alice")
    refused = await Handlers(find, obeys_programs=False).on_forward_read(query)
    assert (refused.result == "temporary") is is_refused
    assert is_refused == ("SMTPFLEET_FORWARD_PROGRAMS" in refused.detail) and (not is_refused or refused.content == "")
    obeyed = await Handlers(find, obeys_programs=True).on_forward_read(query)
    assert obeyed.result == ("present" if content else "absent")
