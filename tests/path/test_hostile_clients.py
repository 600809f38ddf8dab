"""Clients that break the rules, break off, flood, dribble or stay for ever, against the running service: each hears a plain refusal or
nothing, and mail of others goes on.
"""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.path.ground import MAX_MESSAGE_BYTES, STRANGER, Ground, mail, until

pytestmark = [pytest.mark.path, pytest.mark.connected]

IDLE_SESSIONS = 400
"""Several hundred; ten thousand are measured by bench/idle.py."""


@contextmanager
def raw_session(ground: Ground, sent: bytes = b"", *, source: str = STRANGER) -> Iterator[socket.socket]:
    """A socket to smtp-in on which `sent` has been said, after the banner, which is still to be read."""
    with socket.create_connection(ground.fleet.smtp_address, timeout=20, source_address=(source, 0)) as connection:
        connection.recv(1, socket.MSG_PEEK)
        connection.sendall(sent)
        yield connection


def read_until(connection: socket.socket, end: bytes) -> bytes:
    """What comes until a line begins with `end` and is complete, or to the close of the connection."""
    heard = b""
    while chunk := connection.recv(65536):
        heard += chunk
        at = (b"\n" + heard).rfind(b"\n" + end)
        if at >= 0 and heard.endswith(b"\r\n"):
            break
    return heard


def converse(ground: Ground, sent: bytes, end: bytes = b"221") -> bytes:
    """All that is answered to `sent`."""
    with raw_session(ground, sent) as connection:
        return read_until(connection, end)


def replies_of(heard: bytes) -> int:
    """How many replies that is; a line that is continued is none yet (RFC 5321 §4.2.1)."""
    return sum(line[3:4] != b"-" for line in heard.splitlines())


HELLO = b"EHLO client.test\r\n"
TRANSACTION = HELLO + b"MAIL FROM:<carol@abroad.test>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\n"


@pytest.mark.parametrize(
    ("body", "refusal"),
    [
        (b"Subject: x\r\n\r\nbare\nfeed\r\n.\r\n", b"550 5.6.0 Message refused: bare LF"),
        (b"Subject: x\r\n\r\nbare\rreturn\r\n.\r\n", b"550 5.6.0 Message refused: bare CR"),
        (b"Subject: x\r\n\r\nnul\0\r\n.\r\n", b"550 5.6.0 Message refused: NUL"),
        (b"Subject: x\r\n\r\n" + b"x" * 2_000_000 + b"\r\n.\r\n", b"550 5.6.0 Message refused: line too long"),
        (b"Subject: x\r\n\r\n" + b"x" * 70 + b"\r\n\n.\n\r\n.\r\n", b"550 5.6.0 Message refused: bare LF"),
    ],
    ids=["bare LF", "bare CR", "NUL", "a line of two megabytes", "a dot between bare LFs"],
)
def test_content_that_is_refused(ground: Ground, body: bytes, refusal: bytes) -> None:
    heard = converse(ground, TRANSACTION + body + b"NOOP\r\nQUIT\r\n")
    *_, verdict, noop, bye = heard.splitlines()
    assert verdict.startswith(refusal)
    assert (noop, bye) == (b"250 2.0.0 Ok", b"221 2.0.0 Bye")


