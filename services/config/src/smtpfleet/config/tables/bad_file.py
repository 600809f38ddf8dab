"""What is wrong with a file behind a table, as a value: the compiler turns it into a diagnostic, the server into a reply.

Owns no reading. Used by every module here that reads a file. `reason` never quotes the file: it may hold passwords.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BadTableFile:
    """line counts from 1; 0 where the file has no lines or none is to blame."""

    reason: str
    line: int = 0
