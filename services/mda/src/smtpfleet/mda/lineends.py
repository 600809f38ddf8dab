"""CRLF to LF for a message that comes in pieces, as files in a maildir have LF.

Keeps a CR at the end of a piece back until it is known whether LF follows. A small message is done with one bytes.replace instead.
"""


class LineEnds:
    """Feed the pieces in order, then take what `finish` returns."""

    def __init__(self) -> None:
        self._is_cr_held = False

    def feed(self, data: bytes) -> bytes:
        """The piece with LF line ends, perhaps without its last CR, perhaps with that of the piece before."""
        if not data:
            return b""
        if self._is_cr_held:
            data = b"\r" + data
        self._is_cr_held = data.endswith(b"\r")
        if self._is_cr_held:
            data = data[:-1]
        return data.replace(b"\r\n", b"\n")

    def finish(self) -> bytes:
        """A CR that no LF followed, or nothing."""
        return b"\r" if self._is_cr_held else b""
