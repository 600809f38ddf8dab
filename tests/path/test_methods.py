"""Every method of one smtpd.conf, through the whole fleet: a mailbox file, a file of the user's choice, a program, an LMTP peer; and beside
them a maildir that none of them may hold up."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from smtpfleet.local.fleet import Fleet
from tests.failure.methods import messages_of
from tests.path.ground import STRANGER, Client, mail, until
from tests.path.world import World
from tests.support.peer import Peer, Script
from tests.support.unprivileged import GID, UID, make_folder

pytestmark = [pytest.mark.path, pytest.mark.connected]

# In one line each: a line break ends a string. A gate is waited for in the home, so that no test leaves a program behind.
KEEP = "cat > kept-%{rcpt.user}; env > env-%{rcpt.user}; echo %{sender} > sender-%{rcpt.user}"
WAIT = "touch waiting-$$; while [ ! -e gate ]; do sleep 0.05; done; rm waiting-$$; cat > /dev/null"
CONFIG = f"""\
smtp max-message-size 4M
mda wrapper "noted" "echo wrapped > wrapped; %{{mda}}"
table users file:@ETC@/users
listen on 127.0.0.1 port @SMTP_PORT@ hostname mx.example.test

action "mbox" mbox userbase <users>
action "maildir" maildir "~/Maildir" userbase <users>
action "program" mda "{KEEP}" userbase <users> wrapper "noted"
action "failing" mda "cat > /dev/null; echo half way; echo no such luck >&2; exit %{{rcpt.user[6:]}}" userbase <users>
action "waiting" mda "{WAIT}" userbase <users>
action "lmtp" lmtp "@PEER@" rcpt-to userbase <users>

match from any for domain "mbox.test" action "mbox"
match from any for domain "maildir.test" action "maildir"
match from any for domain "program.test" action "program"
match from any for domain "failing.test" action "failing"
match from any for domain "waiting.test" action "waiting"
match from any for domain "lmtp.test" action "lmtp"
"""

USERS = ("agent", "refused", "carol", "slow", "quick", "patient", "keeper-small", "keeper-large", "forwarder")
SENDER = "carol@maildir.test"
"""Local, so that what is told to the sender is in a maildir here."""
SMALL = mail("small", "From here on\r\n.\r\nFrom there")
LARGE = b"Subject: large\r\n\r\n" + b"".join(b"." * (n % 3) + b"x" * (n % 900) + b"\r\n" for n in range(2400))
"""Above what travels with its envelopes: streamed."""


class Stage:
    """A fleet without mta, whose user `agent` is not root."""

    def __init__(self, root: Path, world: World) -> None:
        self.peer: Peer = world.peer(Script(is_lmtp=True, rcpts={"refused@lmtp.test": "550 5.1.1 Not here"}))
        self.home = root / "mail" / "agent"
        self.spool = root / "spool"
        self.spool.mkdir()
        (root / "etc").mkdir()
        for name in USERS:
            make_folder(root / "mail" / name)
        (root / "etc" / "users").write_text("".join(f"{name} {UID}:{GID}:{root}/mail/{name}\n" for name in USERS))
        peer = f"{self.peer.address}:{world.port}"
        settings = {
            "mda": {"mbox_folder": str(self.spool), "drain_s": 1.0},
            "config": {"server_name": "mx.example.test"},
        }
        config_text = CONFIG.replace("@PEER@", peer)
        self.fleet = Fleet(root, replicas={"mta": 0, "admin": 0}, settings=settings, config_text=config_text)

    def send(self, rcpt: str, content: bytes = SMALL, sender: str = SENDER) -> str:
        with Client(self.fleet.smtp_address, STRANGER) as client:
            return client.deliver(sender, [rcpt], content)

    def await_result(self, msgid: str) -> str:
        """mda's line about the message, which has one recipient."""

        def look() -> list[str]:
            return [line for line in self.fleet.trace(msgid) if "mda delivery" in line]

        return until(look, f"a delivery of {msgid}")[0]

    def forward(self, user: str, target: str) -> Path:
        """The user's home, with a .forward; before the first mail to him: what was read counts for a while."""
        home = self.fleet.mail / user
        (home / ".forward").write_text(f"{target}\n")
        return home

    def maildir(self, user: str) -> list[bytes]:
        return [path.read_bytes() for path in (self.fleet.mail / user / "Maildir" / "new").glob("*")]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with World() as world:
        stage = Stage(tmp_path_factory.mktemp("methods"), world)
        with stage.fleet:
            yield stage


def body_of(content: bytes) -> bytes:
    """What stands below our header lines, as it was sent."""
    at = content.index(b"\nSubject: ") + 1 if b"From: " not in content else content.index(b"\nFrom: ") + 1
    return content[at:]


def as_file(content: bytes) -> bytes:
    return content.replace(b"\r\n", b"\n")


BOTH = pytest.mark.parametrize("content", [SMALL, LARGE], ids=["small", "large"])


@BOTH
def test_a_mailbox_file(stage: Stage, content: bytes) -> None:
    msgid = stage.send("agent@mbox.test", content)
    assert "method=mbox" in (line := stage.await_result(msgid)) and 'result="Ok"' in line
    (message,) = [text for text in messages_of(stage.spool / "agent") if msgid.encode() in text]
    assert message.startswith(b"Return-Path: <carol@maildir.test>\nDelivered-To: agent@mbox.test\n")
    quoted = as_file(content).replace(b"\nFrom ", b"\n>From ")
    assert body_of(message) in (quoted, quoted + b"\n")  # without the blank line where the next message follows


