"""The follower on a real NATS: a snapshot is applied whole or not at all, and what is reported is what is in force."""

import asyncio
import io
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from smtpfleet.contracts import wire
from smtpfleet.contracts.configuration import Table
from smtpfleet.contracts.subjects import CONFIGURATION_BUCKET, CONFIGURATION_KEY, TABLES_BUCKET
from smtpfleet.contracts.table_parts import cut_entries
from smtpfleet.local.servers import NatsServer
from smtpfleet.mail.table_needs import all_tables
from smtpfleet.runtime.bus import Bus
from smtpfleet.runtime.maillog import MailLog
from smtpfleet.runtime.settings import RoleSettings
from smtpfleet.runtime.snapshot import SnapshotFollower
from tests.support.until import until
from tests.unit.mail.building import configuration

pytestmark = pytest.mark.connected

ENTRIES = {f"user{number}": "alice" for number in range(30_000)}
PARTS = cut_entries(ENTRIES)


class Stage:
    """A writer in config's place, and a role that follows."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self._stream = io.StringIO()
        self._log = MailLog("test", stream=self._stream)
        self.follower = SnapshotFollower(bus, self._log, all_tables)

    async def publish(self, version: str, *tables: Table) -> None:
        data = wire.encode(msgspec.structs.replace(configuration(tables=tables), version=version))
        await self.bus.kv_put(CONFIGURATION_BUCKET, CONFIGURATION_KEY, data)

    async def runs(self, version: str) -> None:
        await until(lambda: self.follower.version == version, lambda: (self.follower.version, self.log), 10)

    @property
    def log(self) -> str:
        self._log.flush()
        return self._stream.getvalue()


@pytest.fixture
async def stage(tmp_path: Path, nats_prefix: str) -> AsyncIterator[Stage]:
    server = NatsServer(tmp_path / "nats")  # of its own: every event stream reserves 256 MiB
    server.start()
    settings = RoleSettings(replica="r1", nats_url=server.url, nats_prefix=nats_prefix)
    bus = Bus("config", settings, MailLog("test", stream=io.StringIO()))
    await bus.connect()
    await bus.ensure_streams()
    stage = Stage(bus)
    following = asyncio.create_task(stage.follower.follow())
    yield stage
    following.cancel()
    await bus.close()
    server.stop()


LARGE = Table("aliases", "mapping", "file", "/aliases", {}, is_inline=False, parts=tuple(PARTS))


async def test_a_snapshot_waits_for_its_tables_and_the_last_good_one_stays(stage: Stage) -> None:
    await stage.publish("1-a")
    await stage.runs("1-a")
    await stage.publish("2-b", LARGE)
    await until(lambda: "configuration refused, keeping the last one" in stage.log, lambda: stage.log, 10)
    assert "table aliases: part" in stage.log
    assert stage.follower.version == "1-a" and "aliases" not in stage.follower.current.tables
    for name, value in PARTS.items():
        await stage.bus.kv_put(TABLES_BUCKET, name, value)
    await stage.runs("2-b")
    assert stage.follower.tables.lookup_alias("aliases", "USER29999") == "alice"
    assert stage.log.count("configuration refused") == len(
        {line for line in stage.log.splitlines() if "refused" in line}
    )


async def test_a_newer_snapshot_ends_the_wait_for_one_that_never_gets_whole(stage: Stage) -> None:
    await stage.publish("1-a")
    await stage.publish("2-b", LARGE)
    await until(lambda: "configuration refused, keeping the last one" in stage.log, lambda: stage.log, 10)
    await stage.publish("3-c")
    await stage.runs("3-c")


async def test_what_cannot_be_read_is_refused_and_the_next_one_is_taken(stage: Stage) -> None:
    await stage.publish("1-a")
    await stage.runs("1-a")
    await stage.bus.kv_put(CONFIGURATION_BUCKET, CONFIGURATION_KEY, b"\x02\x90")
    await until(lambda: "this program speaks" in stage.log, lambda: stage.log, 10)
    assert stage.follower.version == "1-a"
    await stage.publish("3-c")
    await stage.runs("3-c")


async def test_a_table_that_did_not_change_keeps_its_entries_and_matchers(stage: Stage) -> None:
    for name, value in PARTS.items():
        await stage.bus.kv_put(TABLES_BUCKET, name, value)
    await stage.publish("1-a", LARGE)
    await stage.runs("1-a")
    assert stage.follower.tables.match_domain("aliases", "user7")
    before = stage.follower.tables
    await stage.publish("2-b", LARGE, Table("more", "list", "static", "", {"x": ""}))
    await stage.runs("2-b")
    assert stage.follower.tables._domains["aliases"] is before._domains["aliases"]
    assert stage.follower.tables._entries["aliases"] is before._entries["aliases"]
