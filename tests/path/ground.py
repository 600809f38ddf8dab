"""A whole fleet and the world around it, with what path tests do to them: send, wait, look into queue, log and mailbox.

Every wait is until a condition with a deadline, and shows what was seen last. Messages are told apart by msgid: maildir names and log
lines have it. Who connects from 127.0.0.1 is local to the fleet, who connects from STRANGER is not.
"""

import email
import email.message
import json
import re
import smtplib
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from smtpfleet.contracts import ids, keys
from smtpfleet.local.fleet import Fleet
from tests.path.world import World

LOCAL = "127.0.0.1"
STRANGER = "127.0.0.2"
"""A loopback address that is none of the machine's own, which are 127.0.0.1 and those of its interfaces."""
DEADLINE_S = 30.0
"""A delivery takes some 50 ms alone; the rest is for a machine that does other things, too. Chosen."""
MAX_MESSAGE_BYTES = 4 * 1024 * 1024
CONNECTIONS_PER_RELAY = 3

CONFIG = """\
table domains { "example.test", "mx.example.test" }
table aliases { "postmaster" = "alice", "staff" = "alice, bob", "outside" = "carol@outside.test", \\
                "everyone" = "staff, outside", "later" = "error:451 Try later" }
table virtuals { "info@virtual.test" = "bob", "@virtual.test" = "alice", \\
                 "pair@virtual.test" = "alice@example.test, bob@example.test" }
table users file:@ETC@/users

max-message-size 4M
limit mta max-conn-per-relay 3

listen on 127.0.0.1 port @SMTP_PORT@ hostname mx.example.test

accept from any for domain <domains> alias <aliases> userbase <users> deliver to maildir "~/Maildir"
accept from any for domain "virtual.test" virtual <virtuals> userbase <users> deliver to maildir "~/Maildir"
accept from local for domain "shortlived.test" relay expire 1s
accept from local for domain "via.test" relay via "smtp://smarthost.test:@PEER_PORT@"
accept from local for any relay
"""

T = TypeVar("T")
_ACCEPTED = re.compile(rb"2\.0\.0 ([0-9a-f]{16}) Message accepted for delivery")


def until(look: Callable[[], T], what: str, deadline_s: float = DEADLINE_S) -> T:
    """What `look` returns once that is true; fails with what it returned last."""
    ends_at = time.monotonic() + deadline_s
    while not (found := look()):
        assert time.monotonic() < ends_at, f"{what}: not so after {deadline_s:g} s; seen last: {found!r}"
        time.sleep(0.02)
    return found


class Client(smtplib.SMTP):
    """smtplib's client, greeted already. `deliver` returns the msgid; a refusal is an AssertionError with the reply."""

    def __init__(self, address: tuple[str, int], source: str = LOCAL, *, timeout_s: float = 30.0) -> None:
        super().__init__(*address, local_hostname="client.test", timeout=timeout_s, source_address=(source, 0))
        self.ehlo()

    def begin(self, sender: str, rcpts: list[str]) -> None:
        code, text = self.mail(sender)
        assert code == 250, text
        for rcpt in rcpts:
            code, text = self.rcpt(rcpt)
            assert code == 250, (rcpt, text)

    def deliver(self, sender: str, rcpts: list[str], content: bytes) -> str:
        self.begin(sender, rcpts)
        code, text = self.data(content)
        accepted = _ACCEPTED.match(text)
        assert code == 250 and accepted, (code, text)
        return accepted[1].decode()


def mail(subject: str, body: str = "Hello") -> bytes:
    """A small message."""
    return f"From: alice@example.test\r\nSubject: {subject}\r\n\r\n{body}\r\n".encode()


