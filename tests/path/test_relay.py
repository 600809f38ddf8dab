"""Mail for other domains: which exchanger is asked, what it is told, and how connections are used."""

import re
import time

import pytest

from tests.path.ground import CONNECTIONS_PER_RELAY, Ground, mail, until
from tests.support.peer import Script

pytestmark = [pytest.mark.path, pytest.mark.connected]


def test_the_first_exchanger_is_down_and_the_second_takes_it(ground: Ground) -> None:
    backup = ground.world.peer()
    ground.world.publish(f"""
        two-mx.test.        60 IN MX 10 down.two-mx.test.
        two-mx.test.        60 IN MX 20 backup.two-mx.test.
        down.two-mx.test.   60 IN A  {ground.world.new_address()}
        backup.two-mx.test. 60 IN A  {backup.address}
    """)

    msgid = ground.send("alice@example.test", ["carol@two-mx.test"], mail("second choice"))

    ground.await_done(msgid)
    (message,) = backup.messages
    assert (message.sender, message.rcpts, message.helo) == (
        "alice@example.test",
        ["carol@two-mx.test"],
        "mx.example.test",
    )
    line = ground.await_line(msgid, "mta delivery")
    assert f'relay="{backup.address} (backup.two-mx.test)"' in line
    assert 'result="Ok" stat="250 2.0.0 Ok: queued"' in line


def test_the_better_exchanger_is_preferred(ground: Ground) -> None:
    better, worse = ground.world.peer(), ground.world.peer()
    ground.world.publish(f"""
        both-up.test.        60 IN MX 20 worse.both-up.test.
        both-up.test.        60 IN MX 10 better.both-up.test.
        worse.both-up.test.  60 IN A  {worse.address}
        better.both-up.test. 60 IN A  {better.address}
    """)
    msgid = ground.send("alice@example.test", ["carol@both-up.test"], mail("first choice"))
    ground.await_done(msgid)
    assert (len(better.messages), worse.connection_count) == (1, 0)


def test_a_domain_without_exchangers_is_its_own(ground: Ground) -> None:
    host = ground.world.peer()
    ground.world.publish(f"no-mx.test. 60 IN A {host.address}")
    msgid = ground.send("alice@example.test", ["carol@no-mx.test"], mail("RFC 5321 §5.1"))
    ground.await_done(msgid)
    assert [message.rcpts for message in host.messages] == [["carol@no-mx.test"]]


def test_relay_via_a_host_asks_for_no_exchanger(ground: Ground) -> None:
    # ground.CONFIG: for domain "via.test" relay via "smtp://smarthost.test:…"
    smarthost, exchanger = ground.world.peer(), ground.world.exchanger("via.test")
    ground.world.publish(f"smarthost.test. 60 IN A {smarthost.address}")
    msgid = ground.send("alice@example.test", ["carol@via.test"], mail("by the smarthost"))
    ground.await_done(msgid)
    assert [message.rcpts for message in smarthost.messages] == [["carol@via.test"]]
    assert exchanger.connection_count == 0 and ground.world.zone.asked["via.test", "MX"] == 0


def test_recipients_here_and_there_in_one_transaction(ground: Ground) -> None:
    first, second = ground.world.exchanger("first-of-two.test"), ground.world.exchanger("second-of-two.test")
    rcpts = ["bob@example.test", "carol@first-of-two.test", "dave@first-of-two.test", "erin@second-of-two.test"]

    msgid = ground.send("alice@example.test", rcpts, mail("mixed"))

    assert b"\nDelivered-To: bob@example.test\n" in ground.await_delivered("bob", msgid)
    # Both recipients of a domain go in one transaction; nobody learns of the others.
    assert [message.rcpts for message in first.messages] == [["carol@first-of-two.test", "dave@first-of-two.test"]]
    assert [message.rcpts for message in second.messages] == [["erin@second-of-two.test"]]
    assert b"for <" not in first.messages[0].content


def test_what_a_peer_gets_is_what_the_client_sent(ground: Ground) -> None:
    peer = ground.world.exchanger("verbatim.test")
    content = (
        b"Subject: dots and \xfcmlauts\r\nX-Long: " + b"y" * 900 + b"\r\n\r\n.\r\n..\r\n...three\r\n\r\n\r\nno more"
    )

    msgid = ground.send("alice@example.test", ["carol@verbatim.test"], content + b"\r\n")

    ground.await_done(msgid)
    (message,) = peer.messages
    received = re.match(
        rb"Received: from client\.test .*\r\n\tby .*\r\n\tfor <carol@verbatim\.test>;\r\n\t.*\r\n", message.content
    )
    assert received and message.content[received.end() :] == content + b"\r\n"
    assert message.mail_parameters == f"SIZE={len(message.content)} BODY=8BITMIME"


