"""The fleet in containers, from a clean build: mail arrives, containers die, workers leave under load, and nothing is lost.

One project for the whole module, because its build and start take most of the time. The tests run in the order they are written.
"""

import shutil
import subprocess
import time
from collections.abc import Iterator

import pytest

from smtpfleet.contracts.commands import CLAIM_BATCH
from smtpfleet.contracts.subjects import ROLES
from smtpfleet.local.ports import free_ports
from tests.deploy.senders import Senders
from tests.deploy.stack import Stack, run, until

pytestmark = [pytest.mark.deploy, pytest.mark.slow]

RCPTS = ("alice@example.test", "carol@relay.test", "bob@example.test")
ARRIVAL_DEADLINE_S = 120
"""A lease of ten seconds, a second lease where the next worker dies too, and two busy cores."""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    if (
        shutil.which("docker") is None
        or subprocess.run(["docker", "info"], capture_output=True, check=False).returncode
    ):
        pytest.fail("needs a Docker engine that runs, with the compose plugin")
    stack = Stack(tmp_path_factory.mktemp("stack"), *free_ports(2))
    stack.down(volumes=True)
    try:
        stack.up(mta=3, build=True)
        yield stack
    finally:
        stack.down(volumes=True)


def swaks(stack: Stack, rcpt: str, mark: str) -> str:
    assert shutil.which("swaks"), "needs swaks (Debian package swaks)"
    server = f"127.0.0.1:{stack.smtp_port}"
    words = ["swaks", "--server", server, "--from", "peer@example.org", "--to", rcpt, "--header", f"X-Mark: {mark}"]
    return run([*words, "--body", "hello from a real client"])


def expect_all_arrived(stack: Stack, wanted: set[str]) -> dict[str, int]:
    """Waits until everything acknowledged has arrived; what arrived more than once, with the count."""
    until(
        lambda: wanted <= set(stack.arrived()),
        lambda: f"{len(wanted - set(stack.arrived()))} lost of {len(wanted)}; queue {stack.admin('/v1/queue')}",
        ARRIVAL_DEADLINE_S,
    )
    return {mark: count for mark, count in stack.arrived().items() if mark in wanted and count > 1}


def test_every_role_runs_confined_and_without_root(stack: Stack) -> None:
    services = {name: stack.containers(name) for name in (*ROLES, "nats", "redis")}
    assert {name: len(found) for name, found in services.items()} == dict.fromkeys(services, 1) | {"mta": 3}
    for name, found in services.items():
        for container in found:
            host = container["HostConfig"]
            assert host["ReadonlyRootfs"], name
            assert host["CapDrop"] == ["ALL"], name
            assert "no-new-privileges:true" in host["SecurityOpt"], name
            assert container["Config"]["User"] == "10001:10001", name
            assert "10001" in stack.compose("exec", "-T", name, "id"), name


def test_only_queue_and_scheduler_reach_redis(stack: Stack) -> None:
    in_store = {
        name
        for name in (*ROLES, "nats", "redis")
        if any(network.endswith("_store") for network in stack.containers(name)[0]["NetworkSettings"]["Networks"])
    }
    assert in_store == {"queue", "scheduler", "redis"}


def test_each_image_holds_its_own_service_only(stack: Stack) -> None:
    listing = stack.compose("exec", "-T", "mda", "ls", "/opt/smtpfleet/lib/python3.11/site-packages/smtpfleet").split()
    assert sorted(name for name in listing if not name.startswith("_")) == ["contracts", "mail", "mda", "runtime"]


def test_admin_wants_its_token_and_shows_the_fleet(stack: Stack) -> None:
    fleet = stack.admin("/v1/fleet")
    assert {row["role"]: len(row["replicas"]) for row in fleet["roles"]} == dict.fromkeys(ROLES, 1) | {"mta": 3}
    code = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", f"http://127.0.0.1:{stack.admin_port}/v1/queue"]
    assert run(code) == "401"


def test_a_real_client_delivers_and_relays(stack: Stack) -> None:
    assert "Message accepted for delivery" in swaks(stack, "alice@example.test", "swaks-local")
    assert "Message accepted for delivery" in swaks(stack, "carol@relay.test", "swaks-relay")
    until(lambda: "swaks-local" in stack.in_mailboxes(), stack.in_mailboxes, 30)
    until(lambda: "swaks-relay" in stack.relayed(), stack.relayed, 30)
    assert "Violation" not in stack.compose("logs", "nats")


def test_an_unknown_recipient_is_refused(stack: Stack) -> None:
    words = ["swaks", "--server", f"127.0.0.1:{stack.smtp_port}", "--to", "nobody@example.test"]
    refused = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert refused.returncode != 0
    assert "550" in refused.stdout


@pytest.mark.parametrize("service", ["mta", "mda", "scheduler", "queue", "smtp-in", "nats", "redis"])
def test_nothing_is_lost_when_a_container_is_killed(stack: Stack, service: str) -> None:
    with Senders(stack.smtp_port, f"kill-{service}", RCPTS) as senders:
        time.sleep(2)
        name = stack.kill(service)
        time.sleep(3)
        stack.start(name)
        time.sleep(3)
    assert len(senders.acknowledged) > 20
    until(lambda: not stack.unwell(), stack.unwell, 60)
    doubled = expect_all_arrived(stack, senders.acknowledged)
    # DESIGN section 5: what a worker held whose peer had accepted, and what a sender got no answer for; never more than one lease
    assert sum(count - 1 for count in doubled.values()) <= CLAIM_BATCH, doubled


def test_scaling_down_under_load_loses_and_doubles_nothing(stack: Stack) -> None:
    with Senders(stack.smtp_port, "scale", RCPTS) as senders:
        time.sleep(2)
        stack.compose("up", "-d", "--no-recreate", "--scale", "mta=1")
        time.sleep(3)
    assert len(stack.containers("mta")) == 1
    assert expect_all_arrived(stack, senders.acknowledged) == {}
    assert senders.failures == []


def test_the_queue_outlives_its_containers(stack: Stack) -> None:
    swaks(stack, "dave@closed.test", "waiting")
    until(lambda: stack.admin("/v1/queue")["envelopes"] == 1, lambda: stack.admin("/v1/queue"), 30)
    stack.down(volumes=False)
    stack.up(mta=1)
    assert stack.admin("/v1/queue")["envelopes"] == 1
    swaks(stack, "alice@example.test", "after")
    until(lambda: "after" in stack.in_mailboxes(), stack.in_mailboxes, 30)
