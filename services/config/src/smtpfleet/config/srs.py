"""Answers CONFIG_SRS_REWRITE and CONFIG_SRS_RESTORE: the one place of the fleet that has the keys of SRS.

They are not in the snapshot, so that a role that can be reached from outside has nothing to lose; a question costs a digest and a round
trip, and only forwarded mail and its bounces ask. Keys are those of the files as they are now, also after going back to an earlier
configuration, and a change of keys alone is published nowhere. Never logged. Bound by handlers.py; told of keys by app.py. OpenSMTPD: srs.c.
"""

from collections.abc import Callable

from smtpfleet.contracts.srs import (
    SENDERS_BATCH,
    SrsRestoreQuery,
    SrsRestoreReply,
    SrsRewriteQuery,
    SrsRewriteReply,
)
from smtpfleet.contracts.wire import Malformed
from smtpfleet.mail import srs
from smtpfleet.runtime import metrics

DAY_S = 86_400
_NO_KEY = "srs: no key in the files of this config"

_rewritten = metrics.counter("config_srs_rewrites", "Senders that mta asked for, by how it ended", ("result",))
_restored = metrics.counter("config_srs_restores", "SRS addresses that bounces came to, by how it ended", ("result",))
_RESULTS = {
    srs.SrsFault.TOO_LONG: "too-long",
    srs.SrsFault.UNREADABLE: "unreadable",
    srs.SrsFault.FORGED: "forged",
    srs.SrsFault.EXPIRED: "expired",
}


class SrsServer:
    """now_s: seconds since 1970."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._keys: tuple[str, ...] = ()
        self._ttl_days = 0

    def apply(self, keys: tuple[str, ...], ttl_s: int) -> None:
        """From now on signs with the first key and believes all of them."""
        self._keys = keys
        self._ttl_days = ttl_s // DAY_S

    def rewrite(self, query: SrsRewriteQuery) -> SrsRewriteReply:
        """CONFIG_SRS_REWRITE."""
        if len(query.senders) > SENDERS_BATCH or not all("@" in sender and domain for sender, domain in query.senders):
            raise Malformed(f"at most {SENDERS_BATCH} senders, none of them null, each with a domain")
        if not self._keys:
            _rewritten.labels("no-key").inc()
            return SrsRewriteReply(_NO_KEY, [])
        signed = [srs.encode(sender, domain, self._keys[0], self._today()) for sender, domain in query.senders]
        for each in signed:
            _rewritten.labels(_RESULTS[each] if isinstance(each, srs.SrsFault) else "ok").inc()
        return SrsRewriteReply("", [None if isinstance(each, srs.SrsFault) else each for each in signed])

    def restore(self, query: SrsRestoreQuery) -> SrsRestoreReply:
        """CONFIG_SRS_RESTORE."""
        if not self._keys:
            _restored.labels("no-key").inc()
            return SrsRestoreReply(_NO_KEY, "", "")
        original = srs.decode(query.address, self._keys, self._today(), self._ttl_days)
        if isinstance(original, srs.SrsFault):
            _restored.labels(_RESULTS[original]).inc()
            return SrsRestoreReply("", "", str(original))
        _restored.labels("ok").inc()
        return SrsRestoreReply("", original, "")

    def _today(self) -> int:
        return int(self._now_s()) // DAY_S
