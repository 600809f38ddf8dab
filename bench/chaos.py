"""`make chaos`: the faults of DESIGN section 5 one by one, under load, with everything counted; writes docs/reliability.md.

A fleet with two of every role that holds work gets 300 messages a second by the clock, local and relayed in turn, from a client that
retries as an MTA does. For each fault: what was acknowledged, delivered, lost, delivered twice and why, and how long until no message
was late any more. Exit status 1 where anything was lost or a fault did not run.
"""

import argparse
import json
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import maildir, reliability
from bench.account import Tally, tally
from bench.faults import FAULTS, Fault, Ground, may_mount, mount_small_disk, unmount
from bench.keeper import Keeper
from bench.mark import Arrival
from bench.processes import Loader, Sink
from bench.systems import LOCAL_RCPT, RELAY_RCPT, conf_for
from smtpfleet.local.child import ChildDied
from smtpfleet.local.fleet import Fleet

CALM_S = 4.0
"""Load before the fault and after it."""
SETTLE_S = 60.0
"""How long the client goes on retrying, and how long we wait for the last delivery after it."""
SESSIONS = 40
SIZE_BYTES = 4096
LEASE_S = 10.0
"""The scheduler's default (SMTPFLEET_LEASE_MS)."""
REPLICAS = {"queue": 2, "scheduler": 2, "mta": 2, "mda": 2}
COUNTERS = ("possible_duplicates", "mta_unanswered_dots", "outcomes_refused", "queue_results_refused")


@dataclass(slots=True)
class Outcome:
    """What one fault did. still_queued: acknowledged, not arrived, but the queue has it: late, not lost. failure: why it did not run."""

    fault: Fault
    tally: Tally | None = None
    lost: int = 0
    still_queued: int = 0
    normal_after_s: float = 0.0
    fault_s: float = 0.0
    counters: dict[str, float] = field(default_factory=dict)
    failure: str = ""


class Arena:
    """A running fleet with its sink and keeper, and the messages that arrive in it."""

    def __init__(self, fleet: Fleet, keeper: Keeper, sink: Sink, folder: Path, rate: float) -> None:
        self.fleet = fleet
        self.keeper = keeper
        self._sink = sink
        self._folder = folder
        self._rate = rate
        self._new = fleet.mail / "bench" / "Maildir" / "new"

    def run(self, fault: Fault) -> Outcome:
        """Load, fault, and the account of both."""
        outcome = Outcome(fault)
        maildir.empty(self._new)
        residue = max(self._queued_count(), 0)
        before = self._counters()
        options = [
            "--rate",
            str(self._rate),
            "--duration",
            str(fault.lasts_s + 2 * CALM_S),
            "--sessions",
            str(SESSIONS),
        ]
        options += [
            "--size",
            str(SIZE_BYTES),
            "--retry-after",
            "1",
            "--settle",
            str(SETTLE_S),
            "--per-connection",
            "100",
        ]
        loader = Loader(self._folder, self.fleet.smtp_address, [LOCAL_RCPT, RELAY_RCPT], options).start()
        time.sleep(CALM_S)
        began_ns = time.time_ns()
        try:
            fault.inject(Ground(self.fleet, self.keeper, LEASE_S))
        except (OSError, TimeoutError, ChildDied) as error:
            outcome.failure = f"fault not healed: {error}"
        outcome.fault_s = (time.time_ns() - began_ns) / 1e9
        loader.finish(fault.lasts_s + SETTLE_S + 120.0)
        acknowledged = loader.summary["fates"].get("accepted", 0)
        self._await_arrivals(acknowledged, loader.run, residue)
        outcome.tally = tally(loader.attempts, self._arrivals(), loader.run, loader.summary["unanswered"])
        outcome.still_queued = sum(self._is_queued(msgid) for msgid in outcome.tally.missing)
        outcome.lost = len(outcome.tally.missing) - outcome.still_queued
        outcome.normal_after_s = max(outcome.tally.last_slow_ns - began_ns, 0) / 1e9
        outcome.counters = {name: max(value - before.get(name, 0.0), 0.0) for name, value in self._counters().items()}
        return outcome

    def _arrivals(self) -> list[Arrival]:
        return maildir.read(self._new) + self._sink.arrivals()

    def _await_arrivals(self, wanted: int, run: str, residue: int) -> None:
        """Until as many of this run arrived as were acknowledged and the queue holds no more than before, or time is up."""
        ends_at = time.monotonic() + SETTLE_S
        while time.monotonic() < ends_at:
            if self._queued_count() in range(residue + 1):
                arrived = {
                    arrival.mark for arrival in self._arrivals() if arrival.mark is not None and arrival.mark.run == run
                }
                if len(arrived) >= wanted:
                    return
            time.sleep(0.5)

    def _queued_count(self) -> int:
        """Envelopes in the queue; -1 where admin does not say."""
        answer = self._ask("/v1/queue")
        return int(answer["envelopes"]) if answer is not None and "envelopes" in answer else -1

    def _is_queued(self, msgid: str) -> bool:
        return self._ask(f"/v1/messages/{msgid}") is not None

    def _ask(self, path: str) -> dict[str, Any] | None:
        """admin's answer; None where there is none or it is 404."""
        try:
            with urllib.request.urlopen(self.fleet.admin_url + path, timeout=5) as reply:
                answer = json.load(reply)
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            return None
        return answer if isinstance(answer, dict) else None

    def _counters(self) -> dict[str, float]:
        """Sums over all replicas; a replica that was started anew begins at 0, so a difference is a lower bound."""
        sums: dict[str, float] = dict.fromkeys(COUNTERS, 0.0)
        for replica in self.fleet.replicas():
            try:
                samples = replica.metrics()
            except OSError:
                continue
            for sample, value in samples.items():
                name = sample.partition("{")[0].removeprefix("smtpfleet_").removesuffix("_total")
                if name in sums:
                    sums[name] += value
        return sums


