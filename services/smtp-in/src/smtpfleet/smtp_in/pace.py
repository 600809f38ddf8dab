"""Whether the content of a message comes fast enough: a peer may be slow, but not so slow that one message holds a session for months.

Owns that judgement alone; silence is the session timeout's business. Made by server when a sweep first finds content on its way, asked at
every sweep, forgotten with the message. Postfix: smtpd_min_data_rate. OpenSMTPD has nothing of the kind.
"""

GRACE_S = 300
"""What every message may take whatever its size: as long as a peer may be silent. Chosen."""

Progress = tuple[str, int]
"""Which message, and how many octets of it have come, counted from anywhere."""


class Pace:
    """Of one message."""

    __slots__ = ("_began_bytes", "_elapsed_s", "_message", "_progress_bytes")

    def __init__(self, progress: Progress) -> None:
        self._message, self._began_bytes = progress
        self._progress_bytes = self._began_bytes
        self._elapsed_s = 0

    def is_too_slow(self, after_s: int, min_bytes_per_s: int) -> bool:
        """after_s: since it was asked last, time in which we did not read aside. min_bytes_per_s: 0 for any pace."""
        self._elapsed_s += after_s
        late_s = self._elapsed_s - GRACE_S
        return (
            min_bytes_per_s > 0 and late_s > 0 and self._progress_bytes - self._began_bytes < late_s * min_bytes_per_s
        )

    @staticmethod
    def after(before: "Pace | None", progress: Progress | None) -> "Pace | None":
        """The pace that a session goes at which went at `before`; None where no content is on its way."""
        if progress is None:
            return None
        if before is None or before._message != progress[0]:
            return Pace(progress)
        before._progress_bytes = progress[1]
        return before
