"""Limits on peers that hold over all replicas of smtp-in: connections, recipients, failures, wrong passwords, bans."""

import re
import smtplib
import ssl
import urllib.parse
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
import trustme

from smtpfleet.local.ports import free_ports
from smtpfleet.smtp_in.crypt_library import crypt
from tests.path.ground import CONFIG, STRANGER, Client, Ground, mail, until

pytestmark = [pytest.mark.path, pytest.mark.connected]

LIMITS = """\
limit session max-conn-per-address 6 max-conn-per-network 9 max-rcpt-rate-per-address 4
limit session max-failures-per-address 3 max-failures-per-network 100 max-failed-commands 2
"""
NEIGHBOUR, OTHER, GUESSER = "127.0.3.3", "127.0.4.4", "127.0.5."
PASSWORD = "correct horse"
(AUTH_PORT,) = free_ports(1)
AUTH = """\
limit session max-auth-failures-per-address 3 max-auth-failures-per-user 5
pki mx.example.test certificate "@ETC@/mx.pem"
pki mx.example.test key "@ETC@/mx.key"
table creds file:@ETC@/creds
listen on 127.0.0.1 port @AUTH_PORT@ smtps pki mx.example.test auth <creds> hostname mx.example.test
"""


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """A fleet with three replicas of smtp-in on one port."""
    root: Path = tmp_path_factory.mktemp("limited")
    etc = root / "etc"
    etc.mkdir()
    issued = trustme.CA().issue_cert("mx.example.test")
    issued.private_key_pem.write_to_path(str(etc / "mx.key"))
    issued.cert_chain_pems[0].write_to_path(str(etc / "mx.pem"))
    (etc / "creds").write_text(f"bob {crypt(PASSWORD.encode(), b'$6$rounds=1000$saltsalt').decode()}\n")
    text = CONFIG + LIMITS + AUTH.replace("@AUTH_PORT@", str(AUTH_PORT))
    with Ground(root, replicas={"smtp-in": 3, "mta": 1}, config=text) as ground:
        yield ground


def log_in(source: str, user: str, password: str) -> int:
    """The code that ends it: 235, 535, 454 or 421."""
    unverified = ssl._create_unverified_context()  # who we are is tested elsewhere
    client = smtplib.SMTP_SSL("127.0.0.1", AUTH_PORT, context=unverified, source_address=(source, 0), timeout=30)
    with client:
        client.ehlo()
        initial = b64encode(f"\0{user}\0{password}".encode()).decode()
        return client.docmd("AUTH", f"PLAIN {initial}")[0]


def bans(ground: Ground, kind: str) -> dict[str, int]:
    """Seconds to the end of each ban of the kind, by name."""
    return {ban["name"]: ban["ends_in_s"] for ban in ground.ask("/v1/bans")["bans"] if ban["kind"] == kind}


def lift(ground: Ground, kind: str, name: str) -> int:
    query = urllib.parse.urlencode({"kind": kind, "name": name})
    request = urllib.request.Request(f"{ground.fleet.admin_url}/v1/bans?{query}", method="DELETE")
    with urllib.request.urlopen(request, timeout=10) as response:
        return int(response.status)


def comes_in(ground: Ground, source: str, stack: ExitStack) -> bool:
    """Whether one more connection from there is greeted; it stays open as long as `stack`."""
    try:
        stack.enter_context(ground.client(source))
    except smtplib.SMTPConnectError as refusal:
        assert (refusal.smtp_code, refusal.smtp_error[:5]) == (421, b"4.7.0")
        return False
    return True


def replicas_in_use(ground: Ground, source: str) -> int:
    """How many replicas have had a session from there."""
    pattern = re.compile(rf"smtp connected address={re.escape(source)} ")
    return sum(bool(pattern.search(replica.log_text)) for replica in ground.fleet.roles["smtp-in"])


def test_connections_of_an_address_hold_over_replicas(limited: Ground) -> None:
    with ExitStack() as stack:
        assert [comes_in(limited, STRANGER, stack) for _ in range(9)] == [True] * 6 + [False] * 3
        assert replicas_in_use(limited, STRANGER) > 1, "the kernel gave all connections to one replica"
    # All have left: the permits come back within the interval of reports.
    with ExitStack() as stack:
        until(lambda: comes_in(limited, STRANGER, stack), "a permit is free again")


