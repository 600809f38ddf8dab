"""Turns measurements into the Markdown of bench/RESULTS.md. No measuring here."""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from bench.cell import Figures
from bench.systems import Case

REFERENCE = "Postfix"
SHOWN_ROLES = ("smtp-in", "queue", "scheduler", "mta", "mda", "nats", "redis")


@dataclass(slots=True)
class Results:
    """All rounds of everything: figures by case and system, reasons for what was not measured, and the text around them."""

    rounds: dict[Case, dict[str, list[Figures]]] = field(default_factory=dict)
    skipped: dict[tuple[str, str], str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, case: Case, system: str, figures: Figures) -> None:
        self.rounds.setdefault(case, {}).setdefault(system, []).append(figures)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def median_of(rounds: list[Figures]) -> Figures:
    """The round whose delivered/s is the median; of two, the slower. Its other figures belong together."""
    ordered = sorted(rounds, key=lambda figures: figures.delivered_per_s)
    return ordered[(len(ordered) - 1) // 2]


def number(value: float, digits: int = 0) -> str:
    return "–" if math.isnan(value) else f"{value:,.{digits}f}"


def _spread(rounds: list[Figures]) -> str:
    rates = [figures.delivered_per_s for figures in rounds]
    return f"{number(min(rates))}–{number(max(rates))}"


def _ratio(rounds: dict[str, list[Figures]], system: str) -> str:
    """Our median against the reference's. The lowest and the highest of the same round's ratios stand behind it."""
    if REFERENCE not in rounds or system == REFERENCE:
        return "–"
    pairs = list(zip(rounds[system], rounds[REFERENCE], strict=False))
    ratios = [ours.delivered_per_s / theirs.delivered_per_s for ours, theirs in pairs]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})"


def _cpu_ratio(rounds: dict[str, list[Figures]], system: str) -> str:
    if REFERENCE not in rounds or system == REFERENCE:
        return "–"
    ours = statistics.median(figures.cpu_ms_total for figures in rounds[system])
    theirs = statistics.median(figures.cpu_ms_total for figures in rounds[REFERENCE])
    return f"{ours / theirs:.2f}"


def throughput(results: Results) -> str:
    """A table per case that ran as fast as it went."""
    parts = []
    head = ["system", "accepted/s", "delivered/s", "rounds", "÷ Postfix", "CPU-ms/msg", "CPU ÷ Postfix"]
    head += ["accept p50/p99 ms", "accept-to-delivery p50/p99 ms"]
    for case, systems in results.rounds.items():
        if case.rate:
            continue
        rows = []
        for name, rounds in systems.items():
            m = median_of(rounds)
            rows.append(
                [
                    name,
                    number(m.accepted_per_s),
                    f"**{number(m.delivered_per_s)}**",
                    _spread(rounds),
                    _ratio(systems, name),
                    number(m.cpu_ms_total, 2),
                    _cpu_ratio(systems, name),
                    f"{number(m.accept_ms.p50, 1)} / {number(m.accept_ms.p99, 1)}",
                    f"{number(m.delivery_ms.p50, 1)} / {number(m.delivery_ms.p99, 1)}",
                ]
            )
        rows += [
            [name, *["–"] * (len(head) - 2), f"not measured: {why}"]
            for (title, name), why in results.skipped.items()
            if title == case.title
        ]
        parts.append(f"### {case.title}\n\n{table(head, rows)}")
    return "\n".join(parts)


def latency(results: Results) -> str:
    """One table of all cases that ran at a fixed rate."""
    rows = []
    for case, systems in results.rounds.items():
        if not case.rate:
            continue
        for name, rounds in systems.items():
            m = median_of(rounds)
            rows.append(
                [
                    case.title,
                    name,
                    number(m.delivered_per_s),
                    f"{number(m.accept_ms.p50, 1)} / {number(m.accept_ms.p99, 1)}",
                    f"{number(m.delivery_ms.p50, 1)} / {number(m.delivery_ms.p99, 1)}",
                    number(m.cpu_ms_total, 2),
                ]
            )
    head = ["case", "system", "delivered/s", "accept p50/p99 ms", "accept-to-delivery p50/p99 ms", "CPU-ms/msg"]
    return table(head, rows)


def cpu_by_role(results: Results, system: str = "smtpfleet") -> str:
    """Where our CPU goes, per delivered message; the median round of each case."""
    rows = []
    for case, systems in results.rounds.items():
        if system in systems:
            m = median_of(systems[system])
            rest = sum(spent for role, spent in m.cpu_ms.items() if role not in SHOWN_ROLES)
            roles = [number(m.cpu_ms.get(role, 0.0), 3) for role in SHOWN_ROLES]
            rows.append([case.title, *roles, number(rest, 3), number(m.cpu_ms_total, 2), number(m.load_cpu_ms, 3)])
    return table(["case", *SHOWN_ROLES, "config, admin", "all", "load generator"], rows)


def losses(results: Results) -> str:
    """Whether everything accepted arrived; one line."""
    missing = [
        f"{name}: {figures.accepted - figures.delivered} of {figures.accepted} ({case.title})"
        for case, systems in results.rounds.items()
        for name, rounds in systems.items()
        for figures in rounds
        if figures.accepted != figures.delivered
    ]
    return (
        "Not delivered within the time allowed: " + "; ".join(missing)
        if missing
        else "Every message accepted in any round was delivered."
    )
