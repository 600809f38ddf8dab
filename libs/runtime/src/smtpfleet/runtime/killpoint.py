"""Named points between two durable effects where a test may kill the process: `reach("queue.commit.flushed")`.

Does nothing unless SMTPFLEET_KILL_AT names the point, as `NAME` or `NAME:N` for the N-th time it is reached; then the process sends
itself SIGKILL, as a power cut would. tests/failure names every point; a point nobody tests is deleted. Costs one comparison.
"""

import os
import signal

_name, _, _nth = os.environ.get("SMTPFLEET_KILL_AT", "").partition(":")
_left = int(_nth or 1)


def reach(name: str) -> None:
    """This is the point `name`."""
    if name == _name:
        _count_down()


def _count_down() -> None:
    global _left
    _left -= 1
    if _left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
