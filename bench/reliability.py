"""docs/reliability.md from the outcomes of a chaos run: one row per fault, in the order of DESIGN section 5. No measuring here."""

from typing import TYPE_CHECKING

from bench import machine
from bench.document import command_line
from bench.processes import ROOT
from bench.report import table

if TYPE_CHECKING:
    from bench.chaos import Outcome

DOCUMENT = ROOT / "docs" / "reliability.md"

ELSEWHERE = (
    (
        "one envelope unreadable",
        "quarantined, the rest of its message unaffected",
        "not under load: tests/unit/queue, tests/path",
    ),
    (
        "clock jumps",
        "due times are compared with the store's clock only",
        "by construction: no role compares due times with its own clock",
    ),
)

HEAD = """\
# What happens when things break

Written by `{command}`; every row was measured in that run. The kill points inside commit, claim, delivery, result and bounce are tested
one by one in `tests/failure`.

{machine}
Load: {rate:.0f} messages a second by the clock, 4 KiB, local and relayed in turn, from a client that retries as an MTA does (a 4xx or a
broken connection is sent again after a second as a new message). Two replicas of queue, scheduler, mta and mda, one of the others;
whatever ends is started again half a second later. Leases last 10 s (the default). Redis runs with `appendfsync always`.

- **acknowledged**: messages answered 250. **lost**: acknowledged, not delivered, and not in the queue any more. Must be 0.
- **late**: acknowledged, not delivered a minute after the end of the load, but safe in the queue with a due time.
- **twice**: delivered twice by the fleet under one acknowledgement. **counted**: `smtpfleet_possible_duplicates_total`, the envelopes
  taken back from workers that stopped renewing (any of them may have been delivered before; most were not).
- **inherent**: delivered, though the client got no 250 for it, because the connection ended after its final dot (*cut*) or it heard 451
  to the dot (*451*); it sent the message again, as SMTP demands.
- **normal after**: seconds from the fault until no message was late by more than a second any more. **fault**: how long the fault lasted.
"""


def line(outcome: "Outcome") -> str:
    """One line for the terminal."""
    t = outcome.tally
    if t is None:
        return f"{outcome.fault.name}: {outcome.failure}"
    return (
        f"{outcome.fault.name}: acknowledged {t.acknowledged} delivered {t.delivered} lost {outcome.lost} late {outcome.still_queued} "
        f"twice {t.twice} inherent cut {t.unknown} 451 {t.refused} refusals {t.refusals} given up {t.given_up} slowed {t.slowed} "
        f"normal after {outcome.normal_after_s:.1f} s (fault {outcome.fault_s:.1f} s) counters {outcome.counters} {outcome.failure}"
    )


def _row(outcome: "Outcome") -> list[str]:
    t = outcome.tally
    if t is None:
        return [outcome.fault.row, outcome.fault.name, *["–"] * 8, outcome.failure]
    refusals = ", ".join(f"{count} × {what}" for what, count in sorted(t.refusals.items())) or "none"
    return [
        outcome.fault.row,
        outcome.fault.name,
        f"{t.acknowledged:,}",
        f"{t.delivered:,}",
        f"**{outcome.lost}**",
        str(outcome.still_queued),
        f"{t.twice} (counted {outcome.counters.get('possible_duplicates', 0):.0f})",
        f"{t.unknown} cut, {t.refused} 451",
        refusals,
        f"{outcome.normal_after_s:.1f} s (fault {outcome.fault_s:.1f} s)",
        outcome.failure or outcome.fault.expected,
    ]


def document(outcomes: list["Outcome"], rate: float, shown_arguments: list[str]) -> str:
    """The whole page."""
    head = [
        "event",
        "fault",
        "acknowledged",
        "delivered",
        "lost",
        "late",
        "twice",
        "inherent",
        "the client saw",
        "normal after",
        "why",
    ]
    rows = [_row(outcome) for outcome in outcomes]
    rows += [[event, where, *["–"] * 8, promise] for event, promise, where in ELSEWHERE]
    command = command_line("bench.chaos", shown_arguments)
    return HEAD.format(command=command, machine=machine.describe([]), rate=rate) + "\n" + table(head, rows)
