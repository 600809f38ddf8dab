"""SRS through a whole fleet: mail is forwarded with a sender of ours, its bounce comes back through smtp-in and reaches who wrote it."""

import os
import re
import time
from collections.abc import Iterator

import pytest

from smtpfleet.mail.srs import encode
from tests.path.ground import STRANGER, Ground, mail, until
from tests.support.peer import Peer, Received

pytestmark = [pytest.mark.path, pytest.mark.connected]

KEY = "s3cret-of-the-operator"
CONFIG = f"""\
srs key "{KEY}"
table users file:@ETC@/users
table aliases {{ "info" = "bob@elsewhere.test", "pair" = "bob@elsewhere.test, erin" }}
listen on 127.0.0.1 port @SMTP_PORT@ hostname mx.example.test
action "in" maildir "~/Maildir" alias <aliases> userbase <users>
action "out" relay srs
match from any for domain "example.test" action "in"
match from local for any action "out"
"""
CAROL = "carol@abroad.test"


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    root = tmp_path_factory.mktemp("srs")
    (root / "etc").mkdir()
    users = [f"{user} {os.getuid()}:{os.getgid()}:{root}/mail/{user}\n" for user in ("alice", "erin")]
    (root / "etc" / "users").write_text("".join(users))
    with Ground(root, config=CONFIG) as ground:
        forward = root / "mail" / "alice" / ".forward"
        forward.write_text("bob@elsewhere.test\n")
        forward.chmod(0o600)
        yield ground


@pytest.fixture(scope="module")
def elsewhere(ground: Ground) -> Peer:
    """Where mail is forwarded to."""
    return ground.world.exchanger("elsewhere.test")


@pytest.fixture(scope="module")
def abroad(ground: Ground) -> Peer:
    """Carol's exchanger."""
    return ground.world.exchanger("abroad.test")


def forward(ground: Ground, peer: Peer, user: str = "info") -> Received:
    """A message of Carol's to `user`, as `peer` got it."""
    count = len(peer.messages)
    ground.await_done(ground.send(CAROL, [f"{user}@example.test"], mail("forward me"), source=STRANGER))
    return peer.messages[count]


def rcpt(ground: Ground, address: str, sender: str = "") -> tuple[int, str]:
    with ground.client(STRANGER) as client:
        client.mail(sender)
        code, text = client.rcpt(address)
        return code, text.decode()


@pytest.mark.parametrize("user", ["info", "alice"], ids=["by an alias", "by a .forward"])
def test_a_bounce_of_forwarded_mail_reaches_who_wrote_it(
    ground: Ground, elsewhere: Peer, abroad: Peer, user: str
) -> None:
    forwarded = forward(ground, elsewhere, user)
    assert forwarded.rcpts == ["bob@elsewhere.test"]
    assert re.fullmatch(r"SRS0=[A-Za-z0-9+/]{4}=[A-Z2-7]{2}=abroad\.test=carol@example\.test", forwarded.sender)

    bounce_id = ground.send("", [forwarded.sender], mail("Undelivered"), source=STRANGER)

    ground.await_done(bounce_id)
    bounce = abroad.messages[-1]
    assert (bounce.sender, bounce.rcpts) == ("", [CAROL])
    assert b"Subject: Undelivered" in bounce.content
    line = ground.await_line(bounce_id, "mta delivery")
    assert f"from=<> to=<{CAROL}> rcpt=<{forwarded.sender}>" in line


def test_what_stays_here_and_what_is_only_relayed_keep_their_sender(ground: Ground, elsewhere: Peer) -> None:
    msgid = ground.send(CAROL, ["pair@example.test"], mail("both ways"), source=STRANGER)
    assert b"Return-Path: <carol@abroad.test>" in ground.await_delivered("erin", msgid)
    assert elsewhere.messages[-1].sender.startswith("SRS0=")
    ground.await_done(ground.send("erin@example.test", ["bob@elsewhere.test"], mail("of ours")))
    assert elsewhere.messages[-1].sender == "erin@example.test"


def test_a_bounce_that_is_forwarded_stays_one(ground: Ground, elsewhere: Peer) -> None:
    ground.await_done(ground.send("", ["info@example.test"], mail("a bounce"), source=STRANGER))
    assert elsewhere.messages[-1].sender == ""


