"""A NATS of its own for every test of config that makes streams, and the buckets, with and without it."""

import io
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from smtpfleet.config.publisher import KeyValue
from smtpfleet.local.servers import NatsServer
from smtpfleet.runtime.bus import Bus
from smtpfleet.runtime.maillog import MailLog
from smtpfleet.runtime.settings import RoleSettings
from tests.support.fake_store import FakeStore


@pytest.fixture
def own_nats(tmp_path: Path) -> Iterator[NatsServer]:
    """A running nats-server for one test.

    The event stream reserves 256 MiB per prefix, so the server all tests share has room for seven of them only.
    """
    server = NatsServer(tmp_path / "own-nats")
    server.start()
    yield server
    server.stop()


@pytest.fixture(params=["fake", pytest.param("nats", marks=pytest.mark.connected)])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[KeyValue]:
    if request.param == "fake":
        yield FakeStore()
        return
    server: NatsServer = request.getfixturevalue("own_nats")
    settings = RoleSettings(replica="c1", nats_url=server.url, nats_prefix=request.getfixturevalue("nats_prefix"))
    bus = Bus("config", settings, MailLog("test", stream=io.StringIO()))
    await bus.connect()
    await bus.ensure_streams()
    yield bus
    await bus.close()
