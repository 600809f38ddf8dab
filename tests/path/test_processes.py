"""Processes: what they refuse to start with, how they wait for NATS and Redis, how they leave, and what they tell about themselves."""

import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from smtpfleet.contracts.subjects import ROLES
from smtpfleet.local.fleet import STORE_ROLES, Fleet
from tests.path.ground import DEADLINE_S, LOCAL, Client, Ground, mail, until
from tests.support.peer import Script

pytestmark = [pytest.mark.path, pytest.mark.connected]

REFUSED = 2
"""Exit code for bad settings, as run_role promises."""


@pytest.fixture(scope="module")
def breakable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """A fleet with one replica of each role, whose processes may be stopped; whoever does starts them again."""
    with Ground(tmp_path_factory.mktemp("breakable")) as running:
        yield running


def start_with(role: str, **settings: str) -> subprocess.Popen[str]:
    """A role started with these SMTPFLEET_* and nothing else of ours."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("SMTPFLEET_")}
    environ |= {f"SMTPFLEET_{name}": value for name, value in settings.items()}
    argv = [sys.executable, "-m", f"smtpfleet.{role.replace('-', '_')}"]
    return subprocess.Popen(argv, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_unknown_settings_are_refused_by_every_role() -> None:
    started = {role: start_with(role, NATS_URI="nats://127.0.0.1:1", DRAIN_S="soon") for role in ROLES}
    for role, process in started.items():
        said, _ = process.communicate(timeout=60)
        assert process.returncode == REFUSED, said
        assert said.startswith(f"smtpfleet {role}: refusing to start\n")
        assert "SMTPFLEET_NATS_URI: unknown setting; known are " in said and "SMTPFLEET_NATS_URL" in said
        assert "SMTPFLEET_DRAIN_S: 'soon'" in said


def test_admin_without_a_token_listens_to_this_host_only() -> None:
    process = start_with("admin", ADMIN_LISTEN="0.0.0.0:0")
    said, _ = process.communicate(timeout=60)
    assert process.returncode == REFUSED, said
    assert "there is no token: set SMTPFLEET_ADMIN_TOKEN" in said


def test_every_replica_tells_of_itself(ground: Ground) -> None:
    for replica in ground.fleet.replicas():
        assert replica.get("/healthz") == (200, '{"status":"alive"}\n')
        code, body = replica.get("/readyz")
        assert (code, body) == (200, '{"status": "ready", "waiting_for": []}\n'), replica.name
        info = [name for name in replica.metrics() if name.startswith("smtpfleet_role_info{")]
        assert len(info) == 1 and f'replica="{replica.name}"' in info[0] and f'role="{replica.role}"' in info[0]
        assert replica.get("/nothing")[0] == 404


def test_roles_wait_for_nats_and_redis_and_then_serve(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path, settings={"config": {"server_name": "mx.example.test"}})
    fleet.conf.write()
    try:
        for replica in fleet.replicas():
            replica.spawn()
        for replica in fleet.replicas():
            until(lambda replica=replica: "warn: waiting for nats" in replica.log_text, f"{replica.name} waiting")
            assert replica.get("/healthz")[0] == 200
            code, body = replica.get("/readyz")
            assert code == 503 and '"nats"' in body, (replica.name, body)
            assert fleet.nats.url in replica.log_text
            assert replica.log_text.count("waiting for nats") == 1, "once is enough"

        admin = fleet.replica("admin")
        admin.term()
        assert admin.wait(5.0) == 0, "nothing is in hand, nothing keeps it"
        admin.spawn()

        fleet.nats.start()
        for replica in fleet.replicas():
            if replica.role in STORE_ROLES:
                until(lambda replica=replica: "redis" in replica.complaint(), f"{replica.name} waiting for redis alone")
                assert "nats" not in replica.complaint()
                assert "waiting for redis" in replica.log_text, replica.log_text
            else:
                replica.await_ready()
        with Client(fleet.smtp_address) as client:
            assert client.mail("carol@abroad.test")[0] == 250 and client.rcpt("alice@example.test")[0] == 250
            assert client.data(mail("too early")) == (451, b"4.3.0 Temporary failure")

        fleet.redis.start()
        fleet.await_ready()

        def accepted() -> str:
            with Client(fleet.smtp_address) as client:
                code, text = client.mail("carol@abroad.test")
                if code != 250 or client.rcpt("alice@example.test")[0] != 250:
                    return ""
                code, text = client.data(mail("at last"))
                return text.split()[1].decode() if code == 250 else ""

        msgid = until(accepted, "mail accepted")
        new = fleet.mail / "alice" / "Maildir" / "new"
        until(lambda: list(new.glob(f"*.E{msgid}*")), "mail delivered")
        assert all(replica.start_count == 1 for replica in fleet.replicas() if replica is not admin)
    finally:
        assert fleet.stop(), "a process had to be killed"


def test_one_role_after_the_other_is_replaced_and_nothing_is_lost(breakable: Ground) -> None:
    # One replica of each, so that every role is away for a while; the client tries again what is refused for now, as any MTA does.
    peer = breakable.world.exchanger("roll-out.test", Script(slow_s=0.01))
    sender = Sender(breakable)
    sender.start()
    try:
        for role in ROLES:
            replica = breakable.fleet.replica(role)
            replica.term()
            assert replica.wait(DEADLINE_S) == 0, f"{role} left with {replica.exit_code}:\n{replica.log_tail()}"
            assert "drain cut off" not in replica.log_text and "drain failed" not in replica.log_text, (
                replica.log_tail()
            )
            replica.start()
    finally:
        sender.stop()

    assert len(sender.acknowledged) > 20 and not sender.given_up
    for msgid in sender.acknowledged:
        breakable.await_done(msgid)
    copies = Counter(len(breakable.delivered("alice", msgid)) for msgid in sender.acknowledged)
    assert copies == {1: len(sender.acknowledged)}
    words = [word for message in peer.messages for word in message.content.split() if word.startswith(b"roll-out-")]
    # A client that loses its 250 with smtp-in sends again: inherent to SMTP, once at most here.
    assert set(words) >= sender.subjects and len(words) - len(sender.subjects) <= 1


class Sender(threading.Thread):
    """A client that sends one message after the other until it is stopped; what it could not get rid of it sends again."""

    def __init__(self, ground: Ground) -> None:
        super().__init__(name="sender")
        self._ground = ground
        self._is_stopping = threading.Event()
        self.acknowledged: list[str] = []
        self.subjects: set[bytes] = set()
        self.given_up = 0

    def run(self) -> None:
        number = 0
        while not self._is_stopping.is_set():
            number += 1
            subject = f"roll-out-{number}"
            ends_at = time.monotonic() + DEADLINE_S
            while not self._send(subject):
                if time.monotonic() > ends_at:
                    self.given_up += 1
                    return
                time.sleep(0.1)
            self.subjects.add(subject.encode())
            time.sleep(0.05)

    def _send(self, subject: str) -> bool:
        try:
            with Client(self._ground.fleet.smtp_address, LOCAL, timeout_s=15) as client:
                rcpts = ["alice@example.test", "carol@roll-out.test"]
                self.acknowledged.append(client.deliver("bob@example.test", rcpts, mail(subject)))
        except (OSError, AssertionError):
            return False
        return True

    def stop(self) -> None:
        self._is_stopping.set()
        self.join()


def test_smtp_in_lets_a_message_end_before_it_leaves(breakable: Ground) -> None:
    smtp_in = breakable.fleet.replica("smtp-in")
    idle, busy = breakable.client(), breakable.client()
    busy.begin("carol@abroad.test", ["alice@example.test"])
    busy.putcmd("DATA")
    assert busy.getreply()[0] == 354
    busy.send(b"Subject: just in time\r\n\r\nfirst half\r\n")

    smtp_in.term()

    assert idle.getreply() == (421, b"4.3.2 Service shutting down")
    busy.send(b"second half\r\n.\r\n")
    code, text = busy.getreply()
    assert code == 250
    assert busy.getreply()[0] == 421
    idle.close()
    busy.close()
    assert smtp_in.wait(DEADLINE_S) == 0
    assert breakable.await_delivered("alice", text.split()[1].decode()).endswith(b"first half\nsecond half\n")
    smtp_in.start()


def test_mta_finishes_its_transaction_and_gives_back_the_rest(breakable: Ground) -> None:
    peer = breakable.world.exchanger("leaving.test", Script(slow_s=0.3))
    with breakable.client() as client:
        msgids = [client.deliver("alice@example.test", ["carol@leaving.test"], mail(f"{n}")) for n in range(8)]
    mta = breakable.fleet.replica("mta")
    until(lambda: any(command.startswith("MAIL") for command in list(peer.commands)), "a transaction begun")

    mta.term()

    assert mta.wait(DEADLINE_S) == 0
    assert "drain cut off" not in mta.log_text
    assert 0 < len(peer.messages) < len(msgids), "it neither finished nor gave back"
    peer.script.slow_s = 0.0
    mta.start()
    for msgid in msgids:
        breakable.await_done(msgid)
    assert len(peer.messages) == len(msgids)
