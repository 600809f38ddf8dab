"""`smtpfleet-config` as an operator runs it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

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


def test_a_bad_macro_and_a_missing_file(conf: Path, tmp_path: Path) -> None:
    done = run("check", "-f", str(conf), "-D", "who")
    assert done.returncode == 1
    assert "could not parse macro definition 'who'" in done.stderr
    done = run("check", "-f", str(tmp_path / "nowhere"))
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "cannot read the configuration: No such file or directory" in done.stderr