class Ground:
    """A context manager: the world and a fleet in it, running."""

    def __init__(
        self,
        root: Path,
        *,
        replicas: dict[str, int] | None = None,
        config: str = CONFIG,
        queue_settings: dict[str, object] | None = None,
    ) -> None:
        self.world = World()
        self._queue_settings = queue_settings or {}
        self.config = config.replace("@PEER_PORT@", str(self.world.port))
        self._root = root
        self._replicas = replicas or {}

    def __enter__(self) -> Self:
        self.world.__enter__()
        try:
            # route_penalty_s: peers that are to fail and then to work are not avoided for a minute (unit tests have that).
            settings = {
                "mta": {
                    "nameservers": self.world.nameserver, "mx_port": self.world.port, "dns_timeout_s": 3, "route_penalty_s": 0
                },
                "config": {"config_poll_s": 0.2, "server_name": "mx.example.test"},
                "mda": {"forward_programs": True},
                "queue": self._queue_settings,
            }  # fmt: skip
            self.fleet = Fleet(self._root, replicas=self._replicas, settings=settings, config_text=self.config)
            self.fleet.__enter__()
        except BaseException:
            self.world.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.fleet.__exit__(kind, error, trace)
        finally:
            self.world.__exit__(kind, error, trace)

    # what we send

    def client(self, source: str = LOCAL) -> Client:
        return Client(self.fleet.smtp_address, source)

    def send(self, sender: str, rcpts: list[str], content: bytes, *, source: str = LOCAL) -> str:
        """One message over a session of its own; its msgid."""
        with self.client(source) as client:
            return client.deliver(sender, rcpts, content)

    # what must have happened: queue

    def ask(self, path: str) -> dict[str, Any]:
        """GET of the admin API; {} for 404."""
        try:
            with urllib.request.urlopen(f"{self.fleet.admin_url}{path}", timeout=10) as response:
                answer: dict[str, Any] = json.load(response)
                return answer
        except urllib.error.HTTPError as error:
            with error:
                assert error.code == 404, f"{path}: {error.code} {error.read()!r}"
            return {}

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """POST to the admin API, which must take it."""
        request = urllib.request.Request(
            f"{self.fleet.admin_url}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            answer: dict[str, Any] = json.load(response)
            return answer

    def envelopes(self, msgid: str) -> dict[str, dict[str, Any]]:
        """The message's envelopes that are not done, by dest."""
        message = self.ask(f"/v1/messages/{msgid}")
        return {item["envelope"]["dest"]: item for item in message.get("envelopes", [])}

    def await_done(self, msgid: str, deadline_s: float = DEADLINE_S) -> None:
        """Until the queue has nothing of the message any more."""
        ends_at = time.monotonic() + deadline_s
        while left := self.envelopes(msgid):
            assert time.monotonic() < ends_at, f"still queued after {deadline_s:g} s: {left}\n{self.story(msgid)}"
            time.sleep(0.02)

    def await_deferred(self, msgid: str, dest: str) -> dict[str, Any]:
        """The envelope once an attempt has failed for now: it waits again and tells why."""

        def look() -> dict[str, Any] | None:
            found = self.envelopes(msgid).get(dest)
            is_waiting = found is not None and found["state"] == "pending" and found["envelope"]["retry"] > 0
            return found if is_waiting else None

        try:
            return until(look, f"{dest} deferred")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.story(msgid)}") from None

    def make_due(self, msgid: str, dest: str) -> None:
        """Lets a deferred envelope be tried now instead of in 400 s."""
        found = self.await_deferred(msgid, dest)
        redis = self.fleet.redis
        shard = ids.shard_of(msgid, int(str(redis.command("GET", keys.SHARDS.form.split()[0]))))
        agent, relay = found["envelope"]["agent"], found["envelope"]["relay"]
        due_key = keys.due(agent, relay, shard)
        assert redis.command("ZSCORE", due_key, found["evpid"]) is not None
        redis.command("ZADD", due_key, 1, found["evpid"])
        redis.command("ZADD", keys.ready(agent, shard), 1, relay)

    # mailbox

    def delivered(self, user: str, msgid: str) -> list[bytes]:
        """The copies of the message in the user's maildir."""
        new = self.fleet.mail / user / "Maildir" / "new"
        return [path.read_bytes() for path in new.glob(f"*.E{msgid}*")]

    def await_delivered(self, user: str, msgid: str) -> bytes:
        """The one copy of the message in the user's maildir, once the queue is done with it."""
        until(lambda: self.delivered(user, msgid), f"{msgid} in {user}'s maildir")
        self.await_done(msgid)
        (content,) = self.delivered(user, msgid)
        return content

    def await_bounce(self, msgid: str, user: str = "alice") -> email.message.Message:
        """The bounce of a message, delivered to its sender, who is local."""
        line = self.await_line(f"{msgid}", "queue bounced")
        bounce_id = re.findall(r"bounce=([0-9a-f]{16})", line)[0]
        return email.message_from_bytes(self.await_delivered(user, bounce_id))

    # log

    def story(self, key: str) -> str:
        """Every line of every role about a message, envelope or session, in order."""
        return "\n".join(self.fleet.trace(key))

    def await_line(self, key: str, text: str) -> str:
        """The first log line about `key` that has `text` in it."""

        def look() -> list[str]:
            return [line for line in self.fleet.trace(key) if text in line]

        try:
            return until(look, f"{text!r} in the log of {key}")[0]
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.story(key)}") from None


def report_blocks(bounce: email.message.Message) -> list[dict[str, str]]:
    """The recipients' blocks of a bounce's machine-readable part (RFC 3464 §2.3)."""
    assert bounce.get_content_type() == "multipart/report"
    assert bounce.get_param("report-type") == "delivery-status"
    notice, report, _ = bounce.get_payload()
    assert (notice.get_content_type(), report.get_content_type()) == ("text/plain", "message/delivery-status")
    _, *blocks = report.get_payload()
    return [dict(block.items()) for block in blocks]
