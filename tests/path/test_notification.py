"""RFC 3461 through the whole fleet: what a sender asks to be told, and who tells it."""

import re

import pytest

from tests.path.ground import Ground, mail, until
from tests.path.test_failures import report_blocks
from tests.support.peer import EXTENSIONS, Script

pytestmark = [pytest.mark.path, pytest.mark.connected]


def send_asking(ground: Ground, rcpt: str, parameters: list[str]) -> str:
    """One message from alice that asks; its msgid."""
    with ground.client() as client:
        assert client.mail("alice@example.test", ["RET=HDRS", "ENVID=QQ+2B7"])[0] == 250
        assert client.rcpt(rcpt, parameters)[0] == 250
        code, text = client.data(mail("asked", "secret body"))
        assert code == 250, text
    return text.split()[1].decode()


@pytest.mark.parametrize("action", ["delivered", "relayed"])
def test_success_is_told_where_nobody_else_will(ground: Ground, action: str) -> None:
    ground.world.exchanger(f"{action}.test")
    rcpt = "bob@example.test" if action == "delivered" else f"carol@{action}.test"
    msgid = send_asking(ground, rcpt, ["NOTIFY=SUCCESS,FAILURE", "ORCPT=rfc822;list+2Bx@origin.test"])
    bounce = ground.await_bounce(msgid)
    (block,) = report_blocks(bounce)
    assert (block["Action"], block["Final-Recipient"]) == (action, f"rfc822; {rcpt}")
    assert block["Original-Recipient"] == "rfc822;list+x@origin.test"
    text = bounce.as_string()
    assert "Original-Envelope-Id: QQ+7" in text and "secret body" not in text
    ground.await_done(msgid)


def test_a_peer_with_dsn_is_told_and_we_say_nothing(ground: Ground) -> None:
    peer = ground.world.exchanger("conforming.test", Script(extensions=(*EXTENSIONS, "DSN")))
    msgid = send_asking(ground, "carol@conforming.test", ["NOTIFY=SUCCESS"])
    ground.await_done(msgid)
    (message,) = until(lambda: peer.messages, "the message")
    assert "RET=HDRS" in message.mail_parameters and "ENVID=QQ+2B7" in message.mail_parameters
    assert message.rcpts == ["carol@conforming.test> NOTIFY=SUCCESS"]
    assert not re.search("queue bounced", ground.story(msgid))


def test_never_is_never(ground: Ground) -> None:
    ground.world.exchanger("refusing.test", Script(replies={"rcpt": "550 5.1.1 Nobody"}))
    msgid = send_asking(ground, "carol@refusing.test", ["NOTIFY=NEVER"])
    ground.await_line(msgid, "queue dropped")
    ground.await_done(msgid)
    assert not re.search("queue bounced", ground.story(msgid))
