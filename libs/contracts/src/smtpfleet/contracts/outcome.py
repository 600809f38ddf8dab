"""What became of one delivery attempt of one envelope.

Made by mta and mda, judged by queue. An expected failure is a value, never an exception. OpenSMTPD: IMSG_*_DELIVERY_OK, _TEMPFAIL,
_PERMFAIL, _LOOP.
"""

from enum import StrEnum

from msgspec import Struct

from smtpfleet.contracts.status import Status


class OutcomeKind(StrEnum):
    """delivered: gone. tempfail: try later. permfail: bounce. loop: bounce as a loop."""

    DELIVERED = "delivered"
    TEMPFAIL = "tempfail"
    PERMFAIL = "permfail"
    LOOP = "loop"


class Outcome(Struct, frozen=True, array_like=True):
    """One envelope's outcome.

    remote: name of the MTA that gave the status, for the bounce's Remote-MTA; "" for local delivery.
    is_dsn_passed_on: delivered to a peer that offers DSN and has been told what the sender wants to hear, so we report nothing.
    """

    evpid: str
    kind: OutcomeKind
    status: Status
    remote: str = ""
    is_dsn_passed_on: bool = False
