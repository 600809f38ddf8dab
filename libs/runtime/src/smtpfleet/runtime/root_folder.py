"""The folder that stands for / in the paths of smtpd.conf (SMTPFLEET_CONFIG_ROOT), and that no path leads out of.

As chroot has it: `..` at the top stays at the top, and links are followed as if the folder were /. What lies in the folder may come from
another host, or from somebody who may write there and not read everywhere. Opens nothing. Used by config and by tls_files.
"""

import os
from pathlib import Path

LINKS_MAX = 40
"""Links on one way; Linux gives up after as many (MAXSYMLINKS)."""


class RootFolder:
    """folder: "" for the real /, below which every path is what it is."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder) if folder else None

    def place(self, path: str) -> Path:
        """Where a path as it is written stands: below the folder, without `.` and `..`; its links are not followed yet."""
        return Path(path) if self._folder is None else self._folder.joinpath(*_plain_parts(path))

    def place_once(self, path: str) -> Path:
        """The same for a path that may have been placed before, below a folder of the same name."""
        if self._folder is not None and Path(path).is_relative_to(self._folder):
            path = str(Path(path).relative_to(self._folder))
        return self.place(path)

    def follow(self, path: Path) -> Path:
        """Where a path below the folder leads, with every link followed, in its end too. What is not there is left as it is.

        A way of too many links leads to the folder itself, which is no file. A path from elsewhere is left alone.
        """
        if self._folder is None or not path.is_relative_to(self._folder):
            return path
        at, ahead, link_count = self._folder, [*reversed(path.relative_to(self._folder).parts)], 0
        while ahead:
            part = ahead.pop()
            if part == "..":
                at = at if at == self._folder else at.parent
                continue
            target = _target_of(at / part)
            if not target:
                at /= part
                continue
            link_count += 1
            if link_count > LINKS_MAX:
                return self._folder
            at = self._folder if target.startswith("/") else at
            ahead += [each for each in reversed(target.split("/")) if each not in ("", ".")]
        return at


def _plain_parts(path: str) -> list[str]:
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part not in ("", "."):
            parts.append(part)
    return parts


def _target_of(path: Path) -> str:
    """What a link says, "" for what is none or cannot be seen."""
    try:
        return os.readlink(path)  # noqa: PTH115  the text itself: a Path would drop what is behind a last slash
    except (OSError, ValueError):
        return ""
