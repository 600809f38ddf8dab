"""Connections on their way to a session: counted and turned back by their address before any handshake, and no crowd keeps others out."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from smtpfleet.contracts.configuration import DEFAULT_LIMITS, LOCAL_HOST, Table
from smtpfleet.smtp_in.arrival import ArrivalQueue
from smtpfleet.smtp_in.callers import Callers
from tests.support.secure_stage import SecureStage
from tests.support.smtp_stage import Stage

STRANGER, OTHER = "127.0.0.2", "127.0.0.3"
HEADER = "PROXY TCP4 {} 192.0.2.9 56324 25\r\n"


@pytest.fixture
def callers() -> Callers:
    return Callers(time.monotonic, limits=msgspec.structs.replace(DEFAULT_LIMITS, max_conn_per_address=2))


@pytest.fixture
async def stage(tmp_path: Path, callers: Callers) -> AsyncIterator[SecureStage]:
    stage = SecureStage(tmp_path, callers=callers)
    yield stage
    await stage.close()


async def listen(stage: SecureStage, *, greet_pause_s: int = 0, **options: Any) -> None:
    """As stage.listen, where only 127.0.0.1 is an address of this machine."""
    configuration = stage.configuration([stage.issue("mx")], **options)
    own = Table(LOCAL_HOST, "list", "static", "", {"127.0.0.1": "", "local": ""})
    limits = msgspec.structs.replace(configuration.limits, greet_pause_s=greet_pause_s)
    tables = {**configuration.tables, LOCAL_HOST: own}
    await stage.apply(msgspec.structs.replace(configuration, tables=tables, limits=limits))


async def until(condition: Callable[[], object]) -> None:
    ends_at = asyncio.get_running_loop().time() + 5
    while not condition():
        assert asyncio.get_running_loop().time() < ends_at
        await asyncio.sleep(0.005)


def held(callers: Callers, address: str) -> int:
    record = callers._known.get(address)
    return record.open_count if record else 0


async def test_silent_connections_count_before_the_handshake(stage: SecureStage, callers: Callers) -> None:
    await listen(stage, tls="smtps")
    silent = [await stage.connect(local_addr=(STRANGER, 0)) for _ in range(2)]
    await until(lambda: held(callers, STRANGER) == 2)
    third = await stage.connect(local_addr=(STRANGER, 0))
    assert await third.reply() == ""  # closed: it could read nothing before the handshake
    context = stage.client_context()
    welcome = await stage.connect(local_addr=(OTHER, 0), ssl=context, server_hostname="mx.example.test")
    assert (await welcome.reply()).startswith("220 ")
    assert held(callers, OTHER) == 1
    for peer in (*silent, third, welcome):
        await peer.close()
    await until(lambda: held(callers, STRANGER) == held(callers, OTHER) == 0)


async def test_who_fails_in_the_handshake_holds_nothing(stage: SecureStage, callers: Callers) -> None:
    await listen(stage, tls="smtps")
    for _ in range(5):
        peer = await stage.connect(local_addr=(STRANGER, 0))
        peer.writer.write(b"EHLO this is no TLS\r\n")
        await peer.reply()
        await peer.close()
        await until(lambda: held(callers, STRANGER) == 0)
    assert stage.log_text.getvalue().count("turned-back") == 5


async def test_behind_a_balancer_the_peer_of_the_header_counts(stage: SecureStage, callers: Callers) -> None:
    await listen(stage, proxy="v2")
    peers = []
    for address in ("198.51.100.1", "198.51.100.1", "198.51.100.2"):
        peer = await stage.connect()
        peer.writer.write(HEADER.format(address).encode())
        assert (await peer.reply()).startswith("220 ")
        peers.append(peer)
    assert (held(callers, "198.51.100.1"), held(callers, "198.51.100.2"), held(callers, "127.0.0.1")) == (2, 1, 0)
    refused = await stage.connect()
    refused.writer.write(HEADER.format("198.51.100.1").encode())
    assert await refused.reply() == ""
    for peer in (*peers, refused):
        await peer.close()


async def test_a_header_makes_nobody_local(stage: SecureStage) -> None:
    await listen(stage, proxy="v2")
    peer = await stage.connect(local_addr=(STRANGER, 0))
    peer.writer.write(HEADER.format("127.0.0.1").encode())
    assert await peer.reply() == ""
    await peer.close()
    assert "the header names an address of our own, 127.0.0.1" in stage.log_text.getvalue()


async def test_too_many_cost_those_who_have_most() -> None:
    queue = ArrivalQueue(limit=10)
    ended: list[str] = []

    async def wait(name: str) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append(name)
            raise

    queue.start("quiet", wait("quiet 0"))
    for number in range(9):
        queue.start("crowd", wait(f"crowd {number}"))
    await asyncio.sleep(0)
    for number in range(3):
        queue.start("newcomer", wait(f"newcomer {number}"))
    await asyncio.sleep(0.01)
    assert ended == ["crowd 0", "crowd 1", "crowd 2"] and len(queue) == 10
    queue.cancel()
    await asyncio.sleep(0.01)
    assert len(queue) == 0 and not queue._by_name


async def test_who_talks_in_the_pause_is_found_out_without_dns(stage: SecureStage) -> None:
    await listen(stage, greet_pause_s=1)
    began = asyncio.get_running_loop().time()
    early = await stage.connect(local_addr=(STRANGER, 0))
    early.writer.write(b"EHLO client.example\r\n")
    assert await early.reply() == "554 5.5.1 Data before the greeting"
    await early.close()
    patient = await stage.connect(local_addr=(OTHER, 0))
    assert (await patient.reply()).startswith("220 ")
    assert asyncio.get_running_loop().time() - began >= 1.98
    await patient.close()
    local = await stage.connect(local_addr=("127.0.0.1", 0))
    local.writer.write(b"EHLO client.example\r\n")
    assert (await local.reply()).startswith("220 ")  # our own machine may, and waits for nothing
    await local.close()


async def test_what_has_come_with_the_connection_is_too_early() -> None:
    plain = Stage()
    plain.server.callers = Callers(time.monotonic)
    client: Any = plain.connect("192.0.2.1")
    client.feed(b"EHLO client.example\r\n")
    await plain.until(lambda: client.is_closed)
    assert client.written == b"554 5.5.1 Data before the greeting\r\n"
    await plain.until(lambda: not plain.server.connections)
    plain.close()


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"X" * 5000, id="a line without end"),
        pytest.param(b"EHLO a.test\r\nMAIL FROM:<>\r\nRCPT TO:<alice@example.test>\r\nBDAT x\r\n", id="no size"),
        pytest.param(b"EHLO a.test\r\n" * 102, id="greetings"),
        pytest.param(b"X\r\n" * 10, id="failed commands"),
    ],
)
async def test_what_counts_as_a_failure_of_the_address(data: bytes) -> None:
    plain = Stage()
    failed: list[str] = []
    plain.server.callers = Callers(time.monotonic)
    plain.server.callers.on_failure = lambda caller: failed.append(caller.address.name)
    client: Any = plain.connect("192.0.2.1")
    await plain.until(lambda: client.written.startswith(b"220 "))
    client.feed(data)
    await plain.until(lambda: client.is_closed)
    await plain.until(lambda: not plain.server.connections)
    assert failed == ["192.0.2.1"], client.written
    plain.close()
