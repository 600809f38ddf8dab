"""What a delivery program has to say: the last line of its output that is not empty, in a form fit for status and log.

Keeps the end of the output only, so a program that floods us costs no memory. Used by program.py. OpenSMTPD: mda.c, mda_getlastline and
strnvis.
"""

TAIL_BYTES = 4096
"""How much of the end is kept; far more than a line of LINE_LIMIT."""
LINE_LIMIT = 255
"""Longest text of a status (OpenSMTPD: a buffer of 256)."""


class OutputTail:
    """The end of what a program wrote."""

    def __init__(self) -> None:
        self._tail = b""
        self.taken_bytes = 0

    def take(self, data: bytes) -> None:
        """More output."""
        self.taken_bytes += len(data)
        self._tail = (self._tail + data)[-TAIL_BYTES:]

    @property
    def last_line(self) -> str:
        """The last line with something in it, in double quotes, or ""."""
        for line in reversed(self._tail.split(b"\n")):
            if stripped := line.strip():
                return f'"{visible(stripped)[: LINE_LIMIT - 2]}"'
        return ""


def visible(line: bytes) -> str:
    """Bytes as vis(3) shows them: `\\^C` for control characters, `\\M-i` and `\\M^I` above 127, the backslash doubled."""
    return "".join(map(_visible_byte, line))


def _visible_byte(byte: int) -> str:
    if byte == 0x5C:
        return "\\\\"
    if 0x20 <= byte < 0x7F:
        return chr(byte)
    meta, low = ("M", byte & 0x7F) if byte >= 0x80 else ("", byte)
    if low < 0x20 or low == 0x7F:
        return f"\\{meta}^{chr(low ^ 0x40)}"
    # vis(3) writes a blank with the high bit in octal: its other form would end in a blank.
    return f"\\{byte:03o}" if low == 0x20 else f"\\{meta}-{chr(low)}"
