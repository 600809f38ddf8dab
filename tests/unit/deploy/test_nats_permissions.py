"""deploy/etc/nats.conf: equal to what the subject table gives, and enforced by a real nats-server."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import nats
import pytest
from deploy import nats_permissions
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import NoRespondersError
from nats.errors import TimeoutError as NatsTimeout

from smtpfleet.contracts.subjects import (
    CONFIGURATION_BUCKET,
    CONFIGURATION_KEY,
    ROLES,
    SUBJECTS,
    TABLES_BUCKET,
    Kind,
    Subject,
)
from smtpfleet.local.binaries import find_nats_server
from smtpfleet.local.child import await_answer
from smtpfleet.local.ports import free_port
from smtpfleet.local.servers import NatsServer
from smtpfleet.runtime.bus import Bus
from smtpfleet.runtime.maillog import MailLog
from smtpfleet.runtime.settings import RoleSettings
from tests.support.until import until

# digits with an e: nats-server would read it as a number, were it not quoted
PASSWORD = "12e4"
DENIED_WAIT_S = 0.3


class GuardedNats(NatsServer):
    """nats-server with the committed file, its addresses and folder replaced."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        text = nats_permissions.PATH.read_text()
        assert 'store_dir: "/data"' in text
        config = folder / "guarded.conf"
        config.write_text(text.replace('store_dir: "/data"', f'store_dir: "{folder}"'))
        self.argv = [str(find_nats_server()), "-c", str(config)]
        self.argv += ["-a", "127.0.0.1", "-p", str(self.port), "-m", str(free_port())]
        names = ["NATS_PASSWORD_" + role.upper().replace("-", "_") for role in ROLES]
        self.environ = dict(os.environ) | {name: f'"{PASSWORD}"' for name in names}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedNats]:
    server = GuardedNats(tmp_path_factory.mktemp("nats"))
    server.spawn()
    await_answer(server, server.complaint, 10)
    yield server
    server.stop()


class Connected:
    """One raw client per role, with the errors the server sent it."""

    def __init__(self, server: GuardedNats) -> None:
        self._server = server
        self.errors: dict[str, list[str]] = {role: [] for role in ROLES}
        self._clients: list[Client] = []

    async def __call__(self, role: str) -> Client:
        async def on_error(error: Exception) -> None:
            self.errors[role].append(str(error).lower())

        client = await nats.connect(
            self._server.url, user=role, password=PASSWORD, inbox_prefix=f"_INBOX_{role}", error_cb=on_error
        )
        self._clients.append(client)
        return client

    async def close(self) -> None:
        for client in self._clients:
            await client.close()


@pytest.fixture
async def connected(guarded: GuardedNats) -> AsyncIterator[Connected]:
    clients = Connected(guarded)
    yield clients
    await clients.close()


async def arrived(client: Client) -> None:
    """Returns when the server has seen all that `client` has sent. nats-py's PING overtakes what is pending; the second one does not."""
    await client.flush()
    await client.flush()


def test_the_committed_file_is_what_the_table_gives() -> None:
    assert nats_permissions.PATH.read_text() == nats_permissions.configuration_text(), (
        "run `python deploy/nats_permissions.py`"
    )


@pytest.mark.parametrize("row", SUBJECTS, ids=lambda row: row.name)
def test_only_senders_publish_and_only_receivers_subscribe(row: Subject) -> None:
    name = f"smtpfleet.{row.name}"
    assert {role for role in ROLES if name in nats_permissions.publishes(role)} == set(row.senders)
    heard = {role for role in ROLES if name in (subject.split()[0] for subject in nats_permissions.subscribes(role))}
    assert heard == set(row.receivers)


@pytest.mark.connected
@pytest.mark.parametrize("row", [row for row in SUBJECTS if row.kind is Kind.REQUEST], ids=lambda row: row.name)
async def test_a_request_reaches_its_role_and_is_answered(connected: Connected, row: Subject) -> None:
    name = f"smtpfleet.{row.name}"
    serving = await connected(row.receivers[0])

    async def answer(msg: Msg) -> None:
        await msg.respond(b"done")

    await serving.subscribe(name, queue=row.receivers[0], cb=answer)
    await arrived(serving)
    for sender in row.senders:
        asking = await connected(sender)
        assert (await asking.request(name, b"", timeout=5)).data == b"done"
    assert not any(connected.errors.values())


