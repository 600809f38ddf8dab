"""Listening sockets follow the configuration without dropping a session; replicas share a port."""

import asyncio
import io
import socket

import msgspec

from smtpfleet.contracts.configuration import Configuration, Listener
from smtpfleet.mail.tables import Tables
from smtpfleet.runtime.maillog import MailLog
from smtpfleet.smtp_in.listener import Listeners
from smtpfleet.smtp_in.server import Connection
from tests.support.smtp_stage import Stage, make_configuration

HOST = "127.0.0.1"


def listening_on(*listeners: Listener) -> Configuration:
    return msgspec.structs.replace(make_configuration(), listeners=listeners)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def listeners_of(stage: Stage, text: io.StringIO | None = None) -> Listeners:
    return Listeners(
        MailLog("smtp-in", stream=text or io.StringIO()),
        lambda entrance, arrived: Connection(stage.server, entrance, arrived),
    )


async def banner(port: int) -> bytes:
    reader, writer = await asyncio.open_connection(HOST, port)
    line = await reader.readline()
    await hang_up(writer)
    return line


async def hang_up(writer: asyncio.StreamWriter) -> None:
    writer.close()
    await writer.wait_closed()


async def is_refused(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(HOST, port)
    except ConnectionRefusedError:
        return True
    await hang_up(writer)
    return False


async def test_listeners_come_go_and_change_without_dropping_a_session(stage: Stage) -> None:
    first, second = free_port(), free_port()
    listeners = listeners_of(stage)
    configuration = listening_on(Listener(HOST, first, "one.example.test", ""))
    await listeners.apply(configuration, Tables(configuration))
    reader, writer = await asyncio.open_connection(HOST, first)
    assert await reader.readline() == b"220 one.example.test ESMTP smtpfleet\r\n"

    configuration = listening_on(
        Listener(HOST, first, "other.example.test", "x"), Listener(HOST, second, "two.example.test", "")
    )
    await listeners.apply(configuration, Tables(configuration))
    assert (await banner(first)).startswith(b"220 other.example.test")
    assert (await banner(second)).startswith(b"220 two.example.test")

    configuration = listening_on(Listener(HOST, second, "two.example.test", ""))
    await listeners.apply(configuration, Tables(configuration))
    assert await is_refused(first)
    writer.write(b"NOOP\r\nQUIT\r\n")
    assert await reader.read() == b"250 2.0.0 Ok\r\n221 2.0.0 Bye\r\n"
    await hang_up(writer)
    listeners.close()


async def test_replicas_share_a_port(stage: Stage) -> None:
    port = free_port()
    configuration = listening_on(Listener(HOST, port, "mx.example.test", ""))
    replicas = [listeners_of(stage) for _ in range(2)]
    for replica in replicas:
        await replica.apply(configuration, Tables(configuration))
    assert [replica.ports for replica in replicas] == [[(HOST, port)]] * 2
    replicas[0].close()
    assert (await banner(port)).startswith(b"220")
    replicas[1].close()


async def test_an_address_in_use_is_named_once_and_tried_again(stage: Stage) -> None:
    taken = socket.create_server((HOST, 0))
    port = taken.getsockname()[1]
    text = io.StringIO()
    listeners = listeners_of(stage, text)
    configuration = listening_on(Listener(HOST, port, "mx.example.test", ""))
    for _ in range(2):
        await listeners.apply(configuration, Tables(configuration))
        assert listeners.missing == {(HOST, port)}
    taken.close()
    await listeners.apply(configuration, Tables(configuration))
    assert not listeners.missing
    assert (await banner(port)).startswith(b"220")
    assert text.getvalue().count("cannot listen") == 1
    listeners.close()
