"""What becomes of mail that cannot be delivered: tried again, bounced, or dropped, recipient by recipient."""

import time
from datetime import datetime, timedelta

import pytest

from tests.path.ground import Ground, mail, report_blocks
from tests.support.peer import Script

pytestmark = [pytest.mark.path, pytest.mark.connected]


def test_each_recipient_has_its_own_outcome(ground: Ground) -> None:
    script = Script(
        rcpts={
            "full@mixed.test": "452 4.2.2 Mailbox full",
            "gone@mixed.test": "550 5.1.1 No such user here",
            "left@mixed.test": "551 5.1.6 Moved away",
        }
    )
    peer = ground.world.exchanger("mixed.test", script)
    rcpts = ["carol@mixed.test", "full@mixed.test", "gone@mixed.test", "left@mixed.test"]

    msgid = ground.send("alice@example.test", rcpts, mail("four fates"))

    waiting = ground.await_deferred(msgid, "full@mixed.test")
    assert waiting["envelope"]["error_line"] == "452 4.2.2 Mailbox full"
    assert [message.rcpts for message in peer.messages] == [["carol@mixed.test"]]

    bounce = ground.await_bounce(msgid)
    assert (bounce["Return-Path"], bounce["To"]) == ("<>", "<alice@example.test>")
    assert bounce["Auto-Submitted"] == "auto-replied"
    gone, left = report_blocks(bounce)
    assert (gone["Final-Recipient"], gone["Action"], gone["Status"]) == ("rfc822; gone@mixed.test", "failed", "5.1.1")
    assert gone["Remote-MTA"] == "dns; mx.mixed.test"
    assert gone["Diagnostic-Code"] == "smtp; 550 5.1.1 No such user here"
    assert (left["Final-Recipient"], left["Status"]) == ("rfc822; left@mixed.test", "5.1.6")
    assert "Subject: four fates" in bounce.get_payload(2).get_payload()

    # The one that waits is alone now; its mailbox is emptied, and it is delivered, too.
    assert list(ground.envelopes(msgid)) == ["full@mixed.test"]
    script.rcpts.clear()
    ground.make_due(msgid, "full@mixed.test")
    ground.await_done(msgid)
    assert [message.rcpts for message in peer.messages] == [["carol@mixed.test"], ["full@mixed.test"]]


def test_the_next_attempt_is_400_seconds_after_the_first(ground: Ground) -> None:
    ground.world.exchanger("later.test", Script(rcpts={"carol@later.test": "450 4.2.0 Not now"}))
    msgid = ground.send("alice@example.test", ["carol@later.test"], mail("later"))
    waiting = ground.await_deferred(msgid, "carol@later.test")
    assert waiting["envelope"]["retry"] == 1
    # OpenSMTPD's formula: 800 s * n² / 2 from creation.
    due_at, created_at = (
        datetime.fromisoformat(text) for text in (waiting["due_at"], waiting["envelope"]["created_at"])
    )
    assert due_at - created_at == timedelta(seconds=400)
    assert 'result="TempFail" stat="450 4.2.0 Not now"' in ground.await_line(msgid, "mta delivery")


def test_the_queue_is_counted(ground: Ground) -> None:
    ground.world.exchanger("counted.test", Script(replies={"rcpt": "450 4.2.0 Not now"}))
    before = ground.ask("/v1/queue")
    rcpts = ["carol@counted.test", "dave@counted.test"]
    msgid = ground.send("alice@example.test", rcpts, mail("counted"))
    for dest in rcpts:
        ground.await_deferred(msgid, dest)
    after = ground.ask("/v1/queue")
    assert {name: after[name] - before[name] for name in ("messages", "envelopes", "pending")} == {
        "messages": 1, "envelopes": 2, "pending": 2
    }  # fmt: skip
    assert (after["inflight"], after["bouncing"], after["quarantined"]) == (0, 0, 0)


def test_greylisting_is_outwaited(ground: Ground) -> None:
    peer = ground.world.exchanger("grey.test", Script(is_greylisting=True))
    msgid = ground.send("alice@example.test", ["carol@grey.test", "dave@grey.test"], mail("patience"))
    for dest in ("carol@grey.test", "dave@grey.test"):
        assert "Greylisted" in ground.await_deferred(msgid, dest)["envelope"]["error_line"]
    for dest in ("carol@grey.test", "dave@grey.test"):
        ground.make_due(msgid, dest)
    ground.await_done(msgid)
    assert sorted(rcpt for message in peer.messages for rcpt in message.rcpts) == ["carol@grey.test", "dave@grey.test"]


