"""The fleet that path tests share: one of each role, and a second mta.

Tests own their domains and msgids and leave it as they found it. What breaks a fleet, or must see one start, brings its own.
"""

from collections.abc import Iterator

import pytest

from tests.path.ground import Ground


@pytest.fixture(scope="session")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """A running fleet under ground.CONFIG."""
    with Ground(tmp_path_factory.mktemp("path"), replicas={"mta": 2}) as running:
        yield running
