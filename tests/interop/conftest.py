"""Fixtures of the interop tests."""

from collections.abc import Iterator

import pytest

from tests.interop.submission_ground import Submission


@pytest.fixture(scope="module")
def submission(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Submission]:
    """A running fleet to submit to."""
    ground = Submission(tmp_path_factory.mktemp("submission"))
    with ground.fleet:
        yield ground
