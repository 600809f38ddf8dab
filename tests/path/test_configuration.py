"""smtpd.conf changed under a running fleet: roles follow, open sessions keep what they began with, and an error changes nothing."""

import re
from collections.abc import Iterator

import pytest

from tests.path.ground import STRANGER, Client, Ground, mail, until

pytestmark = [pytest.mark.path, pytest.mark.connected]

ROLES_AND_REPLICAS = {"config": 1, "smtp-in": 1, "queue": 1, "scheduler": 1, "mta": 2, "mda": 1, "admin": 1}


def versions(ground: Ground) -> set[str]:
    """Of the configuration, as every replica reports it."""
    fleet = ground.ask("/v1/fleet")
    return {replica["configuration"] for role in fleet["roles"] for replica in role["replicas"]}


def await_one_version(ground: Ground, *, after: str = "") -> str:
    """The version that all replicas run, newer than `after`."""

    def look() -> str:
        found = versions(ground)
        return found.pop() if len(found) == 1 and found != {after} else ""

    return until(look, f"one version after {after!r} (seen {versions(ground)})")


@pytest.fixture
def mutable(ground: Ground) -> Iterator[Ground]:
    """The shared fleet, whose configuration a test may change: it is put back."""
    digest = await_one_version(ground).partition("-")[2]
    yield ground
    ground.fleet.write_config(ground.config)
    until(lambda: all(version.endswith(digest) for version in versions(ground)), "the shared configuration back")


def test_every_replica_reports_its_version(ground: Ground) -> None:
    fleet = ground.ask("/v1/fleet")
    assert {role["role"]: len(role["replicas"]) for role in fleet["roles"]} == ROLES_AND_REPLICAS
    assert [role["role"] for role in fleet["roles"]] == list(ROLES_AND_REPLICAS)
    assert all(replica["is_ready"] for role in fleet["roles"] for replica in role["replicas"])
    assert re.fullmatch(r"\d+-[0-9a-f]{8}", await_one_version(ground))


def test_a_session_keeps_the_configuration_it_began_with(mutable: Ground) -> None:
    before = await_one_version(mutable)
    with mutable.client(STRANGER) as old_session:
        old_session.mail("carol@abroad.test")

        without_virtual = re.sub(r'accept from any for domain "virtual.test".*\n', "", mutable.config)
        mutable.fleet.write_config(without_virtual)
        after = await_one_version(mutable, after=before)

        assert int(after.partition("-")[0]) == int(before.partition("-")[0]) + 1
        assert old_session.rcpt("info@virtual.test")[0] == 250
        code, text = old_session.data(mail("begun under the old rules"))
        assert code == 250
        with mutable.client(STRANGER) as new_session:
            new_session.mail("carol@abroad.test")
            assert new_session.rcpt("info@virtual.test")[0] == 550
        # What was accepted is delivered, whatever the rules say by now.
        mutable.await_delivered("bob", text.split()[1].decode())


def test_a_new_listener_opens_and_goes_again(mutable: Ground) -> None:
    before = await_one_version(mutable)
    other_port = mutable.world.port  # on 127.0.0.1 nobody has it: peers have addresses of their own
    listen = f"listen on 127.0.0.1 port {other_port} hostname other.example.test tag OTHER\n\naccept from any"
    mutable.fleet.write_config(mutable.config.replace("\naccept from any", listen, 1))
    await_one_version(mutable, after=before)
    mutable.await_line(f"127.0.0.1:{other_port}", "listening")

    with Client(("127.0.0.1", other_port), STRANGER) as client:
        assert b"other.example.test Hello client.test" in client.ehlo_resp
        msgid = client.deliver("carol@abroad.test", ["alice@example.test"], mail("by the side door"))
    assert b"by other.example.test (smtpfleet)" in mutable.await_delivered("alice", msgid)
    mutable.fleet.write_config(mutable.config)
    mutable.await_line(f"127.0.0.1:{other_port}", "listener closed")


def test_an_error_is_said_with_its_place_and_changes_nothing(mutable: Ground) -> None:
    before = await_one_version(mutable)
    config = mutable.fleet.replica("config")
    broken = mutable.config + "accept from any for domain <nowhere> relay\naccept form any for any relay\n"
    lines = broken.count("\n")

    mutable.fleet.write_config(broken)

    path = re.escape(str(mutable.fleet.conf.path))
    until(lambda: "configuration refused" in config.log_text, "the refusal in config's log")
    assert re.search(rf"config error: {path}:{lines - 1}:29: no such table: nowhere", config.log_text)
    assert re.search(rf"config error: {path}:{lines}:8: .*form", config.log_text)
    assert config.metrics()["smtpfleet_config_errors"] >= 2
    assert await_one_version(mutable) == before
    with mutable.client(STRANGER) as client:
        mutable.await_delivered("alice", client.deliver("carol@abroad.test", ["alice@example.test"], mail("still")))

    mutable.fleet.write_config(mutable.config)
    until(lambda: "configuration OK again" in config.log_text, "the mended file in config's log")
    assert await_one_version(mutable) == before


def test_explain_tells_what_the_fleet_would_do(ground: Ground) -> None:
    home = ground.fleet.mail / "alice"
    home.mkdir(parents=True, exist_ok=True)
    (home / ".forward").write_text("bob@example.test\n")
    try:
        answer = ground.post(
            "/v1/config/explain", {"rcpt": "alice@example.test", "sender": "x@far.test", "peer": "192.0.2.1"}
        )
        assert answer["accepted"] and len(answer["envelopes"]) == 1
        assert answer["envelopes"][0].startswith("bob@example.test via maildir ~/Maildir as user bob")
        assert any(".forward of alice: present: bob@example.test" in step for step in answer["steps"])
    finally:
        (home / ".forward").unlink()
    refused = ground.post("/v1/config/explain", {"rcpt": "x@elsewhere.test", "peer": "192.0.2.1"})
    assert not refused["accepted"] and refused["reply"].startswith("550 5.7.1")