@contextmanager
def arena(folder: Path, rate: float, *, is_small_disk: bool = False) -> Iterator[Arena]:
    """A fleet of its own with everything around it."""
    root = folder / "fleet"
    (root / "mail" / "bench").mkdir(parents=True)
    (root / "redis").mkdir()
    if is_small_disk:
        mount_small_disk(str(root / "redis"))
    try:
        with Sink(folder) as sink:
            fleet = Fleet(root, replicas=REPLICAS, config_text=conf_for(sink.port))
            with fleet, Keeper(fleet) as keeper:
                yield Arena(fleet, keeper, sink, folder, rate)
    finally:
        if is_small_disk:
            unmount(str(root / "redis"))


def run_faults(faults: list[Fault], rate: float) -> list[Outcome]:
    """Each fault once; those that need a disk of their own in a fleet of their own."""
    outcomes: list[Outcome] = []
    for is_small_disk in (False, True):
        chosen = [fault for fault in faults if fault.needs_small_disk is is_small_disk]
        if not chosen:
            continue
        if is_small_disk and not may_mount():
            outcomes += [
                Outcome(fault, failure="not run: it mounts a small disk, which needs root") for fault in chosen
            ]
            continue
        with (
            tempfile.TemporaryDirectory(prefix="smtpfleet-chaos-") as name,
            arena(Path(name), rate, is_small_disk=is_small_disk) as ground,
        ):
            for fault in chosen:
                outcome = ground.run(fault)
                print(reliability.line(outcome), flush=True)
                outcomes.append(outcome)
    return outcomes


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.chaos", description="break the fleet under load and count")
    parser.add_argument("--only", default="", help="only faults whose name contains this")
    parser.add_argument("--rate", type=float, default=300.0, help="messages per second")
    parser.add_argument("--out", type=Path, default=None, help="default: docs/reliability.md, unless --only is given")
    given = parser.parse_args()
    outcomes = run_faults([fault for fault in FAULTS if given.only in fault.name], given.rate)
    text = reliability.document(outcomes, given.rate, shown_arguments=sys.argv[1:])
    out = given.out or (None if given.only else reliability.DOCUMENT)
    if out is not None:
        out.write_text(text)
        print(f"written: {out.name}")
    return 1 if any(outcome.lost or outcome.failure.startswith("fault not healed") for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
