"""Delivers into a home and kills itself with SIGKILL at a named point: `HOME POINT NTH CONTENT_SIZE COUNT`.

Run by tests of mda's crash windows as a process of its own. CONTENT_SIZE above 0 streams one message of that size.
"""

import os
import signal
import sys
from pathlib import Path

from smtpfleet.mda.group import deliver_group
from smtpfleet.mda.maildir import Maildirs
from smtpfleet.mda.stream import StreamedFile
from tests.support.local_mail import delivery_of, loaded, loaded_large, local_envelope


def chunks_of(size_bytes: int) -> list[bytes]:
    """A large message in four chunks, borders inside line ends included."""
    content = (b"x" * 75 + b"\r\n") * (size_bytes // 77)
    step = len(content) // 4 // 77 * 77 - 1
    return [content[:step], content[step : 2 * step], content[2 * step : 3 * step], content[3 * step :]]


def main(home: Path, point: str, nth: int, size_bytes: int, count: int) -> None:
    left = nth

    def reach(name: str) -> None:
        nonlocal left
        left -= name == f"mda.delivery.{point}"
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    if size_bytes:
        chunks = chunks_of(size_bytes)
        file = StreamedFile(Maildirs(), delivery_of(loaded_large(local_envelope(1), chunks), home), reach)
        for chunk in chunks:
            file.take(chunk)
        file.finish()
    else:
        deliver_group(Maildirs(), [delivery_of(loaded(local_envelope(n)), home) for n in range(1, count + 1)], reach)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:]))
