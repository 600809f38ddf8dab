"""deploy/compose.yaml as a project of its own for the deploy tests: up, kill, scale, and what arrived where.

Another project name and other ports than the defaults, so that a fleet that runs on this machine is not touched. Everything goes
through `docker compose` and `docker`, as an operator's hands would.
"""

import json
import os
import re
import subprocess
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
PROJECT = "smtpfleet-deploy-test"
SMTPD_CONF = """\
table users file:users
listen on 0.0.0.0 port 2525
accept from any for domain "example.test" userbase <users> deliver to maildir "~/Maildir"
accept from any for domain "relay.test" relay via "smtp://sink:2526"
accept from any for domain "closed.test" relay via "smtp://sink:1"
"""
USERS = "alice 10001:10001:/mail/alice\nbob 10001:10001:/mail/bob\n"
UP_DEADLINE_S = 180
"""The images are built before; this is for some thirteen containers starting on two cores."""

_TAKEN = re.compile(r"taken (\S+) ")


class Stack:
    """The running project."""

    def __init__(self, folder: Path, smtp_port: int, admin_port: int) -> None:
        self.smtp_port = smtp_port
        self.admin_port = admin_port
        etc = folder / "etc"
        etc.mkdir()
        (etc / "smtpd.conf").write_text(SMTPD_CONF)
        (etc / "users").write_text(USERS)
        # the container's user must be able to read what this test's user made
        for path in (folder, etc):
            path.chmod(0o755)
        self._environ = dict(os.environ) | {
            "SMTPFLEET_ETC": str(etc),
            "SMTPFLEET_SMTP_PUBLISH": str(smtp_port),
            "SMTPFLEET_ADMIN_PUBLISH": str(admin_port),
            "SMTPFLEET_TEST_SINK": str(ROOT / "tests" / "deploy" / "sink.py"),
        }
        files = [str(ROOT / "deploy" / "compose.yaml"), str(ROOT / "tests" / "deploy" / "sink.yaml")]
        self._compose = ["docker", "compose", "-p", PROJECT, *(word for file in files for word in ("-f", file))]

    def compose(self, *words: str, timeout_s: float = 600) -> str:
        """Output of a compose command. Fails with all it said."""
        return run([*self._compose, *words], self._environ, timeout_s)

    def up(self, *, mta: int = 3, build: bool = False) -> None:
        """Start what does not run, and wait until everything is healthy."""
        self.compose("up", "-d", "--no-recreate", "--scale", f"mta={mta}", *(["--build"] if build else []))
        until(lambda: not self.unwell(), self.unwell, UP_DEADLINE_S)

    def down(self, *, volumes: bool) -> None:
        self.compose("down", "--remove-orphans", *(["--volumes"] if volumes else []))

    def containers(self, service: str = "") -> list[dict[str, Any]]:
        """What `docker inspect` says of the project's containers."""
        names = self.compose("ps", "-a", "-q", *([service] if service else [])).split()
        inspected: list[dict[str, Any]] = json.loads(run(["docker", "inspect", *names])) if names else []
        return inspected

    def unwell(self) -> list[str]:
        """Containers that do not run or are not healthy, with their state."""
        found = []
        for container in self.containers():
            state = container["State"]
            health = state.get("Health", {}).get("Status", "healthy")
            is_done = (
                state["Status"] == "exited" and state["ExitCode"] == 0 and container["Name"].endswith("-volumes-1")
            )
            if not is_done and (state["Status"] != "running" or health != "healthy"):
                found.append(f"{container['Name']}: {state['Status']}, {health}")
        return found

    def kill(self, service: str) -> str:
        """SIGKILL to the service's first container; its name."""
        name = str(self.containers(service)[0]["Name"]).lstrip("/")
        run(["docker", "kill", "--signal", "KILL", name])
        return name

    def start(self, name: str) -> None:
        run(["docker", "start", name])

    def admin(self, path: str) -> dict[str, Any]:
        """A GET of the REST API with the development token."""
        token = (ROOT / "deploy" / "secrets" / "dev" / "admin-token").read_text().strip()
        request = urllib.request.Request(f"http://127.0.0.1:{self.admin_port}{path}")
        request.add_header("Authorization", f"Bearer {token}")
        with urllib.request.urlopen(request, timeout=10) as response:
            answer: dict[str, Any] = json.load(response)
        return answer

    def in_mailboxes(self) -> Counter[str]:
        """Marks of the messages in the mail volume."""
        text = self.compose("exec", "-T", "mda", "sh", "-c", "find /mail -type f -path '*/new/*' -exec cat {} +")
        return Counter(re.findall(r"^X-Mark: (\S+)", text, re.MULTILINE))

    def relayed(self) -> Counter[str]:
        """Marks of the messages the sink took."""
        return Counter(_TAKEN.findall(self.compose("logs", "--no-log-prefix", "sink")))

    def arrived(self) -> Counter[str]:
        return self.in_mailboxes() + self.relayed()


def run(words: list[str], environ: dict[str, str] | None = None, timeout_s: float = 120) -> str:
    done = subprocess.run(words, env=environ, capture_output=True, text=True, timeout=timeout_s, check=False)
    assert done.returncode == 0, f"{' '.join(words)}: {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def until(holds: Callable[[], bool], seen: Callable[[], object], deadline_s: float) -> None:
    ends_at = time.monotonic() + deadline_s
    while not holds():
        assert time.monotonic() < ends_at, f"not so after {deadline_s} s; seen last: {seen()}"
        time.sleep(1)
