"""The fleet as `make up` runs it: mail arrives, the queue survives a stop and a SIGKILL, replicas come and go, `send` and `demo` tell the truth."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from smtpfleet.local.child import Child, await_answer
from smtpfleet.local.fleet import Fleet
from smtpfleet.local.leftover import find_leftovers
from smtpfleet.local.ports import free_ports
from smtpfleet.local.send import send_message

pytestmark = [pytest.mark.path, pytest.mark.connected]

CLOSED_PORT = 1
"""Nobody listens on tcpmux here: the relay refuses the connection and the envelope is deferred."""
RELAY_TO_NOBODY = f"""\
table users file:@ETC@/users
listen on 127.0.0.1 port @SMTP_PORT@ hostname mx.example.test
accept from any for domain "example.test" userbase <users> deliver to maildir "~/Maildir"
accept from local for domain "relay.test" relay via "smtp://127.0.0.1:{CLOSED_PORT}"
"""


def admin(fleet: Fleet, path: str) -> dict[str, object]:
    with urllib.request.urlopen(f"{fleet.admin_url}{path}", timeout=10) as response:
        answer: dict[str, object] = json.load(response)
    return answer


def until(holds: Callable[[], bool], seen: Callable[[], object], deadline_s: float = 20) -> None:
    ends_at = time.monotonic() + deadline_s
    while not holds():
        assert time.monotonic() < ends_at, f"not so after {deadline_s} s; seen last: {seen()}"
        time.sleep(0.05)


def delivered(fleet: Fleet, user: str = "alice") -> list[Path]:
    return list((fleet.mail / user / "Maildir" / "new").glob("*"))


def test_the_queue_is_found_as_it_was(tmp_path: Path) -> None:
    with Fleet(tmp_path, config_text=RELAY_TO_NOBODY) as fleet:
        waiting = send_message(fleet.smtp_port, "carol@relay.test", "later", "not yet\n")
        assert waiting.msgid, waiting.reply
        until(lambda: "TempFail" in fleet.log_text("mta"), lambda: fleet.log_text("mta"))
    again = Fleet(tmp_path, config_text=RELAY_TO_NOBODY, exit_deadline_s=0.5)
    with again:
        queue = admin(again, "/v1/queue")
        assert (queue["messages"], queue["envelopes"]) == (1, 1)
        assert admin(again, f"/v1/messages/{waiting.msgid}")["msgid"] == waiting.msgid
        assert send_message(again.smtp_port, "alice@example.test", "now", "and on it goes\n").msgid
        until(lambda: len(delivered(again)) == 1, lambda: again.log_text("mda"))


def test_replicas_come_and_go(tmp_path: Path) -> None:
    replicas = {"mda": 2, "smtp-in": 2, "admin": 0}
    with Fleet(tmp_path, replicas=replicas, config_text=RELAY_TO_NOBODY, exit_deadline_s=0.5) as fleet:
        assert [replica.name for replica in fleet.roles["mda"]] == ["mda", "mda-2"]
        fleet.replica("mda", 0).kill9()
        assert send_message(fleet.smtp_port, "alice@example.test", "one", "with one mda dead\n").msgid
        until(lambda: len(delivered(fleet)) == 1, lambda: fleet.log_text("mda"))
        third = fleet.add("mda")
        third.start()
        assert third.stop(timeout_s=25)
        assert third.exit_code == 0
        assert (
            fleet.replica("queue").metrics()['smtpfleet_role_info{replica="queue",role="queue",version="0.1.0"}'] == 1
        )
        assert fleet.cpu_s()["queue"] > 0
        fleet.write_config(RELAY_TO_NOBODY.replace("example.test", "example.net"))
        until(
            lambda: send_message(fleet.smtp_port, "alice@example.net", "two", "under the new one\n").msgid != "",
            lambda: fleet.log_text("config"),
        )


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Child]:
    smtp_port, admin_port = free_ports(2)
    environ = dict(os.environ) | {
        "SMTPFLEET_UP_VAR": str(tmp_path),
        "SMTPFLEET_UP_SMTP_PORT": str(smtp_port),
        "SMTPFLEET_UP_ADMIN_PORT": str(admin_port),
    }
    child = Child("up", [sys.executable, "-m", "smtpfleet.local", "up"], tmp_path / "up.log", environ)
    yield child
    child.stop(timeout_s=60)


def is_up(child: Child, times: int = 1) -> Callable[[], str]:
    return lambda: "" if child.log_text.count("The fleet is up") == times else "not up yet"


def run_local(child: Child, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "smtpfleet.local", *words],
        env=child.environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_up_send_demo_and_sigint(up: Child, tmp_path: Path) -> None:
    up.spawn()
    await_answer(up, is_up(up), 60)
    sent = run_local(up, "send", "bob@example.test")
    assert sent.returncode == 0, sent.stderr
    assert "Message accepted for delivery" in sent.stdout
    assert "mda delivery" in sent.stdout
    assert len(list((tmp_path / "mail/bob/Maildir/new").glob("*"))) == 1
    refused = run_local(up, "send", "nobody@example.test")
    assert (refused.returncode, refused.stdout[:3]) == (1, "550")
    demo = run_local(up, "demo")
    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert "The sink took 1 message(s)" in demo.stdout
    assert "mta delivery" in demo.stdout
    second = run_local(up, "up")
    assert second.returncode == 1
    assert f"a fleet runs on {tmp_path} already (pid {up.pid})" in second.stderr
    up.signal(signal.SIGINT)
    assert up.wait(60) == 0
    assert up.log_tail(1) == "stopped"
    assert find_leftovers(tmp_path) == []
    assert run_local(up, "send").returncode == 1


@pytest.mark.slow
def test_up_starts_again_what_died_and_clears_what_a_killed_one_left(up: Child, tmp_path: Path) -> None:
    up.spawn()
    await_answer(up, is_up(up), 60)
    victim = next(
        pid for pid in find_leftovers(tmp_path) if b"smtpfleet.mda" in Path(f"/proc/{pid}/cmdline").read_bytes()
    )
    os.kill(victim, signal.SIGKILL)
    until(lambda: "mda ended with -9; starting it again" in up.log_text, up.log_tail)
    assert run_local(up, "send").returncode == 0
    # the dead one may have been given the envelope: then it is the next one's after the lease of ten seconds
    until(lambda: len(list((tmp_path / "mail/alice/Maildir/new").glob("*"))) == 1, up.log_tail, deadline_s=30)
    up.kill9()
    assert len(find_leftovers(tmp_path)) == 9
    up.spawn()
    await_answer(up, is_up(up, times=2), 90)
    assert "ended 9 process(es)" in up.log_text
    assert run_local(up, "send").returncode == 0
