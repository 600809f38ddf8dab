"""A NATS of its own for every test of config that makes streams."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from smtpfleet.local.servers import NatsServer


@pytest.fixture
def own_nats(tmp_path: Path) -> Iterator[NatsServer]:
    """A running nats-server for one test.

    The event stream reserves 256 MiB per prefix, so the server all tests share has room for seven of them only.
    """
    server = NatsServer(tmp_path / "own-nats")
    server.start()
    yield server
    server.stop()
