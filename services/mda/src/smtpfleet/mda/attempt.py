"""What became of one attempt to deliver one envelope: the outcome for queue, and what only the log may say.

Every failure of a mail home is a value here, chosen once from the error; nothing else in mda classifies errors. All file errors are
temporary: a full or unreadable home is for the operator or the user to mend, and the message waits (OpenSMTPD mda.c does the same).
"""

import errno
from dataclasses import dataclass

from smtpfleet.contracts.outcome import Outcome, OutcomeKind
from smtpfleet.contracts.status import S451_LOCAL_ERROR, S554_LOOP_DETECTED, Status

S250_DELIVERED = Status(250, "2.0.0", "Delivered")
S452_MAILBOX_FULL = Status(452, "4.2.2", "Mailbox full")
S451_USER_LOOKUP = Status(451, "4.3.0", "Temporary failure in user lookup")
S550_USER_LOOKUP = Status(550, "5.1.1", "Permanent failure in user lookup")

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@dataclass(frozen=True, slots=True)
class Attempt:
    """detail: for the operator's log only, "" where the status says it all."""

    evpid: str
    kind: OutcomeKind
    status: Status
    detail: str = ""

    @property
    def outcome(self) -> Outcome:
        """What queue is told."""
        return Outcome(self.evpid, self.kind, self.status)


def delivered(evpid: str, detail: str = "") -> Attempt:
    """The message is in the mail home and flushed."""
    return Attempt(evpid, OutcomeKind.DELIVERED, S250_DELIVERED, detail)


def looped(evpid: str) -> Attempt:
    """The message has been delivered to this dest before."""
    return Attempt(evpid, OutcomeKind.LOOP, S554_LOOP_DETECTED)


def tempfailed(evpid: str, detail: str, status: Status = S451_LOCAL_ERROR) -> Attempt:
    """Something here is wrong that an operator can mend."""
    return Attempt(evpid, OutcomeKind.TEMPFAIL, status, detail)


def failed_by(evpid: str, error: OSError, where: str) -> Attempt:
    """The file system said no at `where`."""
    status = S452_MAILBOX_FULL if error.errno in _FULL else S451_LOCAL_ERROR
    return tempfailed(evpid, f"{where}: {error.strerror or type(error).__name__}", status)
