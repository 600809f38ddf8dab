"""The mark every measured message carries, and the log lines that load generator and sink write about it.

The mark is the value of `X-Bench-Id`: run, sequence number, attempt and time of sending, all of fixed width, so that a reader can find
it in the first kilobytes of a delivered message and count a log by its size. A message sent again after a refusal keeps run and number
and gets a new attempt: that is how a duplicate made by a server is told from one that SMTP itself makes.
"""

from dataclasses import dataclass
from pathlib import Path

HEADER = b"X-Bench-Id: "
RUN_LENGTH = 8
MARK_LENGTH = RUN_LENGTH + 1 + 8 + 1 + 3 + 1 + 16
"""`run.number.attempt.sent`, the last three in hexadecimal; sent is nanoseconds of the epoch."""
UNMARKED = "-" * MARK_LENGTH
SINK_LINE_LENGTH = MARK_LENGTH + 1 + 16 + 1
"""A line of the sink's log: mark, blank, time of arrival in hexadecimal nanoseconds, line end."""
SEARCHED_BYTES = 16 * 1024
"""Where the mark must be: trace headers of one or two hops stand in front of it."""


@dataclass(frozen=True, slots=True)
class Mark:
    """One attempt to send one message. sent_ns: epoch nanoseconds."""

    run: str
    number: int
    attempt: int
    sent_ns: int

    @property
    def text(self) -> str:
        return f"{self.run}.{self.number:08x}.{self.attempt:03x}.{self.sent_ns:016x}"


@dataclass(frozen=True, slots=True)
class Arrival:
    """A message found at the receiving end. mark is None where it carries none (a bounce, or somebody else's client)."""

    mark: Mark | None
    at_ns: int


def parse_mark(text: str) -> Mark | None:
    """The mark in `text`, or None."""
    parts = text.split(".")
    if len(text) != MARK_LENGTH or len(parts) != 4:
        return None
    try:
        return Mark(parts[0], int(parts[1], 16), int(parts[2], 16), int(parts[3], 16))
    except ValueError:
        return None


def find_mark(content: bytes | bytearray) -> str:
    """Text of the mark in the first part of a message, UNMARKED where there is none."""
    at = content.find(HEADER, 0, SEARCHED_BYTES)
    if at < 0:
        return UNMARKED
    at += len(HEADER)
    text = content[at : at + MARK_LENGTH].decode("ascii", "replace")
    return text if len(text) == MARK_LENGTH else UNMARKED


def read_sink_log(path: Path) -> list[Arrival]:
    """All arrivals a sink has written so far, in order; an unfinished last line is left out."""
    arrivals = []
    for line in path.read_text("ascii").splitlines():
        if len(line) == SINK_LINE_LENGTH - 1:
            text, _, at = line.partition(" ")
            arrivals.append(Arrival(parse_mark(text), int(at, 16)))
    return arrivals


def count_sink_log(path: Path) -> int:
    """How many messages a sink has written, without reading them."""
    return path.stat().st_size // SINK_LINE_LENGTH if path.exists() else 0
