"""The running role on a real NATS: publishes, follows its files, keeps the last good one, outlives NATS, agrees with its replicas."""

import asyncio
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from smtpfleet.config.publisher import Publisher
from smtpfleet.contracts.configuration import Configuration
from smtpfleet.contracts.subjects import TABLES_BUCKET
from smtpfleet.local.servers import NatsServer
from smtpfleet.runtime.bus import Bus
from smtpfleet.runtime.maillog import MailLog
from smtpfleet.runtime.settings import RoleSettings
from tests.support.until import until

pytestmark = pytest.mark.connected

GOOD = "listen on 127.0.0.1 port 2525\ntable domains file:domains\naccept for domain <domains> relay\n"
DEADLINE_S = 20.0


class ConfigProcess:
    """`python -m smtpfleet.config` with its log in a file."""

    def __init__(self, folder: Path, nats: NatsServer, prefix: str, replica: str) -> None:
        self.log_path = folder / f"{replica}.log"
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("SMTPFLEET_")},
            "SMTPFLEET_NATS_URL": nats.url,
            "SMTPFLEET_NATS_PREFIX": prefix,
            "SMTPFLEET_REPLICA": replica,
            "SMTPFLEET_CONFIG_FILE": str(folder / "smtpd.conf"),
            "SMTPFLEET_CONFIG_POLL_S": "0.05",
            "SMTPFLEET_CONFIG_MACROS": "outside=o.test",
            "SMTPFLEET_SERVER_NAME": "mx.example.test",
        }
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "smtpfleet.config"], stdout=log, stderr=log, env=self._environment
            )

    @property
    def log(self) -> str:
        return self.log_path.read_text()

    @property
    def status(self) -> int | None:
        return self._process.poll()

    async def says(self, text: str, times: int = 1) -> None:
        await until(lambda: self.log.count(text) >= times, lambda: self.log, DEADLINE_S)

    def ask(self, path: str) -> tuple[int, str]:
        address = re.search(r"health=(\S+)", self.log)
        assert address is not None, self.log
        try:
            with urllib.request.urlopen(f"http://{address[1]}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    async def becomes_ready(self) -> None:
        await self.says("ready for work")
        await until(lambda: self.ask("/readyz")[0] == 200, lambda: self.log, DEADLINE_S)

    def metric(self, name: str) -> float:
        return float(re.findall(rf"^{re.escape(name)} (\S+)$", self.ask("/metrics")[1], re.MULTILINE)[0])

    def stop(self) -> int:
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(DEADLINE_S)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


Start = Callable[..., ConfigProcess]


@pytest.fixture
def start(tmp_path: Path, own_nats: NatsServer, nats_prefix: str) -> Iterator[Start]:
    started: list[ConfigProcess] = []

    def start_one(replica: str = "c1", folder: Path = tmp_path, nats: NatsServer = own_nats) -> ConfigProcess:
        started.append(ConfigProcess(folder, nats, nats_prefix, replica))
        return started[-1]

    yield start_one
    for process in started:
        process.kill()


@pytest.fixture
async def published(own_nats: NatsServer, nats_prefix: str) -> AsyncIterator[Callable[[], object]]:
    """What is in the bucket now."""
    settings = RoleSettings(replica="test", nats_url=own_nats.url, nats_prefix=nats_prefix)
    bus = Bus("admin", settings, MailLog("test", stream=io.StringIO()))
    await bus.connect()
    yield Publisher(bus).current
    await bus.close()


async def wait_for_version(published: Callable[[], object], beginning: str) -> Configuration:
    deadline = time.monotonic() + DEADLINE_S
    while True:
        current = await published()  # type: ignore[misc]
        if current is not None and current.version.startswith(beginning):
            assert isinstance(current, Configuration)
            return current
        assert time.monotonic() < deadline, f"no version {beginning}, seen last: {current!r}"
        await asyncio.sleep(0.02)


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    (tmp_path / "domains").write_text("a.test\n")
    path = tmp_path / "smtpd.conf"
    path.write_text(GOOD)
    return path


async def test_publishes_and_follows_the_file_and_its_tables(
    start: Start, conf: Path, published: Callable[[], object]
) -> None:
    process = start()
    first = await wait_for_version(published, "1-")
    assert (first.hostname, first.tables["domains"].entries) == ("mx.example.test", {"a.test": ""})
    await process.becomes_ready()
    (conf.parent / "domains").write_text("a.test\nb.test\n")
    second = await wait_for_version(published, "2-")
    assert list(second.tables["domains"].entries) == ["a.test", "b.test"]
    conf.write_text(GOOD + 'include "more.conf"\n')
    await process.says("failed to include file more.conf")
    (conf.parent / "more.conf").write_text("accept for domain $outside relay\n")
    third = await wait_for_version(published, "3-")
    assert third.tables["<dynamic:1>"].entries == {"o.test": ""}
    await process.says("configuration OK again")
    await until(
        lambda: f'smtpfleet_config_info{{version="{third.version}"}} 1.0' in process.ask("/metrics")[1],
        lambda: process.log,
    )
    assert process.metric("smtpfleet_config_publications_total") == 3
    assert process.stop() == 0


async def test_errors_change_nothing_and_are_all_logged_once(
    start: Start, conf: Path, published: Callable[[], object]
) -> None:
    process = start()
    first = await wait_for_version(published, "1-")
    await process.becomes_ready()
    conf.write_text(GOOD + "accept for locl relay\nacept\n")
    await process.says("configuration refused")
    assert f'{conf}:4:12: syntax error: expected any, local or domain after "for", found "locl"' in process.log
    assert 'did you mean "local"?' in process.log
    assert f"{conf}:5:1: syntax error" in process.log
    assert process.metric("smtpfleet_config_errors") == 2
    assert process.ask("/readyz")[0] == 200
    await asyncio.sleep(0.3)  # several polls
    assert process.log.count("configuration refused") == 1
    conf.write_text(GOOD)
    await process.says("configuration OK again")
    assert process.metric("smtpfleet_config_errors") == 0
    assert await published() == first  # type: ignore[misc]
    assert process.log.count("configuration published") == 1


async def test_a_restart_publishes_nothing_new(start: Start, conf: Path, published: Callable[[], object]) -> None:
    process = start()
    first = await wait_for_version(published, "1-")
    await process.becomes_ready()
    assert process.stop() == 0
    again = start("c2")
    await again.says("configuration is published already")
    await again.becomes_ready()
    assert await published() == first  # type: ignore[misc]


async def test_a_start_with_a_bad_file_keeps_the_last_good_one(
    start: Start, conf: Path, published: Callable[[], object]
) -> None:
    process = start()
    first = await wait_for_version(published, "1-")
    process.kill()
    conf.write_text("acept\n")
    again = start("c2")
    await again.says("the last good configuration stays in force")
    await again.becomes_ready()
    assert await published() == first  # type: ignore[misc]


async def test_a_first_start_with_a_bad_file_waits_until_it_is_mended(
    start: Start, conf: Path, published: Callable[[], object]
) -> None:
    conf.write_text("acept\n")
    process = start()
    await process.says("there is no last good configuration")
    await process.says("ready for work")
    code, body = process.ask("/readyz")
    assert (code, json.loads(body)["waiting_for"]) == (503, ["configuration"])
    assert process.ask("/healthz")[0] == 200
    conf.write_text(GOOD)
    await wait_for_version(published, "1-")
    await process.becomes_ready()


async def test_a_file_that_is_not_there_yet_is_waited_for(
    start: Start, conf: Path, published: Callable[[], object]
) -> None:
    conf.unlink()
    process = start()
    await process.says("cannot read the configuration: No such file or directory")
    conf.write_text(GOOD)
    await wait_for_version(published, "1-")
    await process.becomes_ready()


async def test_replicas_with_the_same_files_agree(start: Start, conf: Path, published: Callable[[], object]) -> None:
    replicas = [start("c1"), start("c2"), start("c3")]
    for process in replicas:
        await process.becomes_ready()
    conf.write_text(GOOD + "accept for domain more.test relay\n")
    await wait_for_version(published, "2-")
    for process in replicas:
        await until(
            lambda process=process: (
                process.log.count("configuration published") + process.log.count("published already") == 2
            ),  # type: ignore[misc]
            lambda process=process: process.log,  # type: ignore[misc]
            DEADLINE_S,
        )
    assert sum(process.log.count("configuration published") for process in replicas) == 2
    assert (await wait_for_version(published, "2-")).version.startswith("2-")


async def test_replicas_with_different_files_do_not_fight(
    start: Start, conf: Path, tmp_path: Path, published: Callable[[], object]
) -> None:
    one = start("c1")
    await one.becomes_ready()
    other = tmp_path / "other"
    other.mkdir()
    (other / "smtpd.conf").write_text("listen on 127.0.0.1\naccept for any relay\n")
    two = start("c2", other)
    await two.becomes_ready()
    await one.says("another replica published a configuration that differs from our files")
    await asyncio.sleep(0.5)
    assert (await wait_for_version(published, "2-")).version.startswith("2-")


async def test_nats_may_go_and_come_back(start: Start, conf: Path, tmp_path: Path, nats_prefix: str) -> None:
    nats = NatsServer(tmp_path / "nats")
    nats.start()
    try:
        process = start(nats=nats)
        await process.becomes_ready()
        nats.stop()
        await process.says("nats disconnected")
        conf.write_text(GOOD + "accept for domain more.test relay\n")
        await process.says("configuration not published yet, trying again")
        assert process.status is None
        nats.start()
        await process.says("configuration published", times=2)
        await process.becomes_ready()
        assert "version=2-" in process.log
    finally:
        nats.stop()


async def test_a_nats_that_lost_its_store_gets_the_configuration_again(
    start: Start, conf: Path, tmp_path: Path
) -> None:
    nats = NatsServer(tmp_path / "nats")
    nats.start()
    try:
        process = start(nats=nats)
        await process.becomes_ready()
        nats.stop()
        for path in sorted((tmp_path / "nats" / "jetstream").rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        nats.start()
        await process.says("no configuration is published any more, publishing ours again")
        await process.says("configuration published", times=2)
    finally:
        nats.stop()


async def test_a_lost_part_of_a_large_table_is_written_again(
    start: Start, conf: Path, tmp_path: Path, nats_prefix: str
) -> None:
    (tmp_path / "domains").write_text("".join(f"d{number}.example.test\n" for number in range(40_000)))
    nats = NatsServer(tmp_path / "nats")
    nats.start()
    bus = Bus(
        "admin",
        RoleSettings(replica="test", nats_url=nats.url, nats_prefix=nats_prefix),
        MailLog("test", stream=io.StringIO()),
    )
    try:
        process = start(nats=nats)
        await process.becomes_ready()
        await bus.connect()
        parts, revision = await bus.kv_keys(TABLES_BUCKET)
        current = await Publisher(bus).current()
        assert current is not None and set(current.tables["domains"].parts) == parts and len(parts) > 1
        await bus.kv_purge(TABLES_BUCKET, min(parts), up_to=revision)
        nats.restart()  # config looks at the buckets after every reconnection
        await process.says("parts of tables were lost and are written again parts=1")
        await until(lambda: bus.is_connected, lambda: process.log, DEADLINE_S)
        assert (await bus.kv_keys(TABLES_BUCKET))[0] == parts
        assert process.log.count("configuration published") == 1
    finally:
        await bus.close()
        nats.stop()


async def test_bad_settings_are_refused(start: Start, conf: Path, tmp_path: Path, own_nats: NatsServer) -> None:
    # a flag of the tests themselves, such as SMTPFLEET_REWRITE_GOLDENS, is an unknown setting to it
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SMTPFLEET_")}
    environment = {**inherited, "SMTPFLEET_NATS_URL": own_nats.url, "SMTPFLEET_CONFIG_MACROS": "nonsense"}
    command = [sys.executable, "-m", "smtpfleet.config"]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=20, env=environment)
    assert done.returncode == 2
    assert "SMTPFLEET_CONFIG_MACROS: could not parse macro definition 'nonsense'" in done.stderr
