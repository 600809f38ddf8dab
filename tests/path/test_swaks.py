"""A client that is not ours: swaks, as operators use it to try a server."""

import shutil
import subprocess

import pytest

from tests.path.ground import STRANGER, Ground

pytestmark = [pytest.mark.path, pytest.mark.connected]
needs_swaks = pytest.mark.skipif(shutil.which("swaks") is None, reason="swaks is not installed")


def swaks(ground: Ground, *arguments: str) -> subprocess.CompletedProcess[str]:
    server = [
        f"--server={ground.fleet.smtp_address[0]}",
        f"--port={ground.fleet.smtp_port}",
        f"--local-interface={STRANGER}",
    ]
    return subprocess.run(["swaks", *server, *arguments], capture_output=True, text=True, timeout=60, check=False)


@needs_swaks
@pytest.mark.parametrize("pipelining", [[], ["--pipeline"]], ids=["command by command", "pipelined"])
def test_swaks_delivers(ground: Ground, pipelining: list[str]) -> None:
    done = swaks(ground, "--from=carol@abroad.test", "--to=alice@example.test,bob@example.test", *pipelining)
    assert done.returncode == 0, done.stdout + done.stderr
    (accepted,) = [line for line in done.stdout.splitlines() if line.endswith("Message accepted for delivery")]
    msgid = accepted.split()[-5]
    for user in ("alice", "bob"):
        assert b"X-Mailer: swaks" in ground.await_delivered(user, msgid)


@needs_swaks
def test_swaks_is_refused(ground: Ground) -> None:
    done = swaks(ground, "--from=carol@abroad.test", "--to=nobody@example.test")
    assert "<** 550 5.1.1 Invalid recipient" in done.stdout
    assert done.returncode == 24  # swaks: no recipient accepted
