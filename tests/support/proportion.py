"""Whether work grows in proportion to its input: twice the size in about twice the time.

Processor time of two sizes is compared, never a clock with a number: a slow machine is slow for both.
"""

import gc
import time
from collections.abc import Callable
from typing import TypeVar

Input = TypeVar("Input")


def grows_in_proportion(work: Callable[[Input], object], input_of: Callable[[int], Input], size: int) -> bool:
    """Quadratic work would take four times as long for twice the size. A machine that others use may be slow for once."""
    shorter, longer = input_of(size // 2), input_of(size)
    return any(_seconds(work, longer) < 3 * _seconds(work, shorter) + 0.1 for _ in range(3))


def _seconds(work: Callable[[Input], object], given: Input) -> float:
    # what other tests have left on the heap is not to be walked by the collector again and again meanwhile
    gc.collect()
    gc.freeze()
    try:
        begun = time.process_time()
        work(given)
        return time.process_time() - begun
    finally:
        gc.unfreeze()
