"""bench/RESULTS.md as parts that different programs write: each replaces its own and leaves the others as they were."""

import re
import shlex
from pathlib import Path

from bench.processes import ROOT

RESULTS = ROOT / "bench" / "RESULTS.md"
PARTS = ("matrix", "before and after", "busy sessions", "deep queue", "large tables", "handshakes", "profile", "notes")
"""In the order in which they stand. `notes` is written by hand: what is left to do and why."""
_MARK = re.compile(r"^<!-- part: ([a-z ]+) -->\n", re.MULTILINE)


def replace_part(name: str, text: str, path: Path = RESULTS) -> None:
    """Write `text` as part `name`."""
    assert name in PARTS
    parts: dict[str, str] = {}
    if path.exists():
        pieces = _MARK.split(path.read_text())
        parts = dict(zip(pieces[1::2], pieces[2::2], strict=True))
    parts[name] = text.strip() + "\n\n"
    path.write_text("".join(f"<!-- part: {part} -->\n{parts[part]}" for part in PARTS if part in parts).rstrip() + "\n")


def command_line(module: str, arguments: list[str]) -> str:
    """How a report was made, without where it was written to: that is the reader's machine, not ours."""
    kept = list(arguments)
    if "--out" in kept:
        at = kept.index("--out")
        del kept[at : at + 2]
    return shlex.join(["python", "-m", module, *kept])