def test_it_opens_no_relay(ground: Ground, elsewhere: Peer) -> None:
    address = forward(ground, elsewhere).sender
    assert rcpt(ground, address)[0] == 250
    forged = address.replace("=carol@", "=mallory@")
    assert rcpt(ground, forged) == (550, "5.1.1 Invalid recipient")
    assert rcpt(ground, address.replace("@example.test", "@foreign.test")) == (550, "5.7.1 Invalid recipient")
    assert rcpt(ground, address, sender="spammer@bulk.test") == (550, "5.1.1 Invalid recipient")
    assert rcpt(ground, CAROL) == (550, "5.7.1 Invalid recipient")


def test_mail_that_another_forwarder_rewrote_goes_back_to_him(ground: Ground, elsewhere: Peer) -> None:
    first = ground.world.exchanger("first.test")
    theirs = str(encode(CAROL, "first.test", "their key", int(time.time()) // 86400))
    ground.await_done(ground.send(theirs, ["info@example.test"], mail("twice forwarded"), source=STRANGER))
    ours = elsewhere.messages[-1].sender
    assert re.fullmatch(r"SRS1=.{4}=first\.test==.{4}=..=abroad\.test=carol@example\.test", ours)
    ground.await_done(ground.send("", [ours], mail("Undelivered"), source=STRANGER))
    assert [(each.sender, each.rcpts) for each in first.messages] == [("", [theirs])]


@pytest.mark.parametrize("is_rewritten", [False, True], ids=["carol", "carol behind an address of ours"])
def test_our_own_bounce_goes_to_who_wrote_it(ground: Ground, elsewhere: Peer, abroad: Peer, is_rewritten: bool) -> None:
    sender = forward(ground, elsewhere).sender if is_rewritten else CAROL
    elsewhere.script.rcpts["bob@elsewhere.test"] = "550 5.1.1 No such user"
    try:
        count = len(abroad.messages)
        ground.send(sender, ["info@example.test"], mail("refused"), source=STRANGER)
        until(lambda: len(abroad.messages) > count, "a bounce with carol")
    finally:
        del elsewhere.script.rcpts["bob@elsewhere.test"]
    bounce = abroad.messages[-1]
    assert (bounce.sender, bounce.rcpts) == ("", [CAROL])


def test_without_config_nothing_goes_unrewritten_and_a_bounce_waits(ground: Ground, elsewhere: Peer) -> None:
    address = forward(ground, elsewhere).sender
    count = len(elsewhere.messages)
    ground.fleet.replica("config").kill9()
    assert rcpt(ground, address)[0] == 451
    msgid = ground.send(CAROL, ["info@example.test"], mail("waits"), source=STRANGER)
    ground.await_deferred(msgid, "bob@elsewhere.test")
    assert len(elsewhere.messages) == count
    ground.fleet.replica("config").start()
    until(lambda: rcpt(ground, address)[0] == 250, "config to be back")
    ground.make_due(msgid, "bob@elsewhere.test")
    ground.await_done(msgid)
    assert elsewhere.messages[-1].sender.startswith("SRS0=")


def test_a_new_key_counts_at_once_and_the_old_one_as_long_as_it_is_named(ground: Ground, elsewhere: Peer) -> None:
    address = forward(ground, elsewhere).sender
    renewed = CONFIG.replace(f'srs key "{KEY}"', f'srs key "another"\nsrs key backup "{KEY}"')
    try:
        ground.fleet.write_config(renewed)
        until(lambda: forward(ground, elsewhere).sender != address, "mail signed with the new key")
        assert rcpt(ground, address)[0] == 250
        ground.fleet.write_config(CONFIG.replace(KEY, "another"))
        until(lambda: rcpt(ground, address)[0] == 550, "the old key forgotten")
    finally:
        ground.fleet.write_config(CONFIG)
    until(lambda: rcpt(ground, address)[0] == 250, "the first key back")


def test_the_key_is_in_no_log_and_not_in_the_bucket(ground: Ground, elsewhere: Peer) -> None:
    forward(ground, elsewhere)
    for folder, is_there in (("log", b"mta delivery"), ("nats", b"mx.example.test")):
        found = [path.read_bytes() for path in (ground.fleet.root / folder).rglob("*") if path.is_file()]
        assert any(is_there in content for content in found), "what is written there can be read"
        assert not any(KEY.encode() in content for content in found)
