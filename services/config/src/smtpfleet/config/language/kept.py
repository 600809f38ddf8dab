"""What earlier compilations have made of files, so that the next one looks only into those that have changed.

Owns the question whether a file is as it was: by its stamp without reading it, or, where the stamp is new or was taken while the file may
still have been written, by the digest of its content. Knows nothing of what is kept. One for the life of the service; used by files.py.
"""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from smtpfleet.config.language.stamp import RACY_NS, Stamp


@dataclass(slots=True)
class _Kept:
    stamp: Stamp
    is_settled: bool
    digest: bytes
    value: object = field(repr=False)
    is_used: bool = True


class KeptFiles:
    """By path, and by what the file was read as."""

    def __init__(self, now_ns: Callable[[], int] = time.time_ns) -> None:
        self._now_ns = now_ns
        self._kept: dict[tuple[Path, str], _Kept] = {}

    def by_stamp(self, path: Path, form: str, stamp: Stamp) -> object:
        """What was made of the file, where its stamp alone says for sure that it is the same; else None."""
        kept = self._kept.get((path, form))
        if kept is None or not kept.is_settled or kept.stamp != stamp:
            return None
        kept.is_used = True
        return kept.value

    def by_content(self, path: Path, form: str, stamp: Stamp, data: bytes) -> object:
        """What was made of the file, where its content still is `data`; else None."""
        kept = self._kept.get((path, form))
        if kept is None or kept.digest != _digest_of(data):
            return None
        kept.stamp, kept.is_settled, kept.is_used = stamp, self._is_settled(stamp), True
        return kept.value

    def keep(self, path: Path, form: str, stamp: Stamp, data: bytes, value: object) -> None:
        """From now on `value` is what comes of this content."""
        self._kept[path, form] = _Kept(stamp, self._is_settled(stamp), _digest_of(data), value)

    def forget_unused(self) -> None:
        """After a compilation: what it did not ask for is needed no more."""
        self._kept = {key: kept for key, kept in self._kept.items() if kept.is_used}
        for kept in self._kept.values():
            kept.is_used = False

    def _is_settled(self, stamp: Stamp) -> bool:
        return self._now_ns() - stamp.mtime_ns >= RACY_NS


def _digest_of(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
