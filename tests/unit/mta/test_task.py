"""What is checked before a message is shown to any peer."""

import msgspec
import pytest
from msgspec import structs

from smtpfleet.contracts.envelope import DsnNotify
from smtpfleet.contracts.status import S554_LOOP_DETECTED
from smtpfleet.mail.dots import stuff
from smtpfleet.mta.task import S553_BAD_ADDRESS, address_fault, check_content, mail_command, rcpt_commands, tasks_of
from smtpfleet.mta.transaction import _stuff_piece
from tests.unit.mta.building import message, remote

HOP = b"Received: from a by b; now\r\n"


@pytest.mark.parametrize("address", ["a@b.test", "", '"a b>"@c.test', "a+b@[192.0.2.1]"])
def test_sendable(address: str) -> None:
    assert address_fault(address) is None


@pytest.mark.parametrize(
    "address", ["a@b\r\nRSET", "a\nb@c", "a\0@b", "a\x7f@b", "a@b> SIZE=1", "a b@c", "<a@b", '"a\r\nDATA"@b']
)
def test_what_could_become_another_command_is_refused(address: str) -> None:
    assert address_fault(address) is S553_BAD_ADDRESS


def test_recipients_beyond_ascii_have_a_task_of_their_own() -> None:
    loaded = message(1, remote(), "jürgen@b.test", "alice@b.test")
    assert [(t.is_utf8, [e.dest for e in t.envelopes]) for t in tasks_of(loaded, None)] == [
        (True, ["jürgen@b.test"]),
        (False, ["alice@b.test"]),
    ]


def test_what_the_sender_asked_for_goes_to_a_peer_with_dsn_only() -> None:
    (task,) = tasks_of(message(1, remote(), "a@b.test", "c@b.test"), None)
    wants = DsnNotify.SUCCESS | DsnNotify.DELAY
    first, second = [structs.replace(e, dsn_ret="HDRS", dsn_envid="QQ+2B1") for e in task.envelopes]
    task.envelopes = [
        structs.replace(first, dsn_notify=int(wants), dsn_orcpt="rfc822;x+2By@c.test"),
        structs.replace(second, dsn_notify=int(DsnNotify.NEVER)),
    ]
    assert mail_command(task, has_size=False, has_8bitmime=False).endswith(b">\r\n")
    mail = mail_command(task, has_size=False, has_8bitmime=False, has_dsn=True)
    assert mail.endswith(b"> RET=HDRS ENVID=QQ+2B1\r\n")
    assert rcpt_commands(task) == [b"RCPT TO:<a@b.test>\r\n", b"RCPT TO:<c@b.test>\r\n"]
    assert rcpt_commands(task, has_dsn=True) == [
        b"RCPT TO:<a@b.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;x+2By@c.test\r\n",
        b"RCPT TO:<c@b.test> NOTIFY=NEVER\r\n",
    ]


@pytest.mark.parametrize(
    ("content", "verdict"),
    [
        pytest.param(HOP * 99 + b"\r\nx\r\n", None, id="99 hops"),
        pytest.param(HOP * 100 + b"\r\nx\r\n", S554_LOOP_DETECTED, id="100 hops"),
        pytest.param(HOP.upper() * 100 + b"\r\nx\r\n", S554_LOOP_DETECTED, id="letter case is no way out"),
        pytest.param(b"Subject: x\r\n\r\n" + HOP * 100, None, id="text of the body is no hop"),
    ],
)
def test_hops(content: bytes, verdict: object) -> None:
    assert check_content(content) is verdict


def test_one_transaction_per_sender() -> None:
    loaded = message(1, remote(), "a@r.test", "b@r.test", "c@r.test")
    changed = msgspec.structs.replace(loaded.envelopes[1], sender="other@sender.test")
    loaded = msgspec.structs.replace(loaded, envelopes=[loaded.envelopes[0], changed, loaded.envelopes[2]])
    assert [(t.sender, [e.dest for e in t.envelopes]) for t in tasks_of(loaded, None)] == [
        ("a@sender.test", ["a@r.test", "c@r.test"]),
        ("other@sender.test", ["b@r.test"]),
    ]


@pytest.mark.parametrize(
    ("content", "has_size", "has_8bitmime", "line"),
    [
        (b"x\r\n", True, True, b"MAIL FROM:<a@sender.test> SIZE=3\r\n"),
        (b"\xe4\r\n", True, True, b"MAIL FROM:<a@sender.test> SIZE=3 BODY=8BITMIME\r\n"),
        (b"\xe4\r\n", False, False, b"MAIL FROM:<a@sender.test>\r\n"),
    ],
)
def test_mail_command(content: bytes, has_size: bool, has_8bitmime: bool, line: bytes) -> None:
    (task,) = tasks_of(message(1, remote(), content=content), None)
    assert mail_command(task, has_size=has_size, has_8bitmime=has_8bitmime) == line


@pytest.mark.parametrize("step", range(1, 8))
def test_pieces_are_stuffed_as_the_whole(step: int) -> None:
    content = b".\r\n..\r\n\r\n.a\r\nb.\r\n.\r\n.\r.\n.\r\n"
    tail, out = b"\r\n", b""
    for at in range(0, len(content), step):
        stuffed, tail = _stuff_piece(tail, content[at : at + step])
        out += stuffed
    assert out == stuff(content)
