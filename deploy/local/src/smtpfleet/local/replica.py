"""One replica of one role as a process: its environment, its health endpoints, its figures.

Knows how a role is started, never what it does. Called by fleet.py.
"""

import http.client
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from smtpfleet.local.child import Child, await_answer

START_DEADLINE_S = 60.0
"""A Python role is ready in two seconds alone; on two busy cores with ten of them starting it takes several times that. Chosen."""
ROOT_MARK = "LOCAL_FLEET_ROOT"
"""In the environment of every process of a fleet, so that what a killed fleet left behind is recognised (leftover.py)."""

_MODULES = {"smtp-in": "smtp_in"}


class Replica(Child):
    """A running role. Settings are names as in the service's settings.py: `drain_s`, not SMTPFLEET_DRAIN_S."""

    def __init__(self, role: str, index: int, root: Path, health_port: int, settings: Mapping[str, object]) -> None:
        name = role if index == 0 else f"{role}-{index + 1}"
        self.role = role
        self.index = index
        self.health_port = health_port
        self.settings = {
            "replica": name,
            "health_listen": f"127.0.0.1:{health_port}",
            **settings,
        }
        self._root = root
        argv = [sys.executable, "-m", f"smtpfleet.{_MODULES.get(role, role)}"]
        super().__init__(name, argv, root / "log" / f"{name}.log")

    def spawn(self) -> None:
        self.environ = environment(self._root)
        self.environ |= {f"SMTPFLEET_{name.upper()}": str(value) for name, value in self.settings.items()}
        super().spawn()

    def start(self) -> None:
        """Start, and return when /readyz says so. Raises ChildDied where it does not."""
        self.spawn()
        self.await_ready()

    def await_ready(self, deadline_s: float = START_DEADLINE_S) -> None:
        await_answer(self, self.complaint, deadline_s)

    def complaint(self) -> str:
        """What /readyz misses; "" when ready."""
        try:
            code, body = self.get("/readyz")
        except OSError as error:
            return str(error)
        return "" if code == 200 else _waiting_for(code, body)

    @property
    def is_ready(self) -> bool:
        return self.is_running and not self.complaint()

    def get(self, path: str, timeout_s: float = 2.0) -> tuple[int, str]:
        """A GET of /healthz, /readyz or /metrics. Raises OSError where nobody answers in time."""
        connection = http.client.HTTPConnection("127.0.0.1", self.health_port, timeout=timeout_s)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        except http.client.HTTPException as error:
            raise OSError(f"not HTTP: {error!r}") from error
        finally:
            connection.close()

    def metrics(self) -> dict[str, float]:
        """/metrics as one value per sample: `smtpfleet_x_total{agent="mta"}` -> 3.0."""
        _, body = self.get("/metrics")
        samples = (line.rpartition(" ") for line in body.splitlines() if line and not line.startswith("#"))
        return {name: float(value) for name, _, value in samples}


def _waiting_for(code: int, body: str) -> str:
    try:
        return ", ".join(json.loads(body)["waiting_for"])
    except (ValueError, KeyError, TypeError):
        return f"/readyz answers {code}: {body[:200]}"


def environment(root: Path) -> dict[str, str]:
    """Our own environment without any SMTPFLEET_*: what is set for us is not meant for a role, and a role refuses what it does not know."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SMTPFLEET_")}
    return clean | {ROOT_MARK: str(root)}
