"""`python -m bench.before REVISION`: an earlier revision and this one in turns, in one run: accepted/s and smtp-in's CPU per message.

The revision is checked out beside, with an environment of its own made by its own Makefile; pairs alternate, so that a slow minute of the
machine meets both. The part "before and after" of bench/RESULTS.md.
"""

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from bench import document, machine
from bench.processes import ROOT

CASES = ("local, 4 KiB, open connections", "local, 4 KiB, a connection per message")
PAUSE_S = 20.0
"""Before each turn: ext4 steps around the inodes that the turn before has deleted, and mda pays for it. Chosen."""
_LINE = re.compile(r"smtpfleet +(.+?) +accepted +(\d+)/s delivered +(\d+)/s +([\d.]+) CPU-ms")


@dataclass(frozen=True, slots=True)
class Turn:
    """One case on one tree. CPU-ms per delivered message."""

    accepted_per_s: float
    delivered_per_s: float
    cpu_ms: float
    smtp_in_ms: float


def measure(tree: Path, case: str, seconds: float, out: Path) -> Turn:
    """One round of `case` by the tree's own harness. Raises CalledProcessError."""
    command = [
        str(tree / ".venv/bin/python"), "-m", "bench.run", "--systems", "smtpfleet", "--only", case,
        "--rounds", "1", "--seconds", str(seconds), "--idle-sessions", "0", "--out", str(out),
    ]  # fmt: skip
    time.sleep(PAUSE_S)
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=True, env={"PATH": "/usr/bin:/bin", "PEERS_LAB_SCRIPT": "/nonexistent"})  # fmt: skip
    found = next(match for match in map(_LINE.search, done.stdout.splitlines()) if match and match[1].startswith(case))
    by_role = next(
        line for line in out.read_text().split("CPU by role")[1].splitlines() if line.startswith(f"| {case}")
    )
    return Turn(float(found[2]), float(found[3]), float(found[4]), float(by_role.split("|")[2]))


def ratio(old: list[Turn], new: list[Turn], field: str) -> str:
    """Median of new by old within the pairs, lowest and highest."""
    ratios = sorted(getattr(b, field) / getattr(a, field) for a, b in zip(old, new, strict=True))
    return f"{statistics.median(ratios):.2f} ({ratios[0]:.2f}–{ratios[-1]:.2f})"


def row(case: str, old: list[Turn], new: list[Turn]) -> str:
    def both(field: str, digits: int) -> str:
        return " → ".join(
            f"{statistics.median(getattr(turn, field) for turn in turns):,.{digits}f}" for turns in (old, new)
        )

    cells = [case]
    for field, digits in (("accepted_per_s", 0), ("delivered_per_s", 0), ("cpu_ms", 2), ("smtp_in_ms", 3)):
        cells += [both(field, digits), ratio(old, new, field)]
    return "| " + " | ".join(cells) + " |"


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.before")
    parser.add_argument("revision")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    given = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory(prefix="smtpfleet-before-") as name:
        tree, out = Path(name) / "tree", Path(name) / "out.md"
        subprocess.run(["git", "worktree", "add", "--detach", str(tree), given.revision], cwd=ROOT, check=True, capture_output=True)  # fmt: skip
        try:
            subprocess.run(["make", "setup"], cwd=tree, check=True, capture_output=True)
            for case in CASES:
                old: list[Turn] = []
                new: list[Turn] = []
                for number in range(given.pairs):
                    # whoever goes first finds the disk as the other left it: they take turns in that, too
                    for turns, where in ((old, tree), (new, ROOT))[:: -1 if number % 2 else 1]:
                        turns.append(measure(where, case, given.seconds, out))
                    print(f"{case}: {old[-1]} {new[-1]}", flush=True)
                rows.append(row(case, old, new))
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", str(tree)], cwd=ROOT, check=True)
    titles = "| case | accepted/s | ratio | delivered/s | ratio | CPU-ms, all roles | ratio | CPU-ms, smtp-in | ratio |"
    text = (
        f"# Before and after\n\nWritten by `{document.command_line('bench.before', sys.argv[1:])}`: medians of {given.pairs} alternating pairs; a ratio is "
        f"the median of the pairs' own, lowest and highest.\n\n{machine.describe([])}\n{titles}\n{'|---' * 9}|\n"
        + "\n".join(rows)
    )
    document.replace_part("before and after", text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
