"""How a connection ends that we end, over real sockets: the last reply is heard, and nobody is read for long."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from smtpfleet.smtp_in import lingering
from tests.support.secure_stage import SecureStage

LONG_LINE = b"MAIL FROM:<" + b"a" * 500_000
TOO_LONG = "500 5.5.2 Line too long"


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[SecureStage]:
    stage = SecureStage(tmp_path)
    await stage.listen()
    yield stage
    await stage.close()


async def until(condition: Callable[[], bool], within_s: float) -> None:
    ends_at = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < ends_at
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("attempt", range(10))
async def test_the_last_reply_is_heard_however_much_is_unread(stage: SecureStage, attempt: int) -> None:
    peer = await stage.greeted()
    assert await peer.say(LONG_LINE) == TOO_LONG
    assert await peer.reply() == ""
    await peer.close()
    await until(lambda: not stage.server.connections, 1.0)


async def test_who_says_quit_is_not_waited_for(stage: SecureStage) -> None:
    peer = await stage.greeted()
    assert await peer.say("QUIT") == "221 2.0.0 Bye"
    await until(lambda: not stage.server.connections, 1.0)
    await peer.close()


async def test_a_peer_that_stays_is_left_after_a_while(stage: SecureStage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lingering, "LINGER_S", 0.2)
    peer = await stage.greeted()
    assert await peer.say(LONG_LINE) == TOO_LONG
    assert stage.server.connections
    await until(lambda: not stage.server.connections, 2.0)
    await peer.close()


async def test_a_peer_that_goes_on_sending_is_left(stage: SecureStage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lingering, "LINGER_S", 60.0)
    peer = await stage.greeted()
    assert await peer.say(LONG_LINE) == TOO_LONG

    async def send() -> None:
        try:
            while stage.server.connections:
                peer.writer.write(b"a" * 65536)
                await peer.writer.drain()
        except ConnectionError:
            return

    await asyncio.wait_for(send(), 10.0)
    await until(lambda: not stage.server.connections, 1.0)
    await peer.close()
