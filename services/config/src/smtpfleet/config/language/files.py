"""The files a configuration is read from: where a path leads, what is there, and what has been read so far.

Owns every access to the file system during a compilation, so that the watcher knows exactly which files, in which state, the result
stands for. A file that cannot be read is a value (Unreadable). Decides nothing about content.
"""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from smtpfleet.config.language.source import SourceText

FILE_LIMIT_BYTES = 64 * 1024 * 1024
"""A larger file cannot compile to a snapshot the bus carries (compilation.SNAPSHOT_LIMIT_BYTES). Chosen, generous."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """The state of a file as far as one can tell without reading it."""

    mtime_ns: int
    size_bytes: int
    inode: int


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Why a file could not be read, for the operator."""

    reason: str


@dataclass(frozen=True, slots=True)
class BadByte:
    """The first byte of a text that cannot stand in a configuration; line and column count from 1."""

    line: int
    column: int
    reason: str


@dataclass(frozen=True, slots=True)
class ReadFile:
    """A text, and its first bad byte if there is one (replaced in the text, so that reading can go on)."""

    source: SourceText
    bad_byte: BadByte | None


class ConfigFiles:
    """Reads the files of one compilation.

    With a root, absolute paths lead below it and relative ones start there; without, relative ones start where the main file is.
    """

    def __init__(self, main: Path, root: str = "") -> None:
        self.main = main
        self._root = Path(root) if root else None
        self.stamps: dict[Path, Stamp | None] = {}
        self._read_count = 0

    def resolve(self, path: str) -> Path:
        """Where `path`, as written in the configuration, leads."""
        if self._root is not None:
            return self._root / path.lstrip("/")
        return Path(path) if path.startswith("/") else self.main.parent / path

    def look(self, path: Path) -> Unreadable | None:
        """Whether a regular file is there, which is not read here; remembers its stamp, also that it is not there."""
        self.stamps.setdefault(path, None)
        try:
            status = path.stat()
        except OSError as error:
            return Unreadable(error.strerror or type(error).__name__)
        except ValueError as error:  # a NUL in the path
            return Unreadable(str(error))
        if not stat.S_ISREG(status.st_mode):
            return Unreadable("not a regular file")
        self.stamps[path] = stamp_of(status)
        return None

    def read(self, path: Path) -> ReadFile | Unreadable:
        """The text of a regular file; remembers its stamp, also that it is not there."""
        data = self.read_bytes(path)
        if isinstance(data, Unreadable):
            return data
        self._read_count += 1
        return _decode(str(path), data, self._read_count)

    def read_bytes(self, path: Path) -> bytes | Unreadable:
        """The content of a regular file that is no text; remembers its stamp as read does."""
        self.stamps.setdefault(path, None)
        try:
            # Asked before opening: opening a FIFO would wait for a writer.
            if not stat.S_ISREG(path.stat().st_mode):
                return Unreadable("not a regular file")
            with path.open("rb") as file:
                self.stamps[path] = stamp_of(os.fstat(file.fileno()))
                data = file.read(FILE_LIMIT_BYTES + 1)
        except OSError as error:
            return Unreadable(error.strerror or type(error).__name__)
        except ValueError as error:  # a NUL in the path
            return Unreadable(str(error))
        if len(data) > FILE_LIMIT_BYTES:
            return Unreadable(f"larger than {FILE_LIMIT_BYTES} bytes")
        return data


def stamp_of(status: os.stat_result) -> Stamp:
    """The stamp in a stat result."""
    return Stamp(status.st_mtime_ns, status.st_size, status.st_ino)


def current_stamp(path: Path) -> Stamp | None:
    """The stamp of what is there now, None where nothing can be seen."""
    try:
        return stamp_of(path.stat())
    except (OSError, ValueError):
        return None


def _decode(name: str, data: bytes, order: int) -> ReadFile:
    reason = ""
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        offset = len(data[: error.start].decode())
        reason = f"byte {data[error.start]:#04x} is not UTF-8"
        text = data.decode(errors="replace")
    else:
        offset = text.find("\x00")
        if offset >= 0:
            reason = "NUL byte"
    # NUL would end a string in OpenSMTPD; here it must not reach a table key.
    source = SourceText(name, text.replace("\x00", "\ufffd"), order)
    if not reason:
        return ReadFile(source, None)
    before = text[:offset]
    return ReadFile(source, BadByte(before.count("\n") + 1, offset - (before.rfind("\n") + 1) + 1, reason))
