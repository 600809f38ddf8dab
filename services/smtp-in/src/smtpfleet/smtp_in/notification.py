"""What a transaction was asked to report (RFC 3461): RET and ENVID of MAIL, NOTIFY and ORCPT of each RCPT.

Only carried from the commands to the envelopes; who is told of what is decided by queue, what is passed on by mta. A transaction without
any of it has none of these, so ordinary mail pays nothing. Filled by session, read by transaction.
"""

from dataclasses import dataclass, field

from msgspec import structs

from smtpfleet.contracts.envelope import Envelope
from smtpfleet.mail.rcpt_parameters import RcptArgs


@dataclass(slots=True)
class Notification:
    """ret: FULL, HDRS or "". envid: xtext. by_number: what was asked for each destination, by its number counted from 1."""

    ret: str = ""
    envid: str = ""
    by_number: dict[int, RcptArgs] = field(default_factory=dict)

    def note_rcpt(self, args: RcptArgs, first_number: int, count: int) -> None:
        """`count` destinations came out of this RCPT. Each reports for itself (docs/parity.md)."""
        self.by_number |= dict.fromkeys(range(first_number, first_number + count), args)

    def applied(self, envelopes: list[Envelope]) -> list[Envelope]:
        """The envelopes with what was asked."""
        changed = []
        for number, envelope in enumerate(envelopes, 1):
            args = self.by_number.get(number)
            changed.append(
                structs.replace(
                    envelope,
                    dsn_ret=self.ret,
                    dsn_envid=self.envid,
                    dsn_notify=args.dsn_notify if args else 0,
                    dsn_orcpt=args.dsn_orcpt if args else "",
                )
            )
        return changed
