"""Waiting in tests: until a condition holds, with a deadline, showing what was seen last."""

import asyncio
from collections.abc import Callable


async def until(condition: Callable[[], bool], seen: Callable[[], object], deadline_s: float = 5.0) -> None:
    """Returns when `condition` holds; fails with what `seen` tells after `deadline_s`."""
    deadline = asyncio.get_running_loop().time() + deadline_s
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, f"still not so, seen last: {seen()!r}"
        await asyncio.sleep(0.002)
