"""Mail for users of ours: from a client through smtp-in, queue, scheduler and mda into a maildir, unchanged and with its headers."""

import re
import smtplib

import pytest

from tests.path.ground import MAX_MESSAGE_BYTES, STRANGER, Ground, mail, until

pytestmark = [pytest.mark.path, pytest.mark.connected]

RECEIVED = re.compile(
    rb"Received: from client\.test \(<unknown> \[127\.0\.0\.2\]\)\n"
    rb"\tby mx\.example\.test \(smtpfleet\) with ESMTP id ([0-9a-f]{16})\n"
    rb"\tfor <alice\+news@example\.test>;\n"
    rb"\t\w{3}, \d{1,2} \w{3} \d{4} \d\d:\d\d:\d\d \+0000 \(UTC\)\n"
)


def test_a_message_arrives_with_its_trace_headers(ground: Ground) -> None:
    content = b"From: carol@abroad.test\r\nSubject: trace\r\n\r\nFirst line\r\n.\r\n..two dots\r\nlast line\r\n"

    msgid = ground.send("carol@abroad.test", ["alice+news@example.test"], content, source=STRANGER)

    lines = ground.await_delivered("alice", msgid)
    prefix = b"Return-Path: <carol@abroad.test>\nDelivered-To: alice+news@example.test\n"
    assert lines.startswith(prefix)
    received = RECEIVED.match(lines[len(prefix) :])
    assert received and received[1].decode() == msgid
    assert lines[len(prefix) + received.end() :] == content.replace(b"\r\n", b"\n")


def test_the_log_follows_a_message_through_the_roles(ground: Ground) -> None:
    msgid = ground.send("carol@abroad.test", ["bob@example.test"], mail("followed"), source=STRANGER)
    ground.await_delivered("bob", msgid)
    story = ground.story(msgid)
    evpid = msgid + "00000001"
    assert re.search(rf"smtp-in [0-9a-f]{{16}} smtp message msgid={msgid} size=\d+ nrcpt=1 proto=ESMTP", story)
    assert f"smtp envelope evpid={evpid} from=<carol@abroad.test> to=<bob@example.test>" in story
    assert re.search(rf'mda {evpid} mda delivery .*result="?Ok"?', story)


def test_an_alias_reaches_all_its_users_and_addresses_elsewhere(ground: Ground) -> None:
    peer = ground.world.exchanger("outside.test")

    msgid = ground.send("dave@abroad.test", ["everyone@example.test"], mail("to all"), source=STRANGER)

    ground.await_done(msgid)
    for user in ("alice", "bob"):
        (content,) = ground.delivered(user, msgid)
        assert b"\nDelivered-To: everyone@example.test\n" in content
    assert [(message.sender, message.rcpts) for message in peer.messages] == [
        ("dave@abroad.test", ["carol@outside.test"])
    ]


@pytest.mark.parametrize(
    ("rcpt", "users"),
    [("info@virtual.test", {"bob"}), ("pair@virtual.test", {"alice", "bob"}), ("any.one@virtual.test", {"alice"})],
    ids=["an address of the table", "an address that stands for two", "the domain's catch-all"],
)
def test_a_virtual_domain(ground: Ground, rcpt: str, users: set[str]) -> None:
    msgid = ground.send("carol@abroad.test", [rcpt], mail("virtual"), source=STRANGER)
    ground.await_done(msgid)
    assert {user for user in ("alice", "bob") if ground.delivered(user, msgid)} == users


def test_an_unknown_user_is_refused_and_the_transaction_goes_on(ground: Ground) -> None:
    with ground.client(STRANGER) as client:
        client.mail("carol@abroad.test")
        code, text = client.rcpt("nobody@example.test")
        assert (code, text) == (550, b"5.1.1 Invalid recipient")
        assert client.rcpt("alice@example.test")[0] == 250
        code, text = client.data(mail("one of two"))
    assert code == 250
    content = ground.await_delivered("alice", text.split()[1].decode())
    assert b"nobody" not in content


