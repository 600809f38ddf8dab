"""Whether new messages are turned away because this process cannot do them justice, and what for: counted by reason.

Back-pressure before the body (law 8): the peer hears 421 at MAIL, keeps its copy, has sent nothing in vain, and may try another of our
hosts at once. Never touches a message that has begun. Built by server from gate and memory; asked by session at every MAIL.
RFC 5321 §3.8; RFC 3463 §3.4 for 4.3.2. OpenSMTPD: `421 Temporary Error` where its queue refuses.
"""

from smtpfleet.contracts.status import Status
from smtpfleet.runtime import metrics
from smtpfleet.smtp_in.gate import Gate, Trouble
from smtpfleet.smtp_in.memory import ContentMemory
from smtpfleet.smtp_in.reply import S421_OVERLOADED

_shed = metrics.counter("smtp_shed", "Messages and connections turned away because of our own trouble", ("reason",))


class Shedding:
    """The judgement of this process."""

    def __init__(self, gate: Gate, memory: ContentMemory) -> None:
        self._gate = gate
        self._memory = memory

    def refusal(self) -> Status | None:
        """What to say to MAIL, or None where a message may begin."""
        trouble = self._gate.trouble()
        if trouble is None:
            if not self._memory.is_short:
                return None
            trouble = Trouble.MEMORY
        self.note(trouble)
        return S421_OVERLOADED

    def note(self, trouble: Trouble) -> None:
        """Somebody is turned away for it."""
        _shed.labels(trouble).inc()