def test_a_message_that_is_too_big(ground: Ground) -> None:
    body = b"Subject: big\r\n\r\n" + (b"x" * 998 + b"\r\n") * (MAX_MESSAGE_BYTES // 1000 + 1)
    heard = converse(ground, TRANSACTION + body + b".\r\nQUIT\r\n")
    assert heard.splitlines()[-2] == b"554 5.3.4 Message too big"
    declared = HELLO + f"MAIL FROM:<carol@abroad.test> SIZE={MAX_MESSAGE_BYTES + 1}\r\nQUIT\r\n".encode()
    assert converse(ground, declared).splitlines()[-2] == b"552 5.3.4 Message too big"
    # What was sent ahead of the refusal does not stay in the store.
    until(lambda: not ground.fleet.redis.command("KEYS", "*}:token:*"), "the chunks gone")


def test_a_command_line_without_end(ground: Ground) -> None:
    heard = converse(ground, HELLO + b"MAIL FROM:<" + b"a" * 100_000)
    assert heard.splitlines()[-1] == b"500 5.5.2 Line too long"


@pytest.mark.parametrize(
    ("line", "count"),
    [
        (b"NOOP\r\n", 100),
        (b"RSET\r\n", 100),
        (b"XYZZY\r\n", 10),
        (b"\r\n", 10),
        (b"RCPT TO:<alice@example.test>\r\n", 10),
    ],
    ids=["NOOP", "RSET", "an unknown verb", "empty lines", "RCPT without MAIL"],
)
def test_a_flood_of_ten_thousand_commands(ground: Ground, line: bytes, count: int) -> None:
    source = ground.world.new_address()
    with raw_session(ground, HELLO, source=source) as connection:
        try:
            connection.sendall(line * 10_000)
            heard = read_until(connection, b"421")
        except ConnectionError:
            # The close crossed with what we still sent: the kernel may have thrown the last replies away.
            heard = b""
    session = ground.await_line(f"address={source}", "smtp connected").split()[2]
    ground.await_line(session, "smtp disconnected")
    assert heard == b"" or heard.splitlines()[-1].startswith(b"421 4.7.0 Too many ")
    assert replies_of(heard) <= count + 4  # the banner, EHLO, the one too many, 421
    assert ground.story(session).count("failed-command") <= count


def test_a_flood_of_transactions_without_a_message_is_obeyed_for_a_while(ground: Ground) -> None:
    # In one go; the hundred and first RSET without a message would end the session.
    heard = converse(ground, HELLO + b"MAIL FROM:<>\r\nRCPT TO:<alice@example.test>\r\nRSET\r\n" * 99 + b"QUIT\r\n")
    assert heard.count(b"250 2.1.5 Recipient ok") == 99 and heard.endswith(b"221 2.0.0 Bye\r\n")


def test_a_peer_that_reads_no_replies(ground: Ground) -> None:
    with raw_session(ground) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(1.0)
        with pytest.raises((TimeoutError, ConnectionError)):
            for _ in range(200):
                connection.sendall(b"HELP\r\nEHLO client.test\r\n" * 5000)
        msgid = ground.send("carol@abroad.test", ["bob@example.test"], mail("meanwhile"), source=STRANGER)
        ground.await_delivered("bob", msgid)


def test_a_client_that_closes_its_half_after_the_dot_hears_the_verdict(ground: Ground) -> None:
    with raw_session(ground, TRANSACTION + b"Subject: half\r\n\r\nclosed\r\n.\r\n") as connection:
        connection.shutdown(socket.SHUT_WR)
        heard = read_until(connection, b"never")
    verdict = heard.splitlines()[-1]
    assert verdict.startswith(b"250 2.0.0 ") and verdict.endswith(b"Message accepted for delivery")
    assert ground.await_delivered("alice", verdict.split()[2].decode()).endswith(b"\nclosed\n")


def test_a_client_that_closes_its_half_before_the_dot_has_sent_nothing(ground: Ground) -> None:
    with raw_session(ground, TRANSACTION + b"Subject: half\r\n\r\nnever ended\r\n") as connection:
        connection.shutdown(socket.SHUT_WR)
        heard = read_until(connection, b"never")
    assert heard.splitlines()[-1].startswith(b"354 ")


def test_mail_flows_between_hundreds_of_idle_sessions_and_a_slow_one(ground: Ground) -> None:
    smtp_in = ground.fleet.replica("smtp-in")
    idle = [socket.create_connection(ground.fleet.smtp_address, timeout=20) for _ in range(IDLE_SESSIONS)]
    try:
        for connection in idle:
            assert connection.recv(100).startswith(b"220 mx.example.test")
        assert smtp_in.metrics()["smtpfleet_smtp_sessions_open"] >= IDLE_SESSIONS
        slow = TRANSACTION + b"Subject: slow\r\n\r\nbyte by byte\r\n.\r\n"
        quick_s = []
        with raw_session(ground) as dribble:
            for at in range(len(slow)):
                dribble.sendall(slow[at : at + 1])
                time.sleep(0.005)
                if at == len(TRANSACTION) - 1:
                    opening = read_until(dribble, b"354 ")
                if at % 40 == 20:
                    started_at = time.monotonic()
                    ground.send("carol@abroad.test", ["bob@example.test"], mail("quick"), source=STRANGER)
                    quick_s.append(time.monotonic() - started_at)
            assert opening.splitlines()[-1].startswith(b"354 ")
            heard = read_until(dribble, b"250 2.0.0 ")
        ground.await_delivered("alice", heard.splitlines()[-1].split()[2].decode())
        assert sorted(quick_s)[len(quick_s) // 2] < 0.5, quick_s
        idle[-1].sendall(b"NOOP\r\n")
        assert idle[-1].recv(100) == b"250 2.0.0 Ok\r\n"
    finally:
        for connection in idle:
            connection.close()
    until(lambda: smtp_in.metrics()["smtpfleet_smtp_sessions_open"] < 10, "the idle sessions gone")


@pytest.mark.parametrize(
    "address",
    [b"<alice@example.test\x01>", b"<al\x7fice@example.test>", b"<alice\t@example.test\r>", b'<"a\0b"@example.test>'],
    ids=["SOH", "DEL", "bare CR", "NUL in quotes"],
)
def test_addresses_with_control_characters(ground: Ground, address: bytes) -> None:
    heard = converse(
        ground, HELLO + b"MAIL FROM:" + address + b"\r\nMAIL FROM:<>\r\nRCPT TO:" + address + b"\r\nQUIT\r\n"
    )
    sender, ok, rcpt, _ = heard.splitlines()[-4:]
    assert sender[:1] == b"5" and rcpt[:1] == b"5" and ok == b"250 2.0.0 Ok"
