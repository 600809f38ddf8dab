"""A stage for each test."""

from collections.abc import AsyncIterator

import pytest

from tests.support.smtp_stage import Stage


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    """smtp-in in front of a fake queue."""
    stage = Stage()
    yield stage
    stage.close()
