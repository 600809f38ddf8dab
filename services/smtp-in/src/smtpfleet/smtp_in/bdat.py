"""BDAT (RFC 3030): its argument, and the reader of content that comes in chunks of a stated size instead of up to a dot.

Exactly the stated octets are content, however they look, so nothing in them is ever obeyed and nothing after them is ever content. What
passes is the same as after DATA: CRLF lines, no NUL, no bare CR or LF, wherever the chunks are cut; a last line without its CRLF gets one.
Pure; called by session. OpenSMTPD has no CHUNKING.
"""

import re

from smtpfleet.contracts.status import Status
from smtpfleet.mail.dots import LINE_LIMIT_BYTES
from smtpfleet.smtp_in.data import BLOCK_BYTES, DataReader
from smtpfleet.smtp_in.reply import S501_BDAT_SYNTAX, S552_TOO_BIG, refuse_content

SMALL_CHUNK_BYTES = 1024
"""A chunk below this that is not the last counts as an idle command, so that a byte per chunk ends soon. Chosen."""

# RFC 3030 §2: chunk-size is 1*DIGIT; twenty are what a SIZE may have (RFC 1870 §3).
_argument = re.compile(rb"([0-9]{1,20})(?:[ \t]+([Ll][Aa][Ss][Tt]))?").fullmatch
_LINE_END = b"\r\n"


def parse_bdat(arg: bytes) -> tuple[int, bool] | Status:
    """(octets of the chunk, whether it is the last), or the refusal; then nobody knows where the next command begins."""
    found = _argument(arg)
    if found is None:
        return S501_BDAT_SYNTAX
    return int(found[1]), found[2] is not None


class ChunkReader(DataReader):
    """One message's content in chunks. `begin` a chunk, `feed` until `is_chunk_complete`; `is_complete` after the last."""

    __slots__ = ("_is_last", "left_bytes", "size_bytes")

    def __init__(self, limit_bytes: int, *, mends_line_ends: bool = False) -> None:
        super().__init__(limit_bytes, mends_line_ends=mends_line_ends)
        self._undecided = b""
        self._is_last = False
        self.left_bytes = 0
        self.size_bytes = 0

    def begin(self, size_bytes: int, *, is_last: bool) -> None:
        """A chunk of `size_bytes` follows."""
        self.left_bytes = self.size_bytes = size_bytes
        self._is_last = is_last
        if self._passed_bytes + size_bytes > self._limit_bytes:
            self.refuse(S552_TOO_BIG)
            self._undecided = b""
        self._passed_bytes += size_bytes
        if not size_bytes:
            self._end_chunk()

    @property
    def is_chunk_complete(self) -> bool:
        """Whether all of the chunk has come."""
        return not self.left_bytes

    @property
    def received_bytes(self) -> int:
        """How much has come of all chunks."""
        return self._passed_bytes - self.left_bytes

    def feed(self, data: bytes) -> int:
        """Takes what belongs to the chunk; returns how many bytes that were."""
        taken = min(len(data), self.left_bytes)
        self.left_bytes -= taken
        if self.refusal is None:
            self._undecided += data[:taken]
            if len(self._undecided) > BLOCK_BYTES or not self.left_bytes:
                self._pass_complete_lines()
        if not self.left_bytes:
            self._end_chunk()
        return taken

    def _pass_complete_lines(self) -> None:
        raw = self._undecided
        end = b"\n" if self._mends else _LINE_END
        at = raw.rfind(end)
        if at >= 0:
            self._keep(raw[: at + len(end)])
            self._undecided = raw[at + len(end) :]
        if len(self._undecided) > LINE_LIMIT_BYTES + 1:
            self.refuse(refuse_content("line too long"))
        if self.refusal is not None:
            self._undecided = b""

    def _end_chunk(self) -> None:
        if not self._is_last:
            return
        if self._undecided and self.refusal is None:
            if self._undecided.endswith(b"\r"):
                self.refuse(refuse_content("bare CR"))
            else:
                self._keep(self._undecided + _LINE_END)
        self._undecided = b""
        self.is_complete = True
