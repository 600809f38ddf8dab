"""Recipients whose names are more than letters: quoted local parts, subaddresses, letters beyond ASCII, and formats they do not fit; from
RCPT to the file, the program's environment, or the LMTP peer, in both forms."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from smtpfleet.local.fleet import Fleet
from tests.path.ground import STRANGER, Client, mail, until
from tests.path.world import World
from tests.support.peer import EXTENSIONS, Peer, Script
from tests.support.unprivileged import GID, UID, make_folder

pytestmark = [pytest.mark.path, pytest.mark.connected]

TABLES = """
table users file:@ETC@/users
table people { "\\"a b\\"@virtual.test" = alice, "secret@inside.test" = bob, "@inside.test" = bob, "@virtual.test" = carol }
listen on 127.0.0.1 port @SMTP_PORT@ hostname mx.example.test
"""
CLASSIC = f"""{TABLES}
accept from any for domain "maildir.test" userbase <users> deliver to maildir
accept from any for domain "sender.test" userbase <users> deliver to maildir "~/%{{sender.user}}"
accept from any for domain "range.test" userbase <users> deliver to maildir "~/%{{rcpt.user[4:]}}"
accept from any for domain "program.test" userbase <users> deliver to mda "cat > /dev/null; env > env"
accept from any for domain "lmtp.test" userbase <users> deliver to lmtp "@PEER@" rcpt-to
accept from any for domain "virtual.test" virtual <people> userbase <users> deliver to maildir
"""
MODERN = f"""{TABLES}
action "maildir" maildir userbase <users>
action "sender" maildir "~/%{{sender.user}}" userbase <users>
action "range" maildir "~/%{{rcpt.user[4:]}}" userbase <users>
action "program" mda "cat > /dev/null; env > env" userbase <users>
action "lmtp" lmtp "@PEER@" rcpt-to userbase <users>
action "virtual" maildir virtual <people> userbase <users>
match from any for domain "maildir.test" action "maildir"
match from any for domain "sender.test" action "sender"
match from any for domain "range.test" action "range"
match from any for domain "program.test" action "program"
match from any for domain "lmtp.test" action "lmtp"
match from any for domain "virtual.test" action "virtual"
"""
USERS = ("alice", "bob", "carol")


class Stage:
    """A fleet without mta, and an LMTP peer that knows SMTPUTF8."""

    def __init__(self, root: Path, world: World, config: str) -> None:
        self.peer: Peer = world.peer(Script(is_lmtp=True, extensions=(*EXTENSIONS, "SMTPUTF8")))
        (root / "etc").mkdir()
        homes = {name: make_folder(root / "mail" / name) for name in USERS}
        (root / "etc" / "users").write_text("".join(f"{name} {UID}:{GID}:{home}\n" for name, home in homes.items()))
        text = config.replace("@PEER@", f"{self.peer.address}:{world.port}")
        settings = {"config": {"server_name": "mx.example.test"}}
        replicas = {"mta": 0, "admin": 0}
        self.fleet = Fleet(root, replicas=replicas, settings=settings, config_text=text, exit_deadline_s=0.5)

    def code(self, rcpt: str, sender: str) -> int:
        with Client(self.fleet.smtp_address, STRANGER) as client:
            client.docmd(f"MAIL FROM:<{sender}>")
            return client.docmd(f"RCPT TO:<{rcpt}>")[0]

    def deliver(self, rcpt: str, sender: str = "carol@abroad.test") -> str:
        """mda's line about the one delivery."""
        with Client(self.fleet.smtp_address, STRANGER) as client:
            client.command_encoding = "utf-8"
            word = "" if (sender + rcpt).isascii() else " SMTPUTF8"
            assert client.docmd(f"MAIL FROM:<{sender}>{word}")[0] == 250
            assert client.docmd(f"RCPT TO:<{rcpt}>") == (250, b"2.1.5 Recipient ok")
            code, text = client.data(mail(""))
            assert code == 250, text
        msgid = text.split()[1].decode()
        line = until(
            lambda: [each for each in self.fleet.trace(msgid) if "mda delivery" in each], f"{msgid} delivered"
        )[0]
        assert 'result="Ok"' in line, line
        return line


@pytest.fixture(scope="module", params=[pytest.param(CLASSIC, id="classic"), pytest.param(MODERN, id="modern")])
def stage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with World() as world:
        stage = Stage(tmp_path_factory.mktemp("odd-names"), world, request.param)
        with stage.fleet:
            yield stage


@pytest.mark.parametrize(
    ("rcpt", "user"),
    [
        pytest.param('"A b+tag"@virtual.test', "alice", id="an entry in quotes"),
        pytest.param('"secret@inside.test"@virtual.test', "carol", id="not the address of another domain"),
        pytest.param('"@inside.test"@virtual.test', "carol", id="not the catch-all of another domain"),
    ],
)
def test_a_quoted_local_part_finds_its_own_entry(stage: Stage, rcpt: str, user: str) -> None:
    assert f"user={user} " in stage.deliver(rcpt)


def test_the_folder_of_a_quoted_subaddress(stage: Stage) -> None:
    folder = stage.fleet.mail / "alice" / "Maildir" / ".to do"
    stage.deliver("alice@maildir.test")
    for part in (folder, folder / "new", folder / "cur", folder / "tmp"):
        make_folder(part)
    stage.deliver('"alice+to do"@maildir.test')
    assert len(list((folder / "new").iterdir())) == 1


def test_a_program_hears_of_a_quoted_subaddress(stage: Stage) -> None:
    stage.deliver('"alice+to do"@program.test')
    variables = dict(line.split("=", 1) for line in (stage.fleet.mail / "alice" / "env").read_text().splitlines())
    assert (variables["EXTENSION"], variables["USER"]) == ("to do", "alice")


@pytest.mark.parametrize(
    ("rcpt", "sender"),
    [
        pytest.param("alice+é@lmtp.test", "carol@abroad.test", id="recipient"),
        pytest.param("alice@lmtp.test", "é@abroad.test", id="sender"),
    ],
)
def test_an_lmtp_peer_is_told_of_letters_beyond_ascii(stage: Stage, rcpt: str, sender: str) -> None:
    stage.deliver(rcpt, sender)
    assert "SMTPUTF8" in stage.peer.messages[-1].mail_parameters.upper().split()
    stage.deliver("alice@lmtp.test")
    assert "SMTPUTF8" not in stage.peer.messages[-1].mail_parameters.upper()


def test_a_recipient_that_the_format_does_not_fit_is_not_taken(stage: Stage) -> None:
    assert (stage.code("alice@range.test", "carol@abroad.test"), stage.code("bob@range.test", "carol@abroad.test")) == (
        250,
        451,
    )
    # What is empty is left out in the modern form; in the classic one mail could only wait until it is lost.
    is_modern = "action " in stage.fleet.conf.path.read_text()
    assert stage.code("alice@sender.test", "") == (250 if is_modern else 451)
    assert stage.code("alice@sender.test", "carol@abroad.test") == 250
