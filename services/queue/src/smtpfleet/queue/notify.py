"""Who wants to hear what of an envelope: NOTIFY of RFC 3461 §4.1 applied to failure, delay and success.

Pure; decides only whether a report is due, results says when and bouncer writes it. Nobody is ever told anything at the null sender.
Called by results. OpenSMTPD 7.8: bounce.c, queue.c (DSN_SUCCESS, DSN_NEVER and so on).
"""

from smtpfleet.contracts.envelope import DsnNotify, Envelope, LocalDispatcher

DELIVERED = "delivered"
RELAYED = "relayed"


def wants_failure(envelope: Envelope) -> bool:
    """Whether the sender is told that it failed; without NOTIFY he is."""
    return bool(envelope.sender) and (not envelope.dsn_notify or bool(envelope.dsn_notify & DsnNotify.FAILURE))


def wants_delay(envelope: Envelope) -> bool:
    """Whether the sender is warned that it waits; without NOTIFY he is, as bounce-warn says."""
    return bool(envelope.sender) and (not envelope.dsn_notify or bool(envelope.dsn_notify & DsnNotify.DELAY))


def success_kind(envelope: Envelope, *, is_passed_on: bool) -> str:
    """The kind of report that is due for a delivered envelope, "" for none. RFC 3461 §5.2.2: a peer that was told reports itself; of
    one that could not be told we say that we have relayed."""
    if not envelope.dsn_notify & DsnNotify.SUCCESS or not envelope.sender or is_passed_on:
        return ""
    return DELIVERED if isinstance(envelope.dispatcher, LocalDispatcher) else RELAYED
