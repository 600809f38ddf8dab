"""A small fleet in which processes die at named points: short leases, two of queue, everything that ends is started again.

Owns fleet, sink and keeper of one test module, and the accounting of what was sent in one test. Each test sends under a run of its own,
so nothing has to be emptied between them.
"""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import maildir
from bench.account import Tally, tally
from bench.keeper import Keeper, arm, disarm
from bench.mark import HEADER
from bench.processes import Loader, Sink
from bench.systems import LOCAL_RCPT, RELAY_RCPT, conf_for
from smtpfleet.local.fleet import Fleet
from smtpfleet.local.replica import Replica
from tests.failure import methods
from tests.support.unprivileged import make_folder

LEASE_MS = 1500
REAP_MS = 200
REFUSED_RCPT = "refused@relay.test"
"""bench.sink answers 550 for it."""
DEADLINE_S = 60.0
_SETTINGS = {"scheduler": {"lease_ms": LEASE_MS, "reap_ms": REAP_MS}, "queue": {"bounce_delay_ms": 200}}


class FailureGround:
    """The fleet and what may be done with it."""

    def __init__(self, folder: Path, sink: Sink) -> None:
        self._folder = folder
        self._sink = sink
        root = folder / "fleet"
        (root / "mail" / "bench").mkdir(parents=True)
        spool = root / "spool"
        spool.mkdir()
        self._mailbox = spool / "bench"
        self._agent_home = make_folder(root / "mail" / "agent")
        settings = _SETTINGS | {"mda": {"mbox_folder": str(spool)}}
        config_text = conf_for(sink.port) + methods.rules_for(sink.port, self._agent_home)
        self.fleet = Fleet(root, replicas={"queue": 2}, settings=settings, config_text=config_text)
        self.new = self.fleet.mail / "bench" / "Maildir" / "new"

    @contextmanager
    def dying_at(self, role: str, point: str, *, is_every_replica: bool = False) -> Iterator[None]:
        """The role's first replica (or every one) is running and dies when it reaches `point` for the first time; it comes back
        without the point. Fails where it did not die there."""
        armed = self.fleet.roles[role] if is_every_replica else self.fleet.roles[role][:1]
        for replica in armed:
            replica.stop()
            arm(replica, point)
            replica.start()
        with Keeper(self.fleet) as keeper:
            yield
            for replica in armed:
                if (replica.name, -9) not in keeper.ends:
                    disarm(replica)
                    replica.stop()
            self._await_whole()
        killed = [name for name, code in keeper.ends if code == -9]
        assert killed and set(killed) <= {replica.name for replica in armed}, f"{point} was not reached: {keeper.ends}"
        self._restore(armed)

    def _restore(self, armed: list[Replica]) -> None:
        for replica in armed:
            disarm(replica)
            if not replica.is_running:
                replica.start()

    def _await_whole(self) -> None:
        """Until everything runs again and is ready."""
        for replica in self.fleet.replicas():
            ends_at = time.monotonic() + DEADLINE_S
            while not replica.is_ready:
                assert time.monotonic() < ends_at, (
                    f"{replica.name} did not come back: {replica.complaint()}\n{replica.log_tail()}"
                )
                time.sleep(0.1)

    def send(
        self, count: int, rcpt: str = LOCAL_RCPT, *, sender: str = "load@bench.test", size_bytes: int = 4096
    ) -> Loader:
        """`count` messages one after the other over one session, sent again where they were refused or cut off."""
        options = ["--count", str(count), "--sessions", "1", "--size", str(size_bytes), "--sender", sender]
        options += ["--retry-after", "0.5", "--settle", str(DEADLINE_S), "--per-connection", "100"]
        return Loader(self._folder, self.fleet.smtp_address, [rcpt], options).start().finish(DEADLINE_S + 60.0)

    def account(self, sent: Loader) -> Tally:
        """What became of what was sent, once all of it has arrived; after the deadline as far as it has."""
        ends_at = time.monotonic() + DEADLINE_S
        while True:
            found = self._tally(sent)
            if (not found.missing and self._is_queue_empty()) or time.monotonic() > ends_at:
                break
            time.sleep(0.2)
        # A duplicate comes when the lease of the dead worker has run out, after the first copy.
        time.sleep((LEASE_MS + REAP_MS) / 1000 + 1.0)
        return self._tally(sent)

    def _is_queue_empty(self) -> bool:
        """False also where nobody answers: something is being started again."""
        try:
            with urllib.request.urlopen(f"{self.fleet.admin_url}/v1/queue", timeout=5) as response:
                return bool(json.load(response)["envelopes"] == 0)
        except (urllib.error.URLError, TimeoutError):
            return False

    def _tally(self, sent: Loader) -> Tally:
        arrivals = maildir.read(self.new) + self._sink.arrivals() + methods.arrivals(self._agent_home, self._mailbox)
        return tally(sent.attempts, arrivals, sent.run, sent.summary["unanswered"])

    def bounces(self, sent: Loader, wanted: int) -> int:
        """How many bounces of what was sent have arrived, once there are `wanted` and as many more as come in a lease's time."""
        mark = HEADER + sent.run.encode()
        ends_at = time.monotonic() + DEADLINE_S
        while _count_bounces(self.new, mark) < wanted and time.monotonic() < ends_at:
            time.sleep(0.2)
        time.sleep((LEASE_MS + REAP_MS) / 1000 + 1.0)
        return _count_bounces(self.new, mark)


def _count_bounces(new: Path, mark: bytes) -> int:
    contents = [path.read_bytes() for path in new.iterdir()] if new.exists() else []
    return sum(b"multipart/report" in content and mark in content for content in contents)


@contextmanager
def failure_ground(folder: Path) -> Iterator[FailureGround]:
    """A running FailureGround."""
    with Sink(folder) as sink:
        ground = FailureGround(folder, sink)
        with ground.fleet:
            yield ground


__all__ = ["LOCAL_RCPT", "REFUSED_RCPT", "RELAY_RCPT", "FailureGround", "failure_ground"]