@pytest.mark.connected
async def test_load_reaches_one_replica(connected: Connected) -> None:
    serving, asking = await connected("queue"), await connected("mta")

    async def answer(msg: Msg) -> None:
        await msg.respond(b"mine")

    await serving.subscribe("smtpfleet.queue.envelope.load.queue-2", cb=answer)
    await arrived(serving)
    assert (await asking.request("smtpfleet.queue.envelope.load.queue-2", b"", timeout=5)).data == b"mine"


@pytest.mark.connected
@pytest.mark.parametrize(
    ("role", "subject"),
    [
        pytest.param("mta", "smtpfleet.queue.message.commit", id="a worker commits nothing"),
        pytest.param("smtp-in", "smtpfleet.queue.envelope.result", id="smtp-in reports no outcomes"),
        pytest.param("admin", "smtpfleet.queue.envelope.load", id="admin loads no mail"),
        pytest.param("smtp-in", "smtpfleet.config.srs.rewrite", id="smtp-in has no sender signed"),
        pytest.param("mta", "smtpfleet.config.srs.restore", id="mta has no sender told"),
        pytest.param("mda", "$KV.smtpfleet-configuration.current", id="only config writes the configuration"),
        pytest.param("smtp-in", "$KV.smtpfleet-tables.0a", id="only config writes tables"),
        pytest.param("queue", "$JS.API.STREAM.PURGE.KV_smtpfleet-tables", id="only config takes tables away"),
        pytest.param("admin", "$JS.API.STREAM.MSG.GET.KV_smtpfleet-tables", id="admin looks into no table"),
        pytest.param("queue", "$JS.API.STREAM.DELETE.smtpfleet-events", id="nobody deletes the events"),
        pytest.param("mda", "_INBOX_mta.x", id="nobody writes into another's inbox"),
    ],
)
async def test_publishing_elsewhere_is_refused(connected: Connected, role: str, subject: str) -> None:
    client = await connected(role)
    with pytest.raises((NatsTimeout, NoRespondersError)):
        await client.request(subject, b"", timeout=DENIED_WAIT_S)
    await until(
        lambda: any("permissions violation for publish" in error for error in connected.errors[role]),
        lambda: connected.errors,
    )


@pytest.mark.connected
@pytest.mark.parametrize(
    ("role", "subject", "queue"),
    [
        pytest.param("mta", "smtpfleet.>", "", id="no wildcard over everything"),
        pytest.param("smtp-in", "_INBOX_queue.>", "", id="nobody reads another's inbox"),
        pytest.param("mda", "smtpfleet.queue.message.commit", "queue", id="a worker sees no content of commits"),
        pytest.param("queue", "smtpfleet.queue.message.commit", "", id="requests are taken in the role's group only"),
    ],
)
async def test_listening_elsewhere_is_refused(connected: Connected, role: str, subject: str, queue: str) -> None:
    client = await connected(role)
    await client.subscribe(subject, queue=queue)
    await arrived(client)
    await until(
        lambda: any("permissions violation for subscription" in error for error in connected.errors[role]),
        lambda: connected.errors,
    )


@pytest.mark.connected
async def test_the_bus_publishes_and_reads_the_configuration_under_these_permissions(guarded: GuardedNats) -> None:
    buses = {}
    for role in ("config", "mda"):
        settings = RoleSettings(replica=f"{role}-t", nats_url=guarded.url, nats_user=role, nats_password=PASSWORD)
        buses[role] = Bus(role, settings, MailLog(role))
        await buses[role].connect()
    announced = asyncio.Event()
    await buses["mda"].kv_watch(CONFIGURATION_BUCKET, CONFIGURATION_KEY, announced.set)
    await buses["config"].ensure_streams()
    await buses["config"].ensure_streams()
    revision = await buses["config"].kv_put(CONFIGURATION_BUCKET, CONFIGURATION_KEY, b"first", last=0)
    async with asyncio.timeout(5):
        await announced.wait()
    assert await buses["mda"].kv_get(CONFIGURATION_BUCKET, CONFIGURATION_KEY) == (b"first", revision)
    assert await buses["config"].kv_keys(TABLES_BUCKET) == (frozenset(), 0)
    written = await buses["config"].kv_put(TABLES_BUCKET, "0a", b"part")
    assert await buses["mda"].kv_get(TABLES_BUCKET, "0a") == (b"part", written)
    assert await buses["config"].kv_keys(TABLES_BUCKET) == (frozenset({"0a"}), written)
    await buses["config"].kv_purge(TABLES_BUCKET, "0a", up_to=written)
    assert await buses["mda"].kv_get(TABLES_BUCKET, "0a") is None
    for bus in buses.values():
        await bus.close()
