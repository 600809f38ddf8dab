"""Values that are good for a while: bounded, each with its own time to live, by a monotonic clock that may be given.

Knows nothing of what it keeps; a stored None is a value. Used by table_client.py and by config's server of tables.
"""

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Hit(Generic[V]):
    """A value that is still good, and for how much longer."""

    value: V
    left_s: float


class TtlCache(Generic[K, V]):
    """At most `limit` values; the one stored longest ago goes first."""

    def __init__(self, limit: int, now_s: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._now_s = now_s
        self._kept: dict[K, tuple[V, float]] = {}

    def get(self, key: K) -> Hit[V] | None:
        """What is stored under `key`, None where there is nothing or it is too old."""
        entry = self._kept.get(key)
        if entry is None:
            return None
        value, until_s = entry
        left_s = until_s - self._now_s()
        if left_s <= 0:
            del self._kept[key]
            return None
        return Hit(value, left_s)

    def put(self, key: K, value: V, ttl_s: float) -> None:
        """Stores `value` for ttl_s seconds; not at all where that is not positive."""
        if ttl_s <= 0:
            return
        self._kept.pop(key, None)
        if len(self._kept) >= self._limit:
            del self._kept[next(iter(self._kept))]
        self._kept[key] = (value, self._now_s() + ttl_s)

    def clear(self) -> None:
        """Forgets everything."""
        self._kept.clear()
