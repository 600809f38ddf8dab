"""Compression and encryption of the queue, through the whole fleet: what arrives, what Redis has written to its disk, and a key that is gone."""

import base64
import random
import smtplib
from pathlib import Path

import pytest

from tests.path.ground import CONFIG, Ground, mail, until
from tests.support.peer import Script

pytestmark = [pytest.mark.path, pytest.mark.connected]

KEY, NEW_KEY = "5a" * 32, "c3" * 32
ENCRYPTED = CONFIG.replace("max-message-size", "queue compression\nqueue encryption\nmax-message-size")


def on_disk(ground: Ground) -> bytes:
    """All that Redis ever wrote: its append-only files have every command."""
    files = [path for path in (ground.fleet.root / "redis").rglob("*") if path.is_file()]
    return b"".join(path.read_bytes() for path in files)


def restart_queue(ground: Ground, *keys: str) -> None:
    for queue in ground.fleet.roles["queue"]:
        queue.term()
        queue.wait(20)
        Path(str(queue.settings["queue_key_file"])).write_text("".join(f"{key}\n" for key in keys))
        queue.spawn()


def wake(ground: Ground, msgid: str) -> None:
    """Lets an envelope that nobody can read be tried now; Ground.make_due would look at its retry."""
    redis = ground.fleet.redis
    (due_key,) = [str(key) for key in redis.command("KEYS", "{s0}:due:mta:*")]  # type: ignore[union-attr]
    redis.command("ZADD", due_key, 1, msgid + "00000001")
    redis.command("ZADD", "{s0}:ready:mta", 1, due_key.split(":", 3)[3])


def test_mail_arrives_byte_for_byte_and_redis_never_had_it_in_the_clear(tmp_path: Path) -> None:
    key_file = tmp_path / "queue-key"
    key_file.write_text(KEY + "\n")
    random.seed(7)
    noise = base64.encodebytes(random.randbytes(2_000_000)).replace(b"\n", b"\r\n")
    prose = b"".join(b"Paragraph %d of a confidential report.\r\n" % number for number in range(40_000))
    contents = {
        "small": mail("Project Halcyon", "The merger is on the ninth."),
        "dots and eight bits": b"Subject: dots\r\n\r\n..two\r\n.\xc3\xa9\r\nThe merger is off.\r\n",
        "large prose": b"Subject: large\r\n\r\n" + prose,
        "large noise": b"Subject: noise\r\n\r\n" + noise,
    }
    secrets = (
        b"Halcyon",
        b"merger",
        b"confidential report",
        noise[70_000:70_060],
        b"carol@sealed.test",
        b"alice@example",
    )
    with Ground(
        tmp_path, replicas={"queue": 2}, config=ENCRYPTED, queue_settings={"queue_key_file": key_file}
    ) as ground:
        script = Script()
        peer = ground.world.exchanger("sealed.test", script)
        for content in contents.values():
            msgid = ground.send("alice@example.test", ["bob@example.test", "carol@sealed.test"], content)
            body = content.partition(b"\r\n\r\n")[2]
            in_maildir = ground.await_delivered("bob", msgid)
            assert in_maildir.partition(b"\n\n")[2] == body.replace(b"\r\n", b"\n")
            assert peer.messages[-1].content.partition(b"\r\n\r\n")[2] == body

        # deferred, so read back from the store; then refused, and its bounce brings the header home
        script.rcpts["carol@sealed.test"] = "451 4.7.1 Come back after the merger"
        msgid = ground.send("alice@example.test", ["carol@sealed.test"], contents["small"])
        ground.await_deferred(msgid, "carol@sealed.test")
        script.rcpts["carol@sealed.test"] = "550 5.7.1 No merger"
        ground.make_due(msgid, "carol@sealed.test")
        bounce = ground.await_bounce(msgid)
        assert "Subject: Project Halcyon" in bounce.get_payload(2).get_payload()

        written = on_disk(ground)
        assert msgid.encode() in written  # we look in the right place
        assert not [secret for secret in secrets if secret in written]
        assert len(written) < len(prose) + len(noise)
        log = ground.fleet.log_text()
        assert "queue encryption keys=" in log and KEY not in log


def test_a_queue_without_the_key_refuses_new_mail_and_keeps_the_old_until_it_is_back(tmp_path: Path) -> None:
    key_file = tmp_path / "queue-key"
    key_file.write_text(KEY + "\n")
    with Ground(tmp_path, config=ENCRYPTED, queue_settings={"queue_key_file": key_file}) as ground:
        script = Script(rcpts={"carol@waiting.test": "451 4.2.0 Not now"})
        peer = ground.world.exchanger("waiting.test", script)
        msgid = ground.send("alice@example.test", ["carol@waiting.test"], mail("kept"))
        ground.await_deferred(msgid, "carol@waiting.test")
        script.rcpts.clear()

        (queue,) = ground.fleet.roles["queue"]
        restart_queue(ground)
        until(lambda: "key for queue encryption" in queue.complaint(), "queue not ready")
        until(lambda: "queue encryption without a key" in queue.log_text, "queue says what it wants")
        assert "openssl rand -hex 32" in queue.log_text
        with ground.client() as client, pytest.raises(smtplib.SMTPDataError) as refusal:
            client.sendmail("alice@example.test", ["bob@example.test"], mail("refused"))
        assert refusal.value.smtp_code == 451
        assert b"refused" not in on_disk(ground)

        # another key takes new mail, and the old message waits for its own
        restart_queue(ground, NEW_KEY)
        until(lambda: queue.is_ready, "queue ready")
        other = ground.send("alice@example.test", ["bob@example.test"], mail("under the new key"))
        ground.await_delivered("bob", other)
        wake(ground, msgid)
        assert "key-missing" in ground.await_line(msgid, "queue waits")
        assert peer.messages == []

        restart_queue(ground, NEW_KEY, KEY)
        until(lambda: queue.is_ready, "queue ready")
        ground.make_due(msgid, "carol@waiting.test")
        ground.await_done(msgid)
        (message,) = peer.messages
        assert b"Subject: kept" in message.content