def test_two_megabytes_are_relayed_byte_for_byte(ground: Ground) -> None:
    peer = ground.world.exchanger("large.test")
    body = b"".join(b"." * (n % 3) + b"x" * (n % 900) + b"\r\n" for n in range(4800))
    msgid = ground.send("alice@example.test", ["carol@large.test"], b"Subject: large\r\n\r\n" + body)
    ground.await_done(msgid)
    (message,) = peer.messages
    assert message.content.partition(b"\r\n\r\n")[2] == body


def test_a_connection_is_kept_for_what_comes_next(ground: Ground) -> None:
    peer = ground.world.exchanger("keep-alive.test")
    for number in range(10):
        msgid = ground.send("alice@example.test", ["carol@keep-alive.test"], mail(f"number {number}"))
        ground.await_done(msgid)
    # On a busy machine a session may come back for more after the next message has already woken another.
    connections = {message.connection for message in peer.messages}
    assert len(peer.messages) == 10
    assert len(connections) <= 3


def test_two_workers_share_a_relay_within_its_limit(ground: Ground) -> None:
    peer = ground.world.exchanger("shared.test", Script(slow_s=0.05))
    scheduler = ground.fleet.replica("scheduler")
    # A worker that started before the scheduler listened asks again half a second later: the other could take every session.
    until(
        lambda: scheduler.metrics().get('smtpfleet_scheduler_parked{agent="mta"}', 0) >= len(ground.fleet.roles["mta"]),
        "both workers asking for work",
    )
    with ground.client() as client:
        msgids = [client.deliver("alice@example.test", ["carol@shared.test"], mail(f"{n}")) for n in range(60)]

    most = 0
    ends_at = time.monotonic() + 60
    while len(peer.messages) < len(msgids):
        assert time.monotonic() < ends_at, f"{len(peer.messages)} of {len(msgids)} after a minute"
        most = max(most, len(peer.open_writers))
        time.sleep(0.002)

    assert 2 <= most <= CONNECTIONS_PER_RELAY
    for msgid in msgids:
        ground.await_done(msgid)
    by_replica = [replica.log_text.count("to=<carol@shared.test>") for replica in ground.fleet.roles["mta"]]
    assert sum(by_replica) == len(msgids) and min(by_replica) > 0


@pytest.mark.parametrize(
    ("starttls", "is_tls"),
    [("good", True), ("refused", False), ("broken", False)],
    ids=["a certificate from nobody will do", "STARTTLS refused", "handshake broken: again in clear"],
)
def test_opportunistic_tls(ground: Ground, starttls: str, is_tls: bool) -> None:
    peer = ground.world.exchanger(f"tls-{starttls}.test", Script(starttls=starttls))
    msgid = ground.send("alice@example.test", [f"carol@tls-{starttls}.test"], mail("perhaps in secret"))
    ground.await_done(msgid)
    (message,) = peer.messages
    assert message.is_tls is is_tls
    session = re.findall(r"session=([0-9a-f]{16})", ground.await_line(msgid, "mta delivery"))[0]
    assert ("mta tls ciphers=" in ground.story(session)) is is_tls


def test_a_peer_without_extensions_gets_one_command_at_a_time(ground: Ground) -> None:
    script = Script(replies={"ehlo": "502 5.5.1 What?"})
    peer = ground.world.exchanger("plain.test", script)
    script.extensions = ()
    msgid = ground.send("alice@example.test", ["carol@plain.test", "dave@plain.test"], mail("in 1982"))
    ground.await_done(msgid)
    (message,) = peer.messages
    assert message.mail_parameters == ""
    assert peer.commands[:2] == ["EHLO mx.example.test", "HELO mx.example.test"]
    assert peer.early_commands == []


def test_a_slow_peer_holds_up_nobody_else(ground: Ground) -> None:
    slow = ground.world.exchanger("slow.test", Script(slow_s=0.6))
    started_at = time.monotonic()
    waiting = ground.send("alice@example.test", ["carol@slow.test"], mail("slowly"))
    until(lambda: slow.connection_count, "a connection to the slow peer")
    quick = ground.send("alice@example.test", ["bob@example.test"], mail("quickly"))
    ground.await_delivered("bob", quick)
    assert not slow.messages, "the slow peer was not slow"
    ground.await_done(waiting)
    assert len(slow.messages) == 1 and time.monotonic() - started_at > 2.4
