"""When an envelope is tried again, and when its sender is told that it waits.

Owns OpenSMTPD 5.4.1's formula: attempts grow with the square of their number, counted from creation, so an envelope that waited for other
reasons is not pushed further back. All instants are the caller's, epoch milliseconds of the store's clock. Called by queue.
OpenSMTPD: scheduler_ramqueue.c scheduler_next; queue.c queue_bounce (bounce-warn).
"""

from collections.abc import Sequence
from math import isqrt

from smtpfleet.contracts.envelope import REMOTE_AGENT

MTA_BASE_S = 800
"""OpenSMTPD BACKOFF_TRANSFER."""
LOCAL_BASE_S = 10
"""OpenSMTPD BACKOFF_DELIVERY; bounces, too."""


def next_try_at_ms(*, agent: str, created_at_ms: int, retry: int, now_ms: int, penalty: int = 0) -> int:
    """The next attempt: created + base * n² / 2 with n = retry + penalty, and n raised until that is in the future.

    retry counts the temporary failures, the one just reported among them; with none the envelope is due at once.
    """
    if retry == 0:
        return created_at_ms
    unit_ms = (MTA_BASE_S if agent == REMOTE_AGENT else LOCAL_BASE_S) * 500
    elapsed_ms = max(0, now_ms - created_at_ms)
    # The smallest n with n² * unit > elapsed, so a long outage costs no loop.
    number = max(retry + penalty, isqrt(elapsed_ms // unit_ms) + 1)
    return created_at_ms + unit_ms * number * number


def warn_due(
    *, created_at_ms: int, next_try_at_ms: int, last_bounce_at_ms: int, bounce_warn_s: Sequence[int]
) -> int | None:
    """The delay (s) of `bounce-warn` that a warning is due for after a temporary failure, or None.

    It is the first one that the next attempt reaches and no warning has been sent for. The caller then sets last_bounce_at_ms to
    created_at_ms + delay * 1000, whatever the time is.
    """
    for delay_s in bounce_warn_s:
        warn_at_ms = created_at_ms + delay_s * 1000
        if next_try_at_ms >= warn_at_ms and last_bounce_at_ms < warn_at_ms:
            return delay_s
    return None
