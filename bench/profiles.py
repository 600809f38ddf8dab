"""`python -m bench.profiles`: where each role's time goes, from py-spy samples taken under load.

py-spy looks at the processes from outside, a hundred times a second, and counts only threads that run; nothing is built into the roles.
It needs py-spy (requirements/dev.txt) and, on most machines, root. cProfile is the other way, for one function at a time.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path

from bench import document, machine, maildir
from bench.cell import load_options
from bench.processes import Loader, Sink
from bench.report import table
from bench.run import say
from bench.systems import SINK_PORT, Case, Smtpfleet

ROLES = ("smtp-in", "queue", "scheduler", "mta", "mda")
SHOWN = 12
WARM_UP_S = 1.5
_OURS = "smtpfleet/"


@dataclass(slots=True)
class Profile:
    """Samples of one process. own: by the function that ran. below: by our functions, and what they called."""

    total: int = 0
    own: Counter[str] = field(default_factory=Counter)
    below: Counter[str] = field(default_factory=Counter)


def parse_raw(text: str) -> Profile:
    """`frame;frame;… count` per line, outermost first, as `py-spy record -f raw` writes it."""
    profile = Profile()
    for line in text.splitlines():
        stack, _, count_text = line.rpartition(" ")
        if not stack or not count_text.isdigit():
            continue
        count = int(count_text)
        frames = [_short(frame) for frame in stack.split(";")]
        profile.total += count
        profile.own[frames[-1]] += count
        for frame in {frame for frame in frames if frame.startswith(_OURS)}:
            profile.below[frame] += count
    return profile


def _short(frame: str) -> str:
    """`handle (/…/smtpfleet/queue/handlers.py:12)` as `smtpfleet/queue/handlers.py handle`; of a library, package and file."""
    name, _, place = frame.partition(" (")
    path = place.rstrip(")").partition(":")[0]
    if name == "Runner.run":
        return "uvloop, and the system calls it makes"
    for root in ("/src/smtpfleet/", "/site-packages/", "/lib/python3.11/"):
        _, found, tail = path.rpartition(root)
        if found:
            return f"{_OURS if 'smtpfleet' in root else ''}{tail} {name}"
    if path.startswith("smtpfleet/"):
        return f"{path} {name}"
    return f"{path} {name}".strip()


def find_py_spy() -> str | None:
    """Beside our interpreter, or on PATH."""
    beside = Path(sys.executable).with_name("py-spy")
    return str(beside) if beside.exists() else shutil.which("py-spy")


def record(py_spy: str, pids: dict[str, int], folder: Path, seconds: int) -> dict[str, Profile]:
    """Sample all processes at once."""
    running = {}
    for role, pid in pids.items():
        argv = [
            py_spy,
            "record",
            "--duration",
            str(seconds),
            "--format",
            "raw",
            "--full-filenames",
            "--output",
            str(folder / role),
            "--pid",
            str(pid),
        ]
        running[role] = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    profiles = {}
    for role, process in running.items():
        _, complaint = process.communicate(timeout=seconds + 60)
        if process.returncode:
            raise RuntimeError(f"py-spy on {role}: {complaint.strip()[-300:]}")
        profiles[role] = parse_raw((folder / role).read_text())
    return profiles


def markdown(case: Case, profiles: dict[str, Profile]) -> str:
    """A table per role."""
    parts = [f"### {case.title}\n"]
    for role, profile in profiles.items():
        if profile.total < 20:
            parts.append(f"**{role}**: idle in this case.\n")
            continue
        own, below = (counter.most_common(SHOWN) for counter in (profile.own, profile.below))
        rows = [
            [*_cells(of_own, profile.total), *_cells(of_below, profile.total)]
            for of_own, of_below in zip_longest(own, below, fillvalue=("", 0))
        ]
        parts.append(
            f"**{role}**, {profile.total} samples\n\n{table(['own', 'function', 'with callees', 'of ours'], rows)}"
        )
    return "\n".join(parts)


def _cells(counted: tuple[str, int], total: int) -> tuple[str, str]:
    name, count = counted
    return (f"{count / total:.1%}", f"`{name}`") if name else ("", "")


def profile_case(system: Smtpfleet, case: Case, sink: Sink, folder: Path, py_spy: str, seconds: int) -> str:
    """Load the fleet as the bench does and sample it meanwhile."""
    options = [*load_options(case, system, 20), "--duration", str(seconds + 2 * WARM_UP_S)]
    loader = Loader(folder, system.address, [case.rcpt], options).start()
    try:
        profiles = record(py_spy, {role: system.fleet.replica(role).pid for role in ROLES}, folder, seconds)
    finally:
        loader.finish(seconds + 60.0)
    maildir.empty(system.maildir)
    sink.restart()
    return markdown(case, profiles)


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.profiles", description="where each role's time goes")
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--out", type=Path, default=document.RESULTS)
    given = parser.parse_args()
    py_spy = find_py_spy()
    if py_spy is None:
        print("bench.profiles: py-spy is not installed: pip install py-spy", file=sys.stderr)
        return 2
    sections = []
    with tempfile.TemporaryDirectory(prefix="smtpfleet-profile-") as name, Sink(Path(name), SINK_PORT) as sink:
        system = Smtpfleet(Path(name), {})
        system.start()
        try:
            for case in (Case(True, 4096, False), Case(False, 4096, False), Case(True, 4096, True)):
                say(case.title)
                sections.append(profile_case(system, case, sink, Path(name), py_spy, given.seconds))
        finally:
            system.stop()
    text = (
        f"# Where the time goes\n\nWritten by `python -m bench.profiles`. Samples of threads that run; mda's threads that wait for the "
        f"disk's flush count as running.\n\n{machine.describe([system.version()])}\n" + "\n".join(sections)
    )
    document.replace_part("profile", text, given.out)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
