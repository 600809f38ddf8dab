"""`smtpfleet-config` as an operator runs it."""

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from smtpfleet.mail.srs import encode

TEXT = 'who = "a.test"\nlisten on 127.0.0.1 port 2525\naccept for domain $who relay\n'


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from smtpfleet.config.cli import app; app()", *arguments]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SMTPFLEET_")}
    clean |= {"SMTPFLEET_SERVER_NAME": "mx.example.test", "NO_COLOR": "1", **environment}
    return subprocess.run(command, capture_output=True, text=True, timeout=30, env=clean)


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    path = tmp_path / "smtpd.conf"
    path.write_text(TEXT)
    return path


def test_a_good_configuration(conf: Path) -> None:
    for arguments in (["-f", str(conf)], [str(conf)]):
        done = run("check", *arguments)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "configuration OK\n")


def test_a_bad_configuration(conf: Path) -> None:
    conf.write_text(TEXT + "accept for locl relay\nacept\n")
    done = run("check", "-f", str(conf))
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{conf}:4:12: syntax error: " in done.stderr
    assert f"{conf}:5:1: syntax error: " in done.stderr
    assert "configuration OK" not in done.stderr


def test_warnings_do_not_fail(conf: Path) -> None:
    conf.write_text(TEXT + "max-mta-deferred 5\n")
    done = run("check", "-f", str(conf))
    assert done.returncode == 0
    assert "warning: max-mta-deferred" in done.stderr
    assert done.stderr.endswith("configuration OK\n")


def test_show_prints_the_model_and_macros_win_over_the_file(conf: Path) -> None:
    done = run("show", "-f", str(conf), "-D", "who=b.test")
    model = json.loads(done.stdout)
    assert model["tables"]["<dynamic:1>"]["entries"] == {"b.test": ""}
    assert model["rules"][0]["action"]["type"] == "relay"
    assert model["hostname"] == "mx.example.test"


def test_the_environment_of_the_service_counts(conf: Path) -> None:
    done = run("show", SMTPFLEET_CONFIG_FILE=str(conf), SMTPFLEET_CONFIG_MACROS="who=c.test,x=y")
    assert json.loads(done.stdout)["tables"]["<dynamic:1>"]["entries"] == {"c.test": ""}


def test_a_definition_is_split_at_its_last_equals_sign(conf: Path) -> None:
    done = run("show", "-f", str(conf), "-D", "z=1=2", "-D", "who=b.test")
    assert done.returncode == 0, done.stderr
    assert 'warning: macro "z=1" can never be used' in done.stderr


def test_a_bad_macro_and_a_missing_file(conf: Path, tmp_path: Path) -> None:
    done = run("check", "-f", str(conf), "-D", "who")
    assert done.returncode == 1
    assert "could not parse macro definition 'who'" in done.stderr
    done = run("check", "-f", str(tmp_path / "nowhere"))
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "cannot read the configuration: No such file or directory" in done.stderr


EXPLAINED = """\
table users { alice = "1:1:/home/alice" }
listen on 127.0.0.1 port 2525
accept from any for domain "a.test" userbase <users> deliver to maildir
"""


def test_explain(conf: Path) -> None:
    conf.write_text(EXPLAINED)
    done = run("explain", "-f", str(conf), "--from", "192.0.2.1", "--sender", "x@y.test", "--rcpt", "alice@a.test")
    assert done.returncode == 0, done.stderr
    assert f"  {conf}:3 matches: deliver to maildir ~/Maildir\n" in done.stdout
    assert "envelope: alice@a.test via maildir ~/Maildir as user alice" in done.stdout
    refused = run("explain", "-f", str(conf), "--from", "192.0.2.1", "--rcpt", "alice@b.test", "--json")
    assert refused.returncode == 2
    assert json.loads(refused.stdout)["reply"] == "550 5.7.1 Invalid recipient"
    wrong = run("explain", "-f", str(conf), "--from", "somewhere", "--rcpt", "alice@a.test")
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert "neither an address nor local" in wrong.stderr


def test_explain_asks_databases(conf: Path, tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "mail.db")) as database, database:
        database.execute("CREATE TABLE aliases (name TEXT, target TEXT)")
        database.execute("INSERT INTO aliases VALUES ('staff', 'alice')")
    (tmp_path / "sqlite.conf").write_text(
        f"dbpath {tmp_path}/mail.db\nquery_alias SELECT target FROM aliases WHERE name = ?\n"
    )
    conf.write_text(EXPLAINED.replace("userbase", "alias <al> userbase") + f"table al sqlite:{tmp_path}/sqlite.conf\n")
    text = conf.read_text().splitlines(keepends=True)
    conf.write_text("".join([text[-1], *text[:-1]]))
    done = run("explain", "-f", str(conf), "--from", "192.0.2.1", "--rcpt", "staff@a.test")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "  table <al>, staff: alice\n" in done.stdout


WITH_SRS = """\
srs key "key-of-the-operator"
table users { alice = "1:1:/home/alice" }
table virtuals { "out@a.test" = "bob@far.test" }
listen on 192.0.2.1 port 2525
action in maildir virtual <virtuals> userbase <users>
action out relay srs
match from any for domain "a.test" action in
match from local for any action out
"""


def test_explain_shows_srs_and_show_does_not_show_its_key(conf: Path) -> None:
    conf.write_text(WITH_SRS)
    stranger = ("explain", "-f", str(conf), "--from", "192.0.2.9")
    forwarded = run(*stranger, "--sender", "carol@x.test", "--rcpt", "out@a.test")
    assert "from <carol@x.test>, which srs turns into an address of a.test" in forwarded.stdout, forwarded.stderr
    day = int(time.time()) // 86400
    rewritten = encode("carol@x.test", "a.test", "key-of-the-operator", day)
    back = run(*stranger, "--rcpt", str(rewritten))
    assert f"  srs, {rewritten}: goes back to carol@x.test\n" in back.stdout, back.stderr
    assert "envelope: carol@x.test via smtp the MX of x.test" in back.stdout
    old = run(*stranger, "--rcpt", str(encode("carol@x.test", "a.test", "key-of-the-operator", day - 9)))
    assert (old.returncode, "older than srs ttl" in old.stdout) == (2, True)
    shown = run("show", str(conf))
    assert shown.returncode == 0
    texts = [done.stdout + done.stderr for done in (forwarded, back, old, shown)]
    assert "key-of-the-operator" not in "".join(texts)