def test_an_alias_can_refuse_for_now(ground: Ground) -> None:
    with ground.client(STRANGER) as client:
        client.mail("carol@abroad.test")
        assert client.rcpt("later@example.test")[0] == 451


def test_a_stranger_may_not_relay(ground: Ground) -> None:
    with ground.client(STRANGER) as client:
        client.mail("carol@abroad.test")
        code, text = client.rcpt("someone@elsewhere.test")
        assert code == 550 and text.startswith(b"5.7.1 ")
        assert client.docmd("DATA") == (503, b"5.5.1 No recipient specified")


def test_a_thousand_recipients_and_not_one_more(ground: Ground) -> None:
    rcpts = [f"{'alice' if n % 2 else 'bob'}+{n}@example.test" for n in range(1000)]
    with ground.client(STRANGER) as client:
        client.begin("carol@abroad.test", rcpts)
        assert client.rcpt("alice@example.test") == (452, b"4.5.3 Too many recipients")
        code, text = client.data(mail("a thousand"))
    assert code == 250
    msgid = text.split()[1].decode()
    ground.await_done(msgid, deadline_s=60)
    for user, odd in (("alice", 1), ("bob", 0)):
        to = {re.search(rb"\nDelivered-To: (\S+)\n", content)[1].decode() for content in ground.delivered(user, msgid)}
        assert to == {rcpt for n, rcpt in enumerate(rcpts) if n % 2 == odd}


def test_two_megabytes_arrive_byte_for_byte(ground: Ground) -> None:
    # Sent ahead in 256 KiB chunks: lines of all lengths, so that chunks end anywhere, before dots and inside CRLF, too.
    body = b"".join(b"." * (n % 3) + b"x" * (n % 900) + b"\r\n" for n in range(4800))
    assert 2_000_000 < len(body) < MAX_MESSAGE_BYTES

    msgid = ground.send("carol@abroad.test", ["alice@example.test"], b"Subject: large\r\n\r\n" + body, source=STRANGER)

    content = ground.await_delivered("alice", msgid)
    assert content.partition(b"\n\n")[2] == body.replace(b"\r\n", b"\n")


def test_a_mailbox_gets_each_of_many_messages_of_one_session_once(ground: Ground) -> None:
    with ground.client(STRANGER) as client:
        msgids = [
            client.deliver("carol@abroad.test", ["bob@example.test"], mail(f"number {n}", f"body {n}"))
            for n in range(60)
        ]
    assert len(set(msgids)) == 60
    for number, msgid in enumerate(msgids):
        assert ground.await_delivered("bob", msgid).endswith(f"\n\nbody {number}\n".encode())


def test_a_session_that_ends_in_the_middle_of_its_message_leaves_nothing(ground: Ground) -> None:
    def chunks_sent_ahead() -> object:
        return ground.fleet.redis.command("KEYS", "*}:token:*")

    client = ground.client(STRANGER)
    client.begin("carol@abroad.test", ["alice@example.test"])
    client.putcmd("DATA")
    assert client.getreply()[0] == 354
    client.send(b"Subject: cut off\r\n\r\n" + b"half of it\r\n" * 100_000)
    until(chunks_sent_ahead, "chunks in the store")
    client.close()
    until(lambda: not chunks_sent_ahead(), "the chunks gone")
    new = ground.fleet.mail / "alice" / "Maildir" / "new"
    assert not [path.name for path in new.glob("*") if b"half of it" in path.read_bytes()]


def test_smtplib_as_programs_use_it(ground: Ground) -> None:
    with smtplib.SMTP(*ground.fleet.smtp_address, source_address=(STRANGER, 0)) as client:
        refused = client.sendmail("carol@abroad.test", ["bob@example.test", "nobody@example.test"], "Subject: s\n\nb\n")
    assert refused == {"nobody@example.test": (550, b"5.1.1 Invalid recipient")}
