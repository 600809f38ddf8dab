"""Users that a database or a helper knows, and no snapshot: from RCPT through mda's own question to the mailbox, in both forms."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from smtpfleet.local.fleet import Fleet
from tests.path.ground import STRANGER, Client, mail, until
from tests.support.unprivileged import GID, UID, make_folder

pytestmark = [pytest.mark.path, pytest.mark.connected]

TABLES = """
table people "sqlite:@ETC@/people.conf"
table helped "proc-exec:@ETC@/helper"
listen on 127.0.0.1 port @SMTP_PORT@ hostname mx.example.test
"""
CLASSIC = f"""{TABLES}
accept from any for domain "sqlite.test" alias <people> userbase <people> deliver to maildir
accept from any for domain "virtual.test" virtual <people> userbase <people> deliver to maildir
accept from any for domain "program.test" userbase <people> deliver to mda "cat > from-a-program"
accept from any for domain "helper.test" alias <helped> userbase <helped> deliver to maildir
"""
MODERN = f"""{TABLES}
action "sqlite" maildir userbase <people> alias <people>
action "virtual" maildir userbase <people> virtual <people>
action "program" mda "cat > from-a-program" userbase <people>
action "helper" maildir userbase <helped> alias <helped>
match from any for domain "sqlite.test" action "sqlite"
match from any for domain "virtual.test" action "virtual"
match from any for domain "program.test" action "program"
match from any for domain "helper.test" action "helper"
"""
SETTINGS = """\
dbpath @ETC@/people.sqlite
query_userinfo SELECT uid, gid, home FROM users WHERE name=?
query_alias SELECT target FROM aliases WHERE name=?
"""
HELPER = """\
#!/usr/bin/python3
import sys
FOUND = {"userinfo": {"erin": "@ERIN@"}, "alias": {"team": "erin"}}
for line in sys.stdin:
    fields = line.rstrip("\\n").split("|")
    if fields[:2] == ["config", "ready"]:
        print("register|alias", "register|userinfo", "register|ready", sep="\\n", flush=True)
    elif fields[0] == "table":
        value = FOUND[fields[5]].get(fields[7])
        print(f"lookup-result|{fields[6]}|" + (f"found|{value}" if value else "not-found"), flush=True)
"""


class Stage:
    """A fleet whose users are alice, bob and _smtpd of an SQLite file, and erin of a helper."""

    def __init__(self, root: Path, config: str) -> None:
        etc = root / "etc"
        etc.mkdir()
        homes = {name: make_folder(root / "mail" / name) for name in ("alice", "bob", "_smtpd", "erin")}
        with sqlite3.connect(etc / "people.sqlite") as database:
            database.execute("CREATE TABLE users (name, uid, gid, home)")
            database.execute("CREATE TABLE aliases (name, target)")
            for name in ("alice", "bob", "_smtpd"):
                database.execute("INSERT INTO users VALUES (?, ?, ?, ?)", (name, UID, GID, str(homes[name])))
            for alias in (
                ("staff", "alice"), ("staff", "bob"), ("command", "|cat > from-an-alias"),
                ("alice@virtual.test", "alice"), ("@virtual.test", "bob"),
            ):  # fmt: skip
                database.execute("INSERT INTO aliases VALUES (?, ?)", alias)
        database.close()
        (etc / "people.conf").write_text(SETTINGS.replace("@ETC@", str(etc)))
        (etc / "helper").write_text(HELPER.replace("@ERIN@", f"{UID}:{GID}:{homes['erin']}"))
        for path in (etc, *etc.iterdir()):
            path.chmod(0o755)
        self.fleet = Fleet(root, replicas={"mta": 0, "admin": 0}, config_text=config, exit_deadline_s=0.5)

    def send(self, rcpt: str) -> str:
        with Client(self.fleet.smtp_address, STRANGER) as client:
            return client.deliver("carol@abroad.test", [rcpt], mail(rcpt))

    def results(self, msgid: str, count: int) -> list[str]:
        """mda's lines about the message once there are `count`."""

        def look() -> list[str]:
            lines = [line for line in self.fleet.trace(msgid) if "mda delivery" in line]
            return lines if len(lines) >= count else []

        return until(look, f"{count} deliveries of {msgid}")


@pytest.fixture(scope="module", params=[pytest.param(CLASSIC, id="classic"), pytest.param(MODERN, id="modern")])
def stage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    stage = Stage(tmp_path_factory.mktemp("userbases"), request.param)
    with stage.fleet:
        yield stage


@pytest.mark.parametrize(
    ("rcpt", "files"),
    [
        pytest.param("alice@sqlite.test", ["alice/Maildir/new/*.E{}*"], id="a user"),
        pytest.param("staff@sqlite.test", ["alice/Maildir/new/*.E{}*", "bob/Maildir/new/*.E{}*"], id="an alias"),
        pytest.param("command@sqlite.test", ["_smtpd/from-an-alias"], id="an alias that is a command"),
        pytest.param("alice@virtual.test", ["alice/Maildir/new/*.E{}*"], id="a virtual address"),
        pytest.param("any@virtual.test", ["bob/Maildir/new/*.E{}*"], id="a catch-all"),
        pytest.param("alice@program.test", ["alice/from-a-program"], id="a program"),
        pytest.param("erin@helper.test", ["erin/Maildir/new/*.E{}*"], id="a user of a helper"),
        pytest.param("team@helper.test", ["erin/Maildir/new/*.E{}*"], id="an alias of a helper"),
    ],
)
def test_mail_reaches_users_that_no_snapshot_knows(stage: Stage, rcpt: str, files: list[str]) -> None:
    msgid = stage.send(rcpt)
    lines = stage.results(msgid, len(files))
    assert all('result="Ok"' in line for line in lines), "\n".join(lines)
    for file in files:
        (found,) = stage.fleet.mail.glob(file.format(msgid))
        assert f"Delivered-To: {rcpt}".encode() in found.read_bytes()
        assert found.stat().st_uid == UID
