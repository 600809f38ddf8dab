"""Every kill point of the product and what may come of dying there: the table that test_kill_points plays and test_coverage compares
with the sources."""

from dataclasses import dataclass

from bench.systems import LOCAL_RCPT, RELAY_RCPT
from tests.failure.methods import LMTP_RCPT, MBOX_RCPT, PROGRAM_RCPT

LARGE_BYTES = 700 * 1024
"""Above INLINE_CONTENT_LIMIT_BYTES: goes in chunks, and mda streams it."""


@dataclass(frozen=True, slots=True)
class KillPoint:
    """twice: copies the fleet delivers beyond the first. unanswered: attempts that arrive though the client got no 250 for them; it
    sends them again. Both as (least, most), with the reason."""

    name: str
    role: str
    rcpt: str = LOCAL_RCPT
    messages: int = 4
    size_bytes: int = 4096
    twice: tuple[int, int] = (0, 0)
    unanswered: tuple[int, int] = (0, 0)
    why: str = "nothing was done twice: what died was only on its way"

    @property
    def id(self) -> str:
        kind = self.rcpt.partition("@")[2].partition(".")[0]
        return f"{self.name}-{self.role}-{kind}" + ("-large" if self.size_bytes > 4096 else "")


# With two replicas a request goes to either: this many make it certain enough (2^-20) that the first one meets its point.
_EITHER = 20
_CUT = "the client's connection ended after its final dot, so it sends the message again (RFC 1047)"
_SENT = "the peer had accepted it when the worker died: the one duplicate law 3 allows"
_CUT_BACK = "the next append cuts the mailbox back to where the one that died began"
_SAME_NAME = "the redelivered file has the name of the first and takes its place"

POINTS = (
    KillPoint("smtp_in.commit.answered", "smtp-in", unanswered=(1, 1), why=_CUT),
    KillPoint("queue.commit.received", "queue", messages=_EITHER),
    KillPoint(
        "queue.commit.flushed",
        "queue",
        messages=_EITHER,
        why="the repeated request finds message and token, and answers ok",
    ),
    KillPoint("scheduler.claim.taken", "scheduler", why="the lease nobody heard of runs out"),
    KillPoint("work.loaded", "mda"),
    KillPoint("work.loaded", "mta", RELAY_RCPT),
    KillPoint("mda.delivery.created", "mda", why="a partial file in tmp/ is no delivery"),
    KillPoint("mda.delivery.written", "mda", why="a file in tmp/ is no delivery"),
    KillPoint("mda.delivery.flushed", "mda", why="a file in tmp/ is no delivery"),
    KillPoint("mda.delivery.published", "mda", why=_SAME_NAME),
    KillPoint("mda.delivery.delivered", "mda", why=_SAME_NAME),
    KillPoint(
        "mda.delivery.created", "mda", messages=2, size_bytes=LARGE_BYTES, why="a partial file in tmp/ is no delivery"
    ),
    KillPoint("mda.delivery.delivered", "mda", messages=2, size_bytes=LARGE_BYTES, why=_SAME_NAME),
    KillPoint("mda.mailbox.locked", "mda", MBOX_RCPT, why="the lock that was left is ours and goes"),
    KillPoint("mda.mailbox.appended", "mda", MBOX_RCPT, why=_CUT_BACK),
    KillPoint("mda.mailbox.appended", "mda", MBOX_RCPT, messages=2, size_bytes=LARGE_BYTES, why=_CUT_BACK),
    KillPoint("mda.mailbox.flushed", "mda", MBOX_RCPT, why=_CUT_BACK),
    KillPoint("mda.mailbox.settled", "mda", MBOX_RCPT, twice=(1, 1), why="a mailbox file tells no copy from another"),
    # One message: those beside it would come twice, too.
    KillPoint(
        "mda.program.ended", "mda", PROGRAM_RCPT, messages=1, twice=(1, 1), why="the program has done what it does"
    ),
    KillPoint(
        "mda.lmtp.dot",
        "mda",
        LMTP_RCPT,
        messages=1,
        twice=(0, 1),
        why=_SENT + ", or the dot had not left the socket's buffer",
    ),
    KillPoint("mda.lmtp.accepted", "mda", LMTP_RCPT, messages=1, twice=(1, 1), why=_SENT),
    KillPoint(
        "mta.dot.sent", "mta", RELAY_RCPT, twice=(0, 1), why=_SENT + ", or the dot had not left the socket's buffer"
    ),
    KillPoint("mta.delivered", "mta", RELAY_RCPT, twice=(1, 1), why=_SENT),
    KillPoint(
        "queue.result.received",
        "queue",
        messages=_EITHER,
        why="the worker hands the same outcomes to the other replica",
    ),
    KillPoint("queue.result.applied", "queue", messages=_EITHER, why="the repeated report is refused, and that is all"),
)

BOUNCE_POINTS = ("queue.bounce.built", "queue.bounce.committed")
"""Dying there must give exactly one bounce all the same."""

CONFIG_POINTS = ("config.parts.written", "config.snapshot.written")
"""Reached when a configuration is published; no mail is needed (test_configuration.py)."""