@pytest.mark.parametrize(
    ("stage", "reply", "status"),
    [
        ("mail", "554 5.7.1 We do not like you", "5.7.1"),
        ("data", "554 5.3.4 Not today", "5.3.4"),
        ("eom", "550 5.6.0 Looks like spam", "5.6.0"),
    ],
)
def test_a_refusal_of_the_whole_message_bounces_every_recipient(
    ground: Ground, stage: str, reply: str, status: str
) -> None:
    peer = ground.world.exchanger(f"no-{stage}.test", Script(replies={stage: reply}))
    rcpts = [f"carol@no-{stage}.test", f"dave@no-{stage}.test"]
    msgid = ground.send("bob@example.test", rcpts, mail("refused"))
    blocks = report_blocks(ground.await_bounce(msgid, "bob"))
    assert [(block["Final-Recipient"], block["Status"]) for block in blocks] == [
        (f"rfc822; {rcpt}", status) for rcpt in rcpts
    ]
    ground.await_done(msgid)
    assert peer.messages == []


@pytest.mark.parametrize(
    ("domain", "records", "status"),
    [
        ("null-mx.test", "null-mx.test. 60 IN MX 0 .", "5.1.10"),
        ("no-such-domain.test", "", "5.1.2"),
    ],
    ids=["the domain says that it takes no mail", "there is no such domain"],
)
def test_dns_says_no(ground: Ground, domain: str, records: str, status: str) -> None:
    ground.world.publish(records)
    msgid = ground.send("alice@example.test", [f"carol@{domain}"], mail("nowhere"))
    (block,) = report_blocks(ground.await_bounce(msgid))
    assert (block["Final-Recipient"], block["Status"]) == (f"rfc822; carol@{domain}", status)
    assert "Remote-MTA" not in block
    ground.await_done(msgid)


def test_dns_does_not_know_yet(ground: Ground) -> None:
    peer = ground.world.peer()
    ground.world.publish("servfail.test SERVFAIL")
    msgid = ground.send("alice@example.test", ["carol@servfail.test"], mail("perhaps"))
    waiting = ground.await_deferred(msgid, "carol@servfail.test")
    assert waiting["envelope"]["error_line"] == "451 4.4.3 Temporary failure in MX lookup"

    ground.world.withdraw("servfail.test SERVFAIL")
    ground.world.publish(f"servfail.test. 60 IN MX 10 mx.servfail.test.\nmx.servfail.test. 60 IN A {peer.address}")
    ground.make_due(msgid, "carol@servfail.test")
    ground.await_done(msgid)
    assert len(peer.messages) == 1


def test_nobody_is_told_where_the_sender_is_null(ground: Ground) -> None:
    ground.world.exchanger("refuses.test", Script(rcpts={"carol@refuses.test": "550 5.1.1 Unknown"}))
    msgid = ground.send("", ["carol@refuses.test"], mail("a bounce of somebody else's"))
    line = ground.await_line(msgid, "queue dropped")
    assert "reason=no-return-path" in line and "550 5.1.1 Unknown" in line
    ground.await_done(msgid)
    assert "queue bounced" not in ground.story(msgid)


def test_a_bounce_that_bounces_is_the_end(ground: Ground) -> None:
    peer = ground.world.exchanger("both-ways.test", Script(replies={"rcpt": "550 5.1.1 Unknown"}))
    msgid = ground.send("dave@both-ways.test", ["carol@both-ways.test"], mail("undeliverable"))
    bounce_id = ground.await_line(msgid, "queue bounced").partition("bounce=")[2][:16]
    assert "reason=double-bounce" in ground.await_line(bounce_id, "queue dropped")
    ground.await_done(bounce_id)
    assert [command for command in peer.commands if command.startswith("MAIL")][-1].startswith("MAIL FROM:<>")


def test_an_envelope_expires_and_says_what_kept_it(ground: Ground) -> None:
    # ground.CONFIG: mail for shortlived.test expires after 1 s.
    ground.world.exchanger("shortlived.test", Script(rcpts={"carol@shortlived.test": "450 4.2.0 Not now"}))
    started_at = time.monotonic()
    msgid = ground.send("alice@example.test", ["carol@shortlived.test"], mail("too late"))
    (block,) = report_blocks(ground.await_bounce(msgid))
    assert time.monotonic() - started_at > 1
    assert block["Status"] == "5.4.7"
    code = " ".join(block["Diagnostic-Code"].split())
    assert code == "smtp; 554 5.4.7 Envelope expired: 450 4.2.0 Not now"
    assert "queue expired" in ground.story(msgid)
    ground.await_done(msgid)
