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
from smtpfleet.config.language.stamp import Stamp, stamp_of

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


class ConfigFiles:
    """Reads the files of one compilation.

    With a root, absolute paths lead below it and relative ones start there; without, relative ones start where the main file is.
    """

    def __init__(self, main: Path, root: str = "", kept: KeptFiles | None = None) -> None:
        self.main = main
        self._kept = kept or KeptFiles()
        self._last_read: tuple[Path, bytes] | None = None
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

    def source_of(self, path: Path, text: str) -> SourceText:
        """A text that was kept, as if it had been read now."""
        self._read_count += 1
        return SourceText(str(path), text, self._read_count)

    def kept(self, path: Path, form: str) -> object:
        """What an earlier compilation made of the file where it is the same since, else None; remembers its stamp as read does."""
        if self.look(path) is not None:
            return None
        stamp = self.stamps[path]
        assert stamp is not None, "look has seen it"
        if (value := self._kept.by_stamp(path, form, stamp)) is not None:
            return value
        data = self.read_bytes(path)
        stamp = self.stamps[path]
        if isinstance(data, Unreadable) or stamp is None:
            return None
        return self._kept.by_content(path, form, stamp, data)

    def keep(self, path: Path, form: str, value: object) -> None:
        """Keeps what was made of the file that was read last, for the next compilation."""
        stamp = self.stamps[path]
        assert self._last_read is not None and self._last_read[0] == path and stamp is not None, "it was read"
        self._kept.keep(path, form, stamp, self._last_read[1], value)

    def read_bytes(self, path: Path) -> bytes | Unreadable:
        """The content of a regular file that is no text; remembers its stamp as read does."""
        if self._last_read is not None and self._last_read[0] == path:
            return self._last_read[1]  # the content that was compared, and not another that is there by now
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
        self._last_read = path, data
        return data


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
