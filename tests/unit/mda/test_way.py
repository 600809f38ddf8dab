"""From dispatcher to command line, file or peer: nothing of what a peer sends means anything to a shell or chooses a file."""

import subprocess

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpfleet.contracts.configuration import CLASSIC, MODERN
from smtpfleet.contracts.envelope import Envelope, LocalDispatcher
from smtpfleet.mail.formats import FormatError
from smtpfleet.mail.tables import UserInfo
from smtpfleet.mda.shell import environment
from smtpfleet.mda.way import FileWay, LmtpWay, LocalPolicy, NotAllowed, ProgramWay, Way, way_of
from tests.support.local_mail import local_envelope

ALICE = UserInfo("alice", 1000, 1001, "/home/alice")
EVIL = '"$(id);`id`|a&b>c<d \'e\\\\f\\"g*?~#!{}[]^\t%"@[192.0.2.1]'


def way(
    method: str,
    target: str,
    *,
    language: str = CLASSIC,
    user: UserInfo = ALICE,
    envelope: Envelope | None = None,
    **fields: object,
) -> Way:
    envelope = envelope or local_envelope()
    dispatcher = msgspec.structs.replace(LocalDispatcher(method, target, user.user, "users"), **fields)
    return way_of(dispatcher, envelope, user, LocalPolicy(language, "mx.example.test", "+", "/var/mail"))


def line(target: str, **fields: object) -> str:
    made = way("mda", target, **fields)  # type: ignore[arg-type]
    assert isinstance(made, ProgramWay)
    return made.line


@pytest.mark.parametrize(
    ("target", "wrapper", "wanted"),
    [
        pytest.param("procmail -a %{rcpt.user}", "", "procmail -a alice", id="a token"),
        pytest.param("~/bin/sort 100%% $HOME", "", "/home/alice/bin/sort 100% $HOME", id="home, percent, and what is the user's own"),
        pytest.param("cat >%{user.directory}/x", "", "cat >/home/alice/x", id="the home's slashes stay"),
        pytest.param("cat", "sandbox %{mda}", "sandbox cat", id="wrapper"),
        pytest.param("cat %%{sender}", "%{MDA} # %{user.username} %%{mda}", "cat %{sender} # alice %{mda}", id="the command is no format of the wrapper"),
    ],
)  # fmt: skip
def test_command_lines(target: str, wrapper: str, wanted: str) -> None:
    assert line(target, wrapper=wrapper) == wanted


@pytest.mark.parametrize("language", [CLASSIC, MODERN])
@pytest.mark.parametrize("token", ["sender", "sender.user", "sender:raw", "rcpt", "dest.user:raw", "dest.domain"])
def test_an_address_is_one_word_to_the_shell(language: str, token: str) -> None:
    envelope = local_envelope(sender=EVIL, dest=EVIL)
    text = line(f"printf '(%%s)' %{{{token}}}", language=language, envelope=envelope)
    printed = subprocess.run(["/bin/sh", "-c", text], capture_output=True, text=True, cwd="/", check=True)
    assert printed.stdout == f"({text.split(' ', 2)[2]})"
    assert printed.stderr == ""


@given(st.text(min_size=1, max_size=60))
def test_no_address_brings_a_character_the_shell_knows(text: str) -> None:
    for language in (CLASSIC, MODERN):
        try:
            made = line(
                "%{sender:raw} %{user.username}",
                language=language,
                envelope=local_envelope(sender=text),
                user=UserInfo(text, 1, 1, "/h"),
            )
        except FormatError:
            continue
        assert not set(made) & set("!#$%&'*?`{|}~\"\\;<>()[]^\n\r\t\0")
        assert made.count(" ") == 1
        assert not made.startswith("-") and " -" not in made


def test_a_home_with_characters_of_the_shell_is_not_put_into_a_command() -> None:
    user = UserInfo("alice", 1000, 1000, "/home/$(id)")
    with pytest.raises(FormatError):
        line("~/bin/x", user=user)
    with pytest.raises(FormatError):
        line("cat > %{USER.directory:lowercase}/x", user=user)
    assert line('cat > "$HOME/x"', user=user) == 'cat > "$HOME/x"'


