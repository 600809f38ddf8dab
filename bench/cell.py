"""One measurement: a case on a system. Sends, waits until everything has arrived, and joins both ends.

Delivered/s is from the first send to the last arrival, so a system that accepts quickly and delivers slowly gains nothing. CPU is taken
before the first send and after the last arrival.
"""

import time
from dataclasses import dataclass, field
from pathlib import Path

from bench import maildir
from bench.load import Attempt
from bench.mark import Arrival
from bench.processes import Loader, Sink
from bench.systems import Case, System

DRAIN_S = 60.0
"""How long after the last accept we wait for the last delivery; chosen, far above what any of the three takes."""
POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Milliseconds."""

    p50: float
    p99: float


@dataclass(frozen=True, slots=True)
class Figures:
    """What one measurement gave. cpu_ms: per delivered message, by role."""

    accepted: int
    refused: int
    delivered: int
    accepted_per_s: float
    delivered_per_s: float
    accept_ms: Percentiles
    delivery_ms: Percentiles
    load_cpu_ms: float
    cpu_ms: dict[str, float] = field(default_factory=dict)

    @property
    def cpu_ms_total(self) -> float:
        return sum(self.cpu_ms.values())


def percentiles(values_ns: list[int]) -> Percentiles:
    """p50 and p99 of durations in nanoseconds, as milliseconds; NaN where there are none."""
    if not values_ns:
        return Percentiles(float("nan"), float("nan"))
    ordered = sorted(values_ns)
    return Percentiles(ordered[len(ordered) // 2] / 1e6, ordered[min(len(ordered) * 99 // 100, len(ordered) - 1)] / 1e6)


class Receiver:
    """The end at which a case's messages arrive: the system's Maildir or the sink."""

    def __init__(self, case: Case, new: Path, sink: Sink) -> None:
        self._new = new if case.is_local else None
        self._sink = sink

    def reset(self) -> None:
        if self._new is not None:
            maildir.empty(self._new)
        else:
            self._sink.restart()

    def count(self) -> int:
        return maildir.count(self._new) if self._new is not None else self._sink.count()

    def arrivals(self) -> list[Arrival]:
        return maildir.read(self._new) if self._new is not None else self._sink.arrivals()

    def await_count(self, wanted: int, deadline_s: float) -> bool:
        """Wait until at least `wanted` have arrived; whether they did."""
        ends_at = time.monotonic() + deadline_s
        while self.count() < wanted:
            if time.monotonic() > ends_at:
                return False
            time.sleep(POLL_S)
        return True


def load_options(case: Case, system: System, sessions: int) -> list[str]:
    per_connection = 1 if case.is_per_message else system.messages_per_connection()
    options = ["--size", str(case.size_bytes), "--sessions", str(sessions), "--per-connection", str(per_connection)]
    return [*options, "--rate", str(case.rate)] if case.rate else options


def measure(system: System, case: Case, sink: Sink, folder: Path, *, seconds: float, sessions: int) -> Figures:
    """Load the system for `seconds` and wait for the last delivery."""
    receiver = Receiver(case, system.maildir, sink)
    receiver.reset()
    options = [*load_options(case, system, sessions), "--duration", str(seconds)]
    loader = Loader(folder, system.address, [case.rcpt], options)
    before = system.cpu_s()
    loader.start().finish(seconds + 60.0)
    accepted = [attempt for attempt in loader.attempts if attempt.fate == "accepted"]
    receiver.await_count(len(accepted), DRAIN_S)
    after = system.cpu_s()
    spent = {role: after[role] - before.get(role, 0.0) for role in after}
    figures = join(accepted, loader, receiver.arrivals(), spent)
    receiver.reset()
    return figures


def join(accepted: list[Attempt], loader: Loader, arrivals: list[Arrival], spent_s: dict[str, float]) -> Figures:
    """Both ends together, by mark."""
    if not accepted:
        raise RuntimeError(f"nothing was accepted: {loader.summary}")
    arrived = {
        arrival.mark: arrival.at_ns
        for arrival in arrivals
        if arrival.mark is not None and arrival.mark.run == loader.run
    }
    first = min(attempt.began_ns for attempt in loader.attempts)
    delivered = [attempt for attempt in accepted if attempt.mark in arrived]
    accept_span_s = (max(attempt.ended_ns for attempt in accepted) - first) / 1e9
    deliver_span_s = (max((arrived[attempt.mark] for attempt in delivered), default=first) - first) / 1e9
    # The clocks behind ctime move in steps, so an arrival may seem to come before the reply.
    waits = [max(arrived[attempt.mark] - attempt.ended_ns, 0) for attempt in delivered]
    count = max(len(delivered), 1)
    return Figures(
        accepted=len(accepted),
        refused=sum(attempt.fate != "accepted" for attempt in loader.attempts),
        delivered=len(delivered),
        accepted_per_s=len(accepted) / accept_span_s,
        delivered_per_s=len(delivered) / deliver_span_s if deliver_span_s else 0.0,
        accept_ms=percentiles([attempt.ended_ns - attempt.began_ns for attempt in accepted]),
        delivery_ms=percentiles(waits),
        load_cpu_ms=float(loader.summary["cpu_ms_per_message"]),
        cpu_ms={role: seconds * 1000 / count for role, seconds in spent_s.items()},
    )
