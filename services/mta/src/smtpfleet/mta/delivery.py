"""What is written down about each delivery: its outcome for queue, its log line, its count.

Owns the form of `EVPID mta delivery …` (OpenSMTPD 6 and later) and the batching of outcomes: they are handed in at 50, after 50 ms, or
when the lease is done, so that queue flushes once for many. Called by connector.py. OpenSMTPD: mta.c:mta_delivery_log, mta_delivery.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

from smtpfleet.contracts.envelope import Envelope
from smtpfleet.contracts.outcome import Outcome, OutcomeKind
from smtpfleet.contracts.status import S554_LOOP_DETECTED, Status, StatusClass
from smtpfleet.mta.session import Session
from smtpfleet.runtime import metrics
from smtpfleet.runtime.maillog import MailLog
from smtpfleet.runtime.work import Lease

REPORT_COUNT = 50
"""Outcomes handed in at once; chosen, half a lease."""
REPORT_DELAY_S = 0.05
"""An outcome waits no longer than this; chosen, a few flushes of the store."""

_RESULTS = {
    OutcomeKind.DELIVERED: "Ok",
    OutcomeKind.TEMPFAIL: "TempFail",
    OutcomeKind.PERMFAIL: "PermFail",
    OutcomeKind.LOOP: "Loop",
}
_KINDS = {
    StatusClass.OK: OutcomeKind.DELIVERED,
    StatusClass.TEMPORARY: OutcomeKind.TEMPFAIL,
    StatusClass.PERMANENT: OutcomeKind.PERMFAIL,
}

_deliveries = metrics.counter("mta_deliveries", "Delivery attempts that ended, by result", ("result",))
_counts = {kind: _deliveries.labels(result) for kind, result in _RESULTS.items()}

Spawn = Callable[[Coroutine[Any, Any, None]], None]


class DeliveryReport:
    """The outcomes of one lease. `taken` has every evpid that got one."""

    def __init__(self, lease: Lease, log: MailLog, spawn: Spawn) -> None:
        self.taken: set[str] = set()
        self._lease = lease
        self._log = log
        self._spawn = spawn
        self._outcomes: list[Outcome] = []
        self._timer: asyncio.TimerHandle | None = None

    def add(self, envelope: Envelope, status: Status, session: Session | None) -> None:
        """One envelope is done with: session None where no peer was reached."""
        kind = OutcomeKind.LOOP if status is S554_LOOP_DETECTED else _KINDS[status.status_class]
        remote = session.host.name if session is not None else ""
        self.taken.add(envelope.evpid)
        is_passed_on = kind is OutcomeKind.DELIVERED and session is not None and session.has_dsn
        self._outcomes.append(Outcome(envelope.evpid, kind, status, remote, is_passed_on))
        _counts[kind].inc()
        self._log.line(_delivery_line(envelope, status, _RESULTS[kind], session))
        if len(self._outcomes) >= REPORT_COUNT:
            self.flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(REPORT_DELAY_S, self.flush)

    def flush(self) -> None:
        """Hands in what there is; goes on in the background until queue has it."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._outcomes:
            outcomes, self._outcomes = self._outcomes, []
            self._spawn(self._lease.report(outcomes))


def _delivery_line(envelope: Envelope, status: Status, result: str, session: Session | None) -> str:
    # Built by hand: this line is written for every envelope.
    where = f"session={session.id} " if session is not None else ""
    source = session.source if session is not None else ""
    relay = session.relay_text if session is not None else ""
    delay_s = max(0, int(time.time() - envelope.created_at_ms / 1000))
    return (
        f"{envelope.evpid} mta delivery {where}from=<{_escape(envelope.sender)}> to=<{_escape(envelope.dest)}>"
        f' rcpt=<{_escape(envelope.rcpt)}> source="{source}" relay="{_escape(relay)}" delay={_duration(delay_s)}'
        f' result="{result}" stat="{_escape(status.line)}"'
    )


def _escape(text: str) -> str:
    """`text` for a quoted field: a quote or control character cannot end it or the line."""
    if text.isprintable() and '"' not in text and "\\" not in text:
        return text
    text = text.replace("\\", "\\\\").replace('"', '\\"')
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)


def _duration(seconds: int) -> str:
    """`1s`, `2m5s`, `3h2m5s`, `1d3h2m5s` (OpenSMTPD duration_to_text)."""
    text = ""
    for unit_s, name in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= unit_s:
            text += f"{seconds // unit_s}{name}"
            seconds %= unit_s
    return f"{text}{seconds}s" if seconds or not text else text
