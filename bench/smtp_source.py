"""The throughput once more with Postfix's smtp-source, a client that nobody here wrote.

It marks nothing, so arrivals are counted: from its start to the time of the last arrival. It cannot begin a new session after a number of
messages, so smtpfleet, which like OpenSMTPD takes 100 per session, is driven with a connection per message only.
"""

import shutil
import statistics
import subprocess
import time
from collections import defaultdict
from dataclasses import dataclass, field

from bench import maildir
from bench.cell import DRAIN_S, Receiver
from bench.processes import Sink
from bench.report import number, table
from bench.systems import Case, System

PROBE = 400
"""Messages of the first, uncounted run that tells how many fill the wanted seconds."""
CASES = tuple(Case(is_local, 4096, is_per_message) for is_per_message in (False, True) for is_local in (True, False))


@dataclass(slots=True)
class Rounds:
    """accepted/s and delivered/s of every round, by case and system."""

    rates: dict[Case, dict[str, list[tuple[float, float]]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )

    def markdown(self) -> str:
        """A section of the report; empty where smtp-source is not installed."""
        rows = [
            [case.title, name, *(number(statistics.median(column)) for column in zip(*rounds, strict=True))]
            for case, systems in self.rates.items()
            for name, rounds in systems.items()
        ]
        head = ["case", "system", "accepted/s", "delivered/s"]
        return (
            f"## With Postfix's smtp-source as the client\n\nMedian of the rounds.\n\n{table(head, rows)}\n"
            if rows
            else ""
        )


def measure_round(system: System, sink: Sink, rounds: Rounds, *, seconds: float, sessions: int) -> None:
    """All cases once; nothing where smtp-source is not on PATH."""
    if shutil.which("smtp-source") is None:
        return
    for case in CASES:
        if system.why_not(case) or (system.messages_per_connection() and not case.is_per_message):
            continue
        rate, _ = _measure(system, case, sink, PROBE, sessions)
        rounds.rates[case][system.name].append(_measure(system, case, sink, max(int(rate * seconds), PROBE), sessions))


def _measure(system: System, case: Case, sink: Sink, count: int, sessions: int) -> tuple[float, float]:
    receiver = Receiver(case, system.maildir, sink)
    receiver.reset()
    host, port = system.address
    argv = ["smtp-source", "-s", str(sessions), "-l", str(case.size_bytes), "-m", str(count), "-f", "load@bench.test"]
    argv += [] if case.is_per_message else ["-d"]
    started = time.time()
    subprocess.run([*argv, "-t", case.rcpt, f"{host}:{port}"], check=True, timeout=120)
    accept_s = time.time() - started
    if not receiver.await_count(count, DRAIN_S):
        raise RuntimeError(f"{system.name}, {case.title}: {receiver.count()} of {count} arrived")
    last_ns = maildir.arrival_span_ns(system.maildir)[1] if case.is_local else max(a.at_ns for a in sink.arrivals())
    receiver.reset()
    return count / accept_s, count / (last_ns / 1e9 - started)
