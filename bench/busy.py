"""`python -m bench.busy`: many sessions that all send, on one replica of smtp-in: memory per session, accept latency, and idle ones beside.

Each of the sessions sends its next 4 KiB message when the last was accepted (closed loop), then the same number of them share a steady rate
(open loop, where waiting counts). Resident memory is smtp-in's, the highest seen. The part "busy sessions" of bench/RESULTS.md.
"""

import argparse
import sys
import tempfile
import threading
from pathlib import Path

from bench import document, idle, machine
from bench.cell import Figures, measure
from bench.processes import Sink
from bench.run import allow_many_files
from bench.systems import SINK_PORT, Case, Smtpfleet

SAMPLE_S = 0.1
STEADY_RATE = 200.0
"""As bench.run's: below half of what the fleet delivers here."""
SIZE_BYTES = 4096


class PeakMemory:
    """The most resident memory of smtp-in while the block runs, in bytes above what it had before."""

    def __init__(self, system: Smtpfleet) -> None:
        self._replicas = system.fleet.roles["smtp-in"]
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self.bytes = 0

    def _now(self) -> int:
        return sum(replica.rss_bytes() for replica in self._replicas)

    def __enter__(self) -> "PeakMemory":
        self._before = self._now()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._is_over.wait(SAMPLE_S):
            self.bytes = max(self.bytes, self._now() - self._before)


def loaded(system: Smtpfleet, sink: Sink, folder: Path, *, sessions: int, seconds: float, rate: float) -> list[str]:
    """A row of the report: one load on a fresh smtp-in."""
    for replica in system.fleet.roles["smtp-in"]:
        replica.stop()
        replica.start()
    case = Case(True, SIZE_BYTES, False, rate)
    with PeakMemory(system) as peak:
        figures: Figures = measure(system, case, sink, folder, seconds=seconds, sessions=sessions)
    pace = f"{rate:.0f}/s" if rate else "as fast as it goes"
    missing = figures.accepted - figures.delivered
    return [
        f"{sessions:,}, {pace}", f"{figures.accepted_per_s:,.0f}", f"{figures.accept_ms.p50:,.0f}", f"{figures.accept_ms.p99:,.0f}",
        f"{peak.bytes / sessions:,.0f}", f"{figures.cpu_ms['smtp-in']:.3f}", str(figures.refused), str(missing),
    ]  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.busy")
    parser.add_argument("--sessions", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--idle-sessions", type=int, default=10_000)
    given = parser.parse_args()
    allow_many_files()
    with tempfile.TemporaryDirectory(prefix="smtpfleet-bench-") as name:
        folder = Path(name)
        system = Smtpfleet(folder, {})
        system.start()
        try:
            with Sink(folder, SINK_PORT) as sink:
                rows = [
                    loaded(system, sink, folder, sessions=sessions, seconds=given.seconds, rate=rate)
                    for sessions, rate in ((20, 0.0), (given.sessions, 0.0), (given.sessions, STEADY_RATE))
                ]
            idle_text = idle.measure(system, given.idle_sessions)
        finally:
            system.stop()
        head = machine.describe([system.version()])
    command = document.command_line("bench.busy", sys.argv[1:])
    titles = "| sessions | accepted/s | accept p50 ms | p99 ms | bytes per session, peak | smtp-in CPU-ms per message | refused | missing |"
    table = "\n".join([titles, "|---" * 8 + "|", *("| " + " | ".join(row) + " |" for row in rows)])
    text = f"# Many sessions on one smtp-in\n\nWritten by `{command}`.\n\n{head}\n{table}\n\n{idle_text}"
    document.replace_part("busy sessions", text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
