"""What config answers about SRS: it signs with one key, believes two, and says when it has none."""

import pytest

from smtpfleet.config.srs import DAY_S, SrsServer
from smtpfleet.contracts.srs import SENDERS_BATCH, SrsRestoreQuery, SrsRestoreReply, SrsRewriteQuery
from smtpfleet.contracts.wire import Malformed

DAY = 20000
LONG = "u" * 250


class Clock:
    now_s = DAY * DAY_S + 3600.0

    def __call__(self) -> float:
        return self.now_s


def server(*keys: str, ttl_s: int = 4 * DAY_S, clock: Clock | None = None) -> SrsServer:
    made = SrsServer(clock or Clock())
    made.apply(keys, ttl_s)
    return made


def rewritten(srs: SrsServer, sender: str = "alice@example.org") -> str:
    (address,) = srs.rewrite(SrsRewriteQuery([(sender, "example.test")])).senders
    assert address is not None
    return address


def test_each_sender_has_its_answer() -> None:
    reply = server("topsecret").rewrite(
        SrsRewriteQuery([("alice@example.org", "example.test"), (f"{LONG}@a.test", "example.test")])
    )
    assert (reply.error, reply.senders) == ("", ["SRS0=6oA6=RA=example.org=alice@example.test", None])


def test_a_key_may_be_changed_without_losing_bounces() -> None:
    srs = server("old")
    address = rewritten(srs)
    srs.apply(("new", "old"), 4 * DAY_S)
    assert rewritten(srs) != address
    assert srs.restore(SrsRestoreQuery(address)) == SrsRestoreReply("", "alice@example.org", "")
    srs.apply(("new",), 4 * DAY_S)
    assert srs.restore(SrsRestoreQuery(address)) == SrsRestoreReply("", "", "the signature does not fit")


def test_an_address_is_good_for_ttl_days() -> None:
    clock = Clock()
    srs = server("key", ttl_s=2 * DAY_S, clock=clock)
    address = rewritten(srs)
    clock.now_s += 2 * DAY_S
    assert srs.restore(SrsRestoreQuery(address)).sender == "alice@example.org"
    clock.now_s += DAY_S
    assert srs.restore(SrsRestoreQuery(address)) == SrsRestoreReply("", "", "older than srs ttl")


def test_without_a_key_it_says_so_and_neither_signs_nor_refuses() -> None:
    srs = SrsServer(Clock())
    assert srs.rewrite(SrsRewriteQuery([("a@b.test", "c.test")])).error
    assert srs.restore(SrsRestoreQuery("SRS0=6oA6=RA=example.org=alice@example.test")).error


@pytest.mark.parametrize(
    "senders",
    [[("", "c.test")], [("a@b.test", "")], [("a", "c.test")], [("a@b.test", "c.test")] * (SENDERS_BATCH + 1)],
)
def test_what_mta_never_asks_is_not_answered(senders: list[tuple[str, str]]) -> None:
    with pytest.raises(Malformed):
        server("key").rewrite(SrsRewriteQuery(senders))
