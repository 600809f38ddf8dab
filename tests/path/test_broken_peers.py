"""Peers that hang up, stall, or talk nonsense: the mail waits, the reason is said, mta lives, and a later attempt delivers once."""

import pytest

from tests.path.ground import Ground, mail
from tests.support.peer import Script

pytestmark = [pytest.mark.path, pytest.mark.connected]

STAGES = ("connect", "greeting", "ehlo", "mail", "rcpt", "data", "content", "eom")


@pytest.mark.parametrize("stage", STAGES)
def test_a_peer_that_hangs_up(ground: Ground, stage: str) -> None:
    script = Script(drop_at=stage)
    peer = ground.world.exchanger(f"drops-at-{stage}.test", script)
    dest = f"carol@drops-at-{stage}.test"

    msgid = ground.send("alice@example.test", [dest], mail("interrupted"))

    waiting = ground.await_deferred(msgid, dest)
    assert waiting["envelope"]["error_line"].startswith("451 4.4.")
    assert peer.messages == []
    script.drop_at = ""
    ground.make_due(msgid, dest)
    ground.await_done(msgid)
    assert [message.rcpts for message in peer.messages] == [[dest]]
    assert all(replica.start_count == 1 and replica.is_ready for replica in ground.fleet.roles["mta"])


@pytest.mark.parametrize(
    ("name", "stage", "raw"),
    [
        ("http", "greeting", b"HTTP/1.1 400 Bad Request\r\nServer: no\r\n\r\n"),
        ("binary", "greeting", bytes(range(256)) * 8 + b"\r\n"),
        ("endless", "greeting", b"220-" + b"x" * 200_000),
        ("endless-lines", "ehlo", b"250-AGAIN\r\n" * 40_000),
        ("no-code", "ehlo", b"hello there\r\n"),
        ("nul", "mail", b"250 2.1.0\x00 Ok\x00\r\n"),
        ("huge-code", "rcpt", b"99999 Ok\r\n"),
        ("early-data", "rcpt", b"354 Go ahead\r\n"),
        ("silly-eom", "eom", b"\xff\xfe\xfd\r\n"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_peer_that_talks_nonsense(ground: Ground, name: str, stage: str, raw: bytes) -> None:
    script = Script(raw={stage: raw})
    peer = ground.world.exchanger(f"{name}.test", script)
    dest = f"carol@{name}.test"

    msgid = ground.send("alice@example.test", [dest], mail("is anybody there?"))

    line = ground.await_deferred(msgid, dest)["envelope"]["error_line"]
    assert line.startswith("451 4.") and line.isprintable()
    script.raw.clear()
    peer.messages.clear()  # silly-eom: it had taken the message, whatever it meant to say
    ground.make_due(msgid, dest)
    ground.await_done(msgid)
    assert [message.rcpts for message in peer.messages] == [[dest]]
    assert all(replica.start_count == 1 and replica.is_ready for replica in ground.fleet.roles["mta"])


def test_the_last_line_of_a_reply_counts(ground: Ground) -> None:
    peer = ground.world.exchanger("two-codes.test", Script(raw={"ehlo": b"250-PIPELINING\r\n550 No\r\n"}))
    msgid = ground.send("alice@example.test", ["carol@two-codes.test"], mail("EHLO refused, HELO then"))
    ground.await_done(msgid)
    (message,) = peer.messages
    assert peer.commands[1] == "HELO mx.example.test" and message.mail_parameters == ""


def test_a_peer_that_is_tired_of_us_after_two_messages(ground: Ground) -> None:
    peer = ground.world.exchanger("two-each.test", Script(mails_max=2))
    with ground.client() as client:
        msgids = [client.deliver("alice@example.test", ["carol@two-each.test"], mail(f"{n}")) for n in range(7)]
    for msgid in msgids:
        ground.await_done(msgid)
    assert len(peer.messages) == 7


def test_a_peer_that_drops_an_idle_connection(ground: Ground) -> None:
    peer = ground.world.exchanger("tired.test")
    ground.await_done(ground.send("alice@example.test", ["carol@tired.test"], mail("one")))
    ground.world.call(peer.hang_up)
    ground.await_done(ground.send("alice@example.test", ["carol@tired.test"], mail("two")))
    assert [message.connection for message in peer.messages] == [1, 2]