@BOTH
def test_a_file_of_the_users_choice(stage: Stage, content: bytes) -> None:
    user = "keeper-large" if content is LARGE else "keeper-small"
    box = stage.fleet.mail / user / "saved"
    stage.forward(user, str(box))
    msgid = stage.send(f"{user}@maildir.test", content)
    assert "method=file" in (line := stage.await_result(msgid)) and 'result="Ok"' in line
    (message,) = messages_of(box)
    assert body_of(message) == as_file(content).replace(b"\nFrom ", b"\n>From ") + b"\n"
    assert (box.stat().st_uid, box.stat().st_mode & 0o777) == (UID, 0o600)


@BOTH
def test_a_program(stage: Stage, content: bytes) -> None:
    msgid = stage.send("agent+tag@program.test", content, sender='"$(touch`x`) ;|&"@maildir.test')
    assert "method=mda" in (line := stage.await_result(msgid)) and 'result="Ok"' in line, line
    kept = (stage.home / "kept-agent+tag").read_bytes()
    assert body_of(kept) == as_file(content)
    assert (stage.home / "kept-agent+tag").stat().st_uid == UID
    # The sender in the line has lost what means something to a shell; in the environment it is as it came.
    assert (stage.home / "sender-agent+tag").read_text() == ":::touch:x:::::::@maildir.test\n"
    variables = dict(line.split("=", 1) for line in (stage.home / "env-agent+tag").read_text().splitlines())
    assert {name: value for name, value in variables.items() if name not in ("PWD", "_", "OLDPWD", "SHLVL")} == {
        "PATH": "/usr/bin:/bin",
        "SHELL": "/bin/sh",
        "HOME": str(stage.home),
        "USER": "agent",
        "LOGNAME": "agent",
        "LOCAL": "agent+tag",
        "DOMAIN": "program.test",
        "EXTENSION": "tag",
        "SENDER": '"$(touch`x`) ;|&"@maildir.test',
        "RECIPIENT": "agent+tag@program.test",
        "ORIGINAL_RECIPIENT": "agent+tag@program.test",
    }
    assert (stage.home / "wrapped").read_text() == "wrapped\n"


def test_a_program_of_a_forward(stage: Stage) -> None:
    home = stage.forward("forwarder", '"|cat > forwarded; exit 75"')
    assert 'result="TempFail"' in stage.await_result(stage.send("forwarder@maildir.test"))
    assert body_of((home / "forwarded").read_bytes()) == as_file(SMALL)


def test_a_program_that_fails_for_good_is_told_of(stage: Stage) -> None:
    msgid = stage.send("agent+1@failing.test")
    assert re.search(r'result="PermFail" stat="\\"no such luck\\"" detail="?exit 1', stage.await_result(msgid))
    until(lambda: [told for told in stage.maildir("carol") if msgid.encode() in told], "a bounce")
    (bounce,) = [told for told in stage.maildir("carol") if msgid.encode() in told]
    assert b"no such luck" in bounce and b"half way" not in bounce


@pytest.mark.parametrize("code", [71, 75])
def test_a_program_may_ask_for_another_time(stage: Stage, code: int) -> None:
    assert 'result="TempFail"' in stage.await_result(stage.send(f"agent+{code}@failing.test"))


@BOTH
def test_an_lmtp_peer(stage: Stage, content: bytes) -> None:
    msgid = stage.send("agent+tag@lmtp.test", content)
    assert "method=lmtp" in (line := stage.await_result(msgid)) and 'result="Ok"' in line
    (message,) = [message for message in stage.peer.messages if msgid.encode() in message.content]
    assert (message.sender, message.rcpts, message.helo) == (SENDER, ["agent+tag@lmtp.test"], "localhost")
    assert message.content.endswith(content)


def test_an_lmtp_peer_that_refuses(stage: Stage) -> None:
    msgid = stage.send("refused@lmtp.test")
    assert re.search(r'result="PermFail" stat="Not here"', stage.await_result(msgid))
    until(lambda: [told for told in stage.maildir("carol") if msgid.encode() in told], "a bounce")


def test_programs_that_take_their_time_hold_up_nobody_and_are_few(stage: Stage) -> None:
    home = stage.fleet.mail / "slow"
    slow = [stage.send("slow@waiting.test") for _ in range(12)]
    try:
        until(
            lambda: len(list(home.glob("waiting-*"))) == 6, "six of them: one of the user's seven sessions stays free"
        )
        # Three more leases of the same user, and mail by the other methods: all of it goes by the programs.
        quick = [stage.send(rcpt) for rcpt in ("slow@maildir.test", "quick@maildir.test", "agent@mbox.test") * 3]
        lines = [stage.await_result(msgid) for msgid in quick]
        assert all('result="Ok"' in line for line in lines), "\n".join(lines)
        assert len(list(home.glob("waiting-*"))) == 6
    finally:
        (home / "gate").touch()
    assert all('result="Ok"' in stage.await_result(msgid) for msgid in slow)


def test_a_program_ends_with_the_role_that_cannot_wait_for_it(stage: Stage) -> None:
    home, (mda,) = stage.fleet.mail / "patient", stage.fleet.roles["mda"]
    stage.send("patient@waiting.test")
    (waiting,) = until(lambda: list(home.glob("waiting-*")), "the program")
    program = Path("/proc") / waiting.name.partition("-")[2]
    assert program.exists()
    mda.term()
    assert mda.wait(15.0) == 0
    try:
        until(lambda: not program.exists(), "the end of the program", 5.0)
        assert waiting.exists()  # it was not let go on
    finally:
        (home / "gate").touch()
        mda.start()
