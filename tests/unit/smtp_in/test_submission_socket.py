"""Local submission on a socket: who it is is told by the kernel; the file is replaced when nobody listens on it."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from smtpfleet.contracts.configuration import Listener
from smtpfleet.contracts.envelope import EnvelopeFlag
from smtpfleet.smtp_in.submission_socket import TakenByAnother, submission_socket
from tests.support.secure_stage import NAME, Peer, SecureStage


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[SecureStage]:
    stage = SecureStage(tmp_path)
    configuration = stage.configuration([])
    await stage.apply(
        msgspec.structs.replace(configuration, listeners=(Listener("socket", 0, NAME, "local", mask_source=False),))
    )
    yield stage
    await stage.close()


async def test_the_submitter_is_local_and_authenticated(stage: SecureStage, tmp_path: Path) -> None:
    assert not stage.listeners.missing
    peer = Peer(*await asyncio.open_unix_connection(tmp_path / "smtp.sock"))
    assert await peer.reply() == f"220 {NAME} ESMTP smtpfleet"
    assert "AUTH" not in await peer.say("EHLO localhost")
    assert (await peer.say("MAIL FROM:<root@example.test>")).startswith("250 ")
    assert (await peer.say("RCPT TO:<carol@abroad.test>")).startswith("250 ")
    assert (await peer.say("DATA")).startswith("354 ")
    assert "Message accepted" in await peer.say(b"Subject: x\r\n\r\nbody\r\n.\r\n")
    await peer.close()
    (message,), (content,) = stage.inner.queue.messages, stage.inner.queue.contents
    envelope = message.envelopes[0]
    assert (envelope.tag, envelope.peer, envelope.hostname) == ("local", "local", f"{os.getuid()}@localhost")
    assert envelope.flags == EnvelopeFlag.AUTHENTICATED
    assert content.startswith(f"Received: from localhost ({os.getuid()}@localhost [local])\r\n".encode())


async def test_addresses_without_a_domain_get_our_name(stage: SecureStage, tmp_path: Path) -> None:
    peer = Peer(*await asyncio.open_unix_connection(tmp_path / "smtp.sock"))
    await peer.reply()
    await peer.say("EHLO localhost")
    assert (await peer.say("MAIL FROM:<;id;>")).startswith("553 5.1.7")
    assert (await peer.say("MAIL FROM:<root>")).startswith("250 ")
    assert (await peer.say("RCPT TO:<alice>")).startswith("250 ")
    await peer.say("DATA")
    assert "Message accepted" in await peer.say(b"Subject: x\r\n\r\nbody\r\n.\r\n")
    await peer.close()
    ((envelope,),) = [message.envelopes for message in stage.inner.queue.messages]
    assert (envelope.sender, envelope.rcpt, envelope.dest) == (f"root@{NAME}", f"alice@{NAME}", f"alice@{NAME}")


def test_a_stale_socket_is_replaced_and_a_living_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "smtp.sock"
    submission_socket(str(path)).close()
    assert path.exists()
    living = submission_socket(str(path))
    with pytest.raises(TakenByAnother):
        submission_socket(str(path))
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    living.close()
    submission_socket(str(path)).close()


def test_a_listener_that_knows_no_lock_is_not_robbed(tmp_path: Path) -> None:
    path = tmp_path / "smtp.sock"
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.bind(str(path))
        stranger.listen()
        with pytest.raises(OSError, match="in use"):
            submission_socket(str(path))
    submission_socket(str(path)).close()


async def test_another_replica_stands_by_until_it_is_its_turn(stage: SecureStage, tmp_path: Path) -> None:
    other = SecureStage(tmp_path)
    await other.apply(stage.applied)
    assert not other.listeners.missing and other.listeners.is_standing_by
    await other.listeners.take_turn()
    assert other.listeners.is_standing_by
    stage.listeners.close()
    await other.listeners.take_turn()
    assert not other.listeners.is_standing_by
    peer = Peer(*await asyncio.open_unix_connection(tmp_path / "smtp.sock"))
    assert await peer.reply() == f"220 {NAME} ESMTP smtpfleet"
    await peer.close()
    await other.close()


def test_what_is_no_socket_stays(tmp_path: Path) -> None:
    path = tmp_path / "smtp.sock"
    path.write_text("precious")
    with pytest.raises(OSError, match="in use"):
        submission_socket(str(path))
    assert path.read_text() == "precious"
