"""What the terminal shows of a running fleet: the new lines of all log files, shortened, with the role in front.

Reads the files the processes write; a terminal that is slow or gone never stops mail. Called by up.py.
"""

import re
import sys
from collections.abc import Iterable
from pathlib import Path

from smtpfleet.local.child import Child

_LINE = re.compile(r"(?:\d{4}-\d\d-\d\dT)(\d\d:\d\d:\d\d\.\d{3})Z [\w-]+ (.*)")
_COLOURS = (36, 32, 33, 35, 34, 96, 92, 95, 94)
"""ANSI foreground colours that are readable on light and dark."""
_NAME_WIDTH = 11


class Console:
    """Follows the logs of some processes from where they end now."""

    def __init__(self, children: Iterable[Child]) -> None:
        self._children = list(children)
        self._offsets: dict[Path, int] = {}
        self._is_coloured = sys.stdout.isatty()
        for child in self._children:
            self._offsets[child.log_path] = child.log_path.stat().st_size if child.log_path.exists() else 0

    def show_new(self) -> None:
        """Print what has been written since the last call."""
        shown: list[tuple[str, str]] = []
        for number, child in enumerate(self._children):
            stamp = ""
            for line in self._new_lines(child.log_path):
                found = _LINE.match(line)
                # a line without a time (a traceback) stays behind the one before it
                stamp = found.group(1) if found else stamp
                shown.append((stamp, self._shown(child.name, number, line)))
        for _, text in sorted(shown, key=lambda pair: pair[0]):
            sys.stdout.write(text)
        sys.stdout.flush()

    def _new_lines(self, path: Path) -> list[str]:
        try:
            with path.open("rb") as log:
                log.seek(self._offsets[path])
                data = log.read()
        except FileNotFoundError:
            return []
        whole = data.rpartition(b"\n")[0]  # the rest of a line comes with the next look
        self._offsets[path] += len(whole) + 1 if whole else 0
        return whole.decode(errors="replace").splitlines()

    def _shown(self, name: str, number: int, line: str) -> str:
        found = _LINE.match(line)
        time, text = found.groups() if found else (" " * 12, line)
        label = f"{name:<{_NAME_WIDTH}}"
        if self._is_coloured:
            label = f"\033[{_COLOURS[number % len(_COLOURS)]}m{label}\033[0m"
            if text.startswith(("warn:", "error:")):
                text = f"\033[31m{text}\033[0m"
        return f"{time} {label} {text}\n"
