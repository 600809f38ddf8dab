"""The allocator settings take hold: content that was freed is used again without new page faults."""

import platform
import subprocess
import sys

import pytest

PROBE = """
import resource, sys
from smtpfleet.runtime.allocator import keep_freed_memory
if sys.argv[1] == "set":
    assert keep_freed_memory()
def churn():
    for _ in range(200):
        blocks = [b"x" * 300_000 for _ in range(8)]
churn()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
churn()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(mode: str) -> int:
    return int(subprocess.run([sys.executable, "-c", PROBE, mode], check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_freed_blocks_are_used_again() -> None:
    assert page_faults("set") < 200
