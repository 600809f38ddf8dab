"""Tells glibc's allocator to keep what it has: messages come and go by the megabyte, and every return to the kernel is paid in page faults.

By default a block above 128 KiB is a mapping of its own and the top of the heap goes back as soon as it is free; then each batch of
content faults its pages in anew. Measured with messages of 64 KiB: kernel time of smtp-in 0.26 → 0.17 CPU-ms per message, of mda
0.47 → 0.40. The price is that a process keeps up to KEEP_FREE_BYTES it does not use.
"""

import ctypes

M_TRIM_THRESHOLD = -1
M_TOP_PAD = -2
M_MMAP_THRESHOLD = -3

KEEP_FREE_BYTES = 64 * 1024 * 1024
"""Free memory at the top of the heap that is not given back: some of the largest batches."""
GROW_BYTES = 4 * 1024 * 1024
"""The heap grows by this much at a time: one batch."""
MAPPED_FROM_BYTES = 32 * 1024 * 1024
"""Blocks from this size on remain mappings of their own: no batch is; glibc's own upper limit (mallopt(3))."""


def keep_freed_memory() -> bool:
    """Sets it for this process. False where the C library has no mallopt (musl): then it is as it was."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    wanted = {M_MMAP_THRESHOLD: MAPPED_FROM_BYTES, M_TRIM_THRESHOLD: KEEP_FREE_BYTES, M_TOP_PAD: GROW_BYTES}
    return all(mallopt(option, value) == 1 for option, value in wanted.items())
