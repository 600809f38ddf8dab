"""A process dies at each named point, one by one: every acknowledged message arrives, and the duplicates are the documented ones."""

from collections.abc import Iterator

import pytest

from tests.failure.ground import REFUSED_RCPT, FailureGround, failure_ground
from tests.failure.points import BOUNCE_POINTS, POINTS, KillPoint

pytestmark = pytest.mark.failure


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FailureGround]:
    with failure_ground(tmp_path_factory.mktemp("failure")) as running:
        yield running


@pytest.mark.parametrize("point", POINTS, ids=lambda point: point.id)
def test_dying_at_a_point_loses_nothing(ground: FailureGround, point: KillPoint) -> None:
    with ground.dying_at(point.role, point.name):
        sent = ground.send(point.messages, point.rcpt, size_bytes=point.size_bytes)
        found = ground.account(sent)
    assert found.given_up == 0, f"the client could not get rid of {found.given_up}: {found}"
    assert found.missing == (), f"acknowledged and lost: {found}"
    assert found.delivered == point.messages
    assert point.twice[0] <= found.twice <= point.twice[1], f"{point.why}: {found}"
    assert point.unanswered[0] <= found.unknown + found.refused <= point.unanswered[1], f"{point.why}: {found}"


@pytest.mark.parametrize("point", BOUNCE_POINTS)
def test_dying_in_a_bounce_gives_one_bounce_per_message(ground: FailureGround, point: str) -> None:
    # Both replicas die there: whichever is first to write the bounce, the other takes it up and dies, too.
    with ground.dying_at("queue", point, is_every_replica=True):
        sent = ground.send(3, REFUSED_RCPT, sender="bench@local.test")
        count = ground.bounces(sent, wanted=3)
    assert sent.summary["fates"] == {"accepted": 3}
    assert count == 3


def test_without_a_fault_nothing_is_lost_or_doubled(ground: FailureGround) -> None:
    found = ground.account(ground.send(10))
    assert (found.acknowledged, found.delivered, found.missing, found.twice, found.refusals) == (10, 10, (), 0, {})
