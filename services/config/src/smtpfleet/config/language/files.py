"""The files a configuration is read from: where a path leads, what is there, and what has been read so far.

Owns every access to the file system during a compilation, so that the watcher knows exactly which files, in which state, the result
stands for. A file that cannot be read is a value (Unreadable). Decides nothing about content.
"""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from smtpfleet.config.language.kept import KeptFiles
from smtpfleet.config.language.source import SourceText
from smtpfleet.config.language.stamp import Stamp, current_stamp, stamp_of
from smtpfleet.runtime.root_folder import RootFolder

FILE_LIMIT_BYTES = 64 * 1024 * 1024
"""Of one file: some two million entries of a table. Chosen: what config and smtp-in can still hold with ease."""


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


@dataclass(frozen=True, slots=True)
class _Read:
    """A file as it was read. stamp: taken when it was opened, before its content."""

    path: Path
    stamp: Stamp
    data: bytes


class ConfigFiles:
    """Reads the files of one compilation.

    Of a file that several statements name, the first stamp counts for the watcher: changed in between, it is a change.

    With a root, absolute paths lead below it and relative ones start there, and nothing but the main file, which the operator names, is
    read from outside (runtime/root_folder.py); without, relative ones start where the main file is.
    """

    def __init__(self, main: Path, root: str = "", kept: KeptFiles | None = None) -> None:
        self.main = main
        self._kept = kept or KeptFiles()
        self._last_read: _Read | None = None
        self._root = RootFolder(root)
        self._has_root = bool(root)
        self.stamps: dict[Path, Stamp | None] = {}
        self._read_count = 0

    def resolve(self, path: str) -> Path:
        """Where `path`, as written in the configuration, stands. Whoever opens it asks `follow`."""
        if self._has_root:
            return self._root.place(path)
        return Path(path) if path.startswith("/") else self.main.parent / path

    def follow(self, path: Path) -> Path:
        """The file that `path`, a resolved one, means now: links may be changed at any time."""
        return path if path == self.main else self._root.follow(path)

    def find(self, path: str) -> Path:
        """Both at once, for who opens it without us."""
        return self.follow(self.resolve(path))

    def current_stamp(self, path: Path) -> Stamp | None:
        """The stamp of what a resolved path means now, None where nothing can be seen."""
        return current_stamp(self.follow(path))

    def look(self, path: Path) -> Unreadable | None:
        """Whether a regular file is there, which is not read here; remembers its stamp, also that it is not there."""
        found = self._look(path)
        return found if isinstance(found, Unreadable) else None

    def watch(self, path: Path) -> None:
        """Remembers the stamp of a file that another program reads, also that it is not there. What is no file is left alone."""
        found = self.follow(path)
        if found.is_file() or not found.exists():
            self._look(path)

    def _look(self, path: Path) -> Stamp | Unreadable:
        try:
            status = self.follow(path).stat()
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            self.stamps.setdefault(path, None)
            return _unreadable(error)
        if not stat.S_ISREG(status.st_mode):
            self.stamps.setdefault(path, None)
            return Unreadable("not a regular file")
        stamp = stamp_of(status)
        self.stamps.setdefault(path, stamp)
        return stamp

    def read(self, path: Path) -> ReadFile | Unreadable:
        """The text of a regular file; remembers its stamp, also that it is not there."""
        data = self.read_bytes(path)
        if isinstance(data, Unreadable):
            return data
        self._read_count += 1
        return _decode(str(path), data, self._read_count)

    def source_of(self, path: Path, text: str) -> SourceText:
        """A text that was kept, as if it had been read now."""
        self._read_count += 1
        return SourceText(str(path), text, self._read_count)

    def kept(self, path: Path, form: str) -> object:
        """What an earlier compilation made of the file where it is the same since, else None; remembers its stamp as read does."""
        stamp = self._look(path)
        if isinstance(stamp, Unreadable):
            return None
        if (value := self._kept.by_stamp(path, form, stamp)) is not None:
            return value
        got = self._read(path)
        return None if isinstance(got, Unreadable) else self._kept.by_content(path, form, got.stamp, got.data)

    def keep(self, path: Path, form: str, value: object) -> None:
        """Keeps what was made of the file that was read last, for the next compilation."""
        assert self._last_read is not None and self._last_read.path == path, "it was read"
        self._kept.keep(path, form, self._last_read.stamp, self._last_read.data, value)

    def read_bytes(self, path: Path) -> bytes | Unreadable:
        """The content of a regular file that is no text; remembers its stamp as read does."""
        got = self._read(path)
        return got if isinstance(got, Unreadable) else got.data

    def _read(self, path: Path) -> _Read | Unreadable:
        if self._last_read is not None and self._last_read.path == path:
            return self._last_read  # the content that was compared, and not another that is there by now
        # Asked before opening: opening a FIFO would wait for a writer.
        found = self._look(path)
        if isinstance(found, Unreadable):
            return found
        try:
            with self.follow(path).open("rb") as file:
                stamp = stamp_of(os.fstat(file.fileno()))
                data = file.read(FILE_LIMIT_BYTES + 1)
        except OSError as error:
            self.stamps[path] = None  # rights are no part of a stamp: it is tried again until it can be read
            return _unreadable(error)
        if len(data) > FILE_LIMIT_BYTES:
            return Unreadable(f"larger than {FILE_LIMIT_BYTES} bytes")
        self._last_read = _Read(path, stamp, data)
        return self._last_read


def _unreadable(error: OSError | ValueError) -> Unreadable:
    return Unreadable((error.strerror if isinstance(error, OSError) else str(error)) or type(error).__name__)


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