@pytest.mark.parametrize("target", ["", " ", "%{nonsense}", "x" * 1100, "cat \0"])
def test_commands_that_cannot_be(target: str) -> None:
    with pytest.raises(FormatError):
        line(target)


def test_the_environment_says_who_and_nothing_of_ours() -> None:
    envelope = msgspec.structs.replace(
        local_envelope(dest="alice@example.test", sender="bob@x\n"), rcpt="info+a+b@virtual.test"
    )
    assert environment(envelope, ALICE, "+") == {
        "PATH": "/usr/bin:/bin", "SHELL": "/bin/sh", "HOME": "/home/alice", "LOGNAME": "alice", "USER": "alice",
        "DOMAIN": "virtual.test", "LOCAL": "info+a+b", "EXTENSION": "a+b", "ORIGINAL_RECIPIENT": "info+a+b@virtual.test",
        "RECIPIENT": "alice@example.test", "SENDER": "bob@x",
    }  # fmt: skip
    assert "EXTENSION" not in environment(local_envelope(), ALICE, "+")
    assert environment(local_envelope(dest='"info+to do"@x.test'), ALICE, "+")["EXTENSION"] == "to do"


@pytest.mark.parametrize(
    ("target", "host", "port"),
    [
        ("lmtp.example.test:24", "lmtp.example.test", 24), ("192.0.2.1:2003", "192.0.2.1", 2003), ("[2001:db8::1]:24", "2001:db8::1", 24),
        ("[IPv6:::1]:24", "::1", 24), ("store", "store", 25), ("/run/dovecot/lmtp", "/run/dovecot/lmtp", 0), ("%{dest.domain}:24", "example.test", 24),
    ],
)  # fmt: skip
def test_lmtp_targets(target: str, host: str, port: int) -> None:
    made = way("lmtp", target)
    assert isinstance(made, LmtpWay)
    assert (made.host, made.port, made.rcpt, made.sender) == (host, port, "alice", "bob@example.net")


@pytest.mark.parametrize("target", ["host:0", "host:70000", "a b:24", "run/lmtp", "host:24:25", "[::1:24", "host:x"])
def test_no_lmtp_targets(target: str) -> None:
    with pytest.raises(FormatError):
        way("lmtp", target)


def test_a_user_name_is_quoted_where_it_must_be() -> None:
    made = way("lmtp", "h:24", user=UserInfo('a b>"c', 1, 1, "/h"))
    assert isinstance(made, LmtpWay) and made.rcpt == '"a b>\\"c"'
    made = way("lmtp", "h:24", user=UserInfo("été", 1, 1, "/h"))
    assert isinstance(made, LmtpWay) and made.rcpt == "été"
    with pytest.raises(FormatError):
        way("lmtp", "h:24", user=UserInfo("a\r\nRSET", 1, 1, "/h"))


def test_files() -> None:
    made = way("file", "~/mail/%{rcpt.domain}", envelope=local_envelope(sender=""))
    assert made == FileWay("/home/alice/mail/example.test", "MAILER-DAEMON", False, 1000, 1001)
    assert way("mbox", "") == FileWay("/var/mail/alice", "bob@example.net", True, 1000, 1001)
    with pytest.raises(FormatError):
        way("file", "mail")


@pytest.mark.parametrize("name", ["..", ".", "a/b", "../../etc/passwd", "alice.lock", ".profile", "a\nb", ""])
def test_users_that_are_no_name_of_a_file(name: str) -> None:
    with pytest.raises(FormatError):
        way("mbox", "", user=UserInfo(name, 1000, 1000, "/h"))


@pytest.mark.parametrize(("method", "target"), [("mda", "cat"), ("lmtp", "h:24"), ("file", "/tmp/x")])
def test_root_gets_no_program_peer_or_file(method: str, target: str) -> None:
    with pytest.raises(NotAllowed, match="not allowed to deliver to: root"):
        way(method, target, user=UserInfo("root", 0, 0, "/root"))
    assert isinstance(way("mbox", "", user=UserInfo("root", 0, 0, "/root")), FileWay)
