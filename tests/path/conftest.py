"""The fleet that path tests share: one of each role, and a second mta.

Tests own their domains and msgids and leave it as they found it. What breaks a fleet, or must see one start, brings its own.
"""

from collections.abc import Iterator

import pytest

from tests.path.ground import Ground, until

# What a role logs when something went wrong inside it, whatever the peers did.
OUR_FAULTS = (
    "Traceback",
    "request failed",
    "request refused",
    "background task failed",
    "error: failed",
    "quarantined",
)


@pytest.fixture(scope="session")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """A running fleet under ground.CONFIG."""
    with Ground(tmp_path_factory.mktemp("path"), replicas={"mta": 2}) as running:
        yield running
        _check_health(running)


def _check_health(ground: Ground) -> None:
    """After all that was done to it, the fleet is idle and has nothing to reproach itself with."""

    def is_idle() -> bool:
        queue = ground.ask("/v1/queue")
        return (queue["inflight"], queue["bouncing"], queue["quarantined"]) == (0, 0, 0)

    until(is_idle, "an idle queue")
    for replica in ground.fleet.replicas():
        assert replica.is_ready and replica.start_count == 1, replica.log_tail()
    faults = [line for line in ground.fleet.log_text().splitlines() if any(fault in line for fault in OUR_FAULTS)]
    assert not faults, "\n".join(faults)