def test_connections_of_a_network_hold_over_its_addresses(limited: Ground) -> None:
    with ExitStack() as stack:
        sources = [f"127.0.1.{number}" for number in range(1, 13)]
        assert sum(comes_in(limited, source, stack) for source in sources) == 9


def test_local_peers_are_not_counted(limited: Ground) -> None:
    with ExitStack() as stack:
        assert all(comes_in(limited, "127.0.0.1", stack) for _ in range(12))


def test_recipients_a_minute_hold_over_replicas(limited: Ground) -> None:
    accepted = 0
    refusals: list[tuple[int, bytes]] = []

    def send_one() -> bool:
        nonlocal accepted
        with limited.client(OTHER) as client:
            reply = client.mail("carol@abroad.test")
            if reply[0] != 250:
                refusals.append(reply)
                return True
            client.rset()
            client.deliver("carol@abroad.test", ["alice@example.test"], mail("counted"))
        accepted += 1
        return False

    until(send_one, "a refusal at MAIL")
    assert refusals[0][0] == 450 and refusals[0][1].startswith(b"4.7.1 ")
    # Four are allowed. A replica that has not heard of the fourth yet lets one more in each.
    assert 4 <= accepted <= 4 + 3


def test_failures_lead_to_a_ban_that_an_operator_sees_and_lifts(limited: Ground) -> None:
    def fail() -> None:
        with Client(limited.fleet.smtp_address, NEIGHBOUR) as client:
            client.docmd("FAIL")
            assert client.docmd("FAIL")[0] == 500
            assert client.getreply()[0] == 421

    for _ in range(3):
        fail()
    found = until(lambda: bans(limited, "address"), "a ban")
    assert list(found) == [NEIGHBOUR] and 800 < found[NEIGHBOUR] <= 900
    with ExitStack() as stack:
        # the announcement is on its way to whichever replicas answer
        until(lambda: not any([comes_in(limited, NEIGHBOUR, stack) for _ in range(3)]), "nobody comes in")
    assert lift(limited, "address", NEIGHBOUR) == 204
    assert bans(limited, "address") == {}
    with ExitStack() as stack:
        until(lambda: all([comes_in(limited, NEIGHBOUR, stack) for _ in range(2)]), "he may come in again")


def test_wrong_passwords_are_counted_over_replicas(limited: Ground) -> None:
    assert log_in(f"{GUESSER}1", "bob", PASSWORD) == 235
    with ThreadPoolExecutor(3) as pool:  # at once: three replies that wait one, two and four seconds
        assert list(pool.map(lambda n: log_in(f"{GUESSER}2", "nobody", f"wrong{n}"), range(3))) == [535] * 3
    until(lambda: bans(limited, "auth-address"), "a ban of the address")
    until(lambda: {log_in(f"{GUESSER}2", "bob", PASSWORD) for _ in range(6)} == {421}, "no try is left")
    with ThreadPoolExecutor(5) as pool:
        list(pool.map(lambda n: log_in(f"{GUESSER}{n}", "bob", "wrong"), range(11, 16)))
    until(lambda: bans(limited, "auth-user"), "a ban of the user")
    until(lambda: {log_in(f"{GUESSER}20", "bob", PASSWORD) for _ in range(4)} == {454}, "nobody may be bob")
    assert {log_in(f"{GUESSER}1", "bob", PASSWORD) for _ in range(6)} == {235}  # he has come from there before
    assert lift(limited, "auth-user", "bob") == 204
    until(lambda: log_in(f"{GUESSER}20", "bob", PASSWORD) == 235, "he may come from anywhere again")


def test_without_scheduler_peers_still_come_in(limited: Ground) -> None:
    scheduler = limited.fleet.replica("scheduler")
    scheduler.kill9()
    try:
        with ExitStack() as stack:
            assert all(comes_in(limited, f"127.0.2.{number}", stack) for number in range(1, 5))
    finally:
        scheduler.spawn()
        scheduler.await_ready(20)

    admitted = 'smtpfleet_smtp_admissions_total{answer="admitted"}'
    before = [replica.metrics().get(admitted, 0) for replica in limited.fleet.roles["smtp-in"]]

    def all_ask_again() -> bool:
        with ExitStack() as stack:
            comes_in(limited, "127.0.6.1", stack)
        now = [replica.metrics().get(admitted, 0) for replica in limited.fleet.roles["smtp-in"]]
        return all(later > earlier for earlier, later in zip(before, now, strict=True))

    until(all_ask_again, "every replica asks again once scheduler is back")
