"""Options of relays, from a line of smtpd.conf to what the peer sees: what has several addresses, names, certificates or relays of ours
goes on with another where one is of no use, and what cannot be had keeps the mail here, never mta."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from tests.path.ground import Ground, mail, until
from tests.support.peer import Peer, Script

pytestmark = [pytest.mark.path, pytest.mark.connected]

DATABASE = """\
dbpath {folder}/lite.db
query_addrname SELECT name FROM names WHERE address=?;
query_relayhost SELECT url FROM relays WHERE domain=?;
query_credentials SELECT user, password FROM logins WHERE label=?;
fetch_source SELECT address FROM sources;
"""
ROWS = """
CREATE TABLE names (address, name);
INSERT INTO names VALUES ('127.0.0.3', 'three.example.test'), ('127.0.0.4', 'nöt a name');
CREATE TABLE relays (domain, url);
INSERT INTO relays VALUES ('login.test', 'smtp+tls://fleet@auth.test:{port}'), ('clear.test', 'smtp+notls://one.test:{port}'),
                          ('lmtp.test', 'lmtp://one.test:{port}');
CREATE TABLE logins (label, user, password);
INSERT INTO logins VALUES ('fleet', 'fleet', 'of the database');
CREATE TABLE sources (address);
INSERT INTO sources VALUES ('127.0.0.3');
"""
CLASSIC = """
table logins { fleet = "of the label" }
table database sqlite:@ETC@/lite.conf
pki ours.example.test certificate "@ETC@/elsewhere.crt" key "@ETC@/elsewhere.key"
listen on 127.0.0.1 port @SMTP_PORT@ tls pki ours.example.test
limit mta session-keepalive 0
accept for domain "families.test" relay source { "127.0.0.3", "::1" }
accept for domain "foreign.test" relay source { "192.0.2.77", "127.0.0.3" }
accept for domain "named.test" relay source { "127.0.0.4", "127.0.0.3" } hostnames { "127.0.0.3" = "three.example.test" }
accept for domain "database.test" relay source <database> hostnames <database>
accept for domain "unsayable.test" relay source "127.0.0.4" hostnames <database>
accept for domain "login.test" relay via tls+auth://fleet@auth.test:@PEER_PORT@ auth <logins>
accept for domain "certificate.test" relay hostname ours.example.test
accept for any relay
"""
MODERN = """
table relays { "smtp://down.test:@PEER_PORT@", "smtp://one.test:@PEER_PORT@" }
table hubs { "named.test" = "smtp://two.test:@PEER_PORT@", "*" = "smtp://one.test:@PEER_PORT@" }
table database sqlite:@ETC@/lite.conf
ca theirs cert "@ETC@/ca.pem"
listen on 127.0.0.1 port @SMTP_PORT@
mta limit session-keepalive 0
action "turns" relay host <relays>
action "hubs" relay domain <hubs>
action "database" relay domain <database> auth <database> tls no-verify
action "verified" relay host "smtp+tls://two.test:@PEER_PORT@" ca theirs
match for domain "turns.test" action "turns"
match for domain { "named.test", "other.test" } action "hubs"
match for domain { "login.test", "clear.test", "lmtp.test", "absent.test" } action "database"
match for domain "verified.test" action "verified"
"""


@pytest.fixture
def ground(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ground]:
    """A fleet of its own, by the configuration in request.param."""
    made = Ground(tmp_path, config=request.param)
    etc = tmp_path / "etc"
    etc.mkdir()
    (etc / "lite.conf").write_text(DATABASE.format(folder=etc))
    connection = sqlite3.connect(etc / "lite.db")
    connection.executescript(ROWS.format(port=made.world.port))
    connection.close()
    trustme.CA().cert_pem.write_to_path(etc / "ca.pem")
    with made:
        yield made
        assert [replica.start_count for replica in made.fleet.roles["mta"]] == [1]
        assert made.fleet.replica("mta").is_ready


def host(ground: Ground, name: str, script: Script | None = None) -> Peer:
    peer = ground.world.peer(script, name=name)
    ground.world.publish(f"{name}. 60 IN A {peer.address}")
    return peer


def send(ground: Ground, domain: str) -> str:
    return ground.send("alice@example.test", [f"carol@{domain}"], mail(domain))


def deliver(ground: Ground, domain: str) -> str:
    """A message that leaves at the first attempt; its msgid."""
    msgid = send(ground, domain)
    ground.await_done(msgid)
    return msgid


def refusal(ground: Ground, domain: str) -> int:
    """What RCPT hears."""
    with ground.client() as client:
        client.mail("alice@example.test")
        return client.rcpt(f"carol@{domain}")[0]


def why_deferred(ground: Ground, msgid: str, domain: str) -> str:
    text: str = ground.await_deferred(msgid, f"carol@{domain}")["envelope"]["error_line"]
    return text


@pytest.mark.parametrize("ground", [CLASSIC], indirect=True, ids=["classic"])
def test_another_address_of_ours_where_one_is_of_no_use(ground: Ground) -> None:
    for domain, helo in (
        ("families.test", "mx.example.test"),
        ("foreign.test", "mx.example.test"),
        ("named.test", "three.example.test"),
        ("database.test", "three.example.test"),
    ):
        peer = ground.world.exchanger(domain)
        for _ in range(3):
            assert 'source="127.0.0.3"' in ground.await_line(deliver(ground, domain), "mta delivery")
        assert [message.helo for message in peer.messages] == [helo] * 3


@pytest.mark.parametrize("ground", [CLASSIC], indirect=True, ids=["classic"])
def test_what_of_ours_is_odd_or_elsewhere(ground: Ground) -> None:
    auth = host(ground, "auth.test", Script(starttls="good", users={"fleet": "of the label"}))
    exchanger = ground.world.exchanger("certificate.test", Script(starttls="good"))
    ground.world.exchanger("unsayable.test")
    deliver(ground, "login.test")
    assert [message.user for message in auth.messages] == ["fleet"], "a password alone is the label's"
    deliver(ground, "certificate.test")
    assert [message.is_tls for message in exchanger.messages] == [True], (
        "a listener's certificate that mta does not have"
    )
    assert "no certificate is shown to relays" in ground.fleet.log_text("mta")
    msgid = send(ground, "unsayable.test")
    assert why_deferred(ground, msgid, "unsayable.test") == "451 4.3.5 Could not retrieve HELO name"


@pytest.mark.parametrize("ground", [MODERN], indirect=True, ids=["modern"])
def test_tables_of_relays(ground: Ground) -> None:
    ground.world.publish(f"down.test. 60 IN A {ground.world.new_address()}")
    one, two = host(ground, "one.test", Script(starttls="good")), host(ground, "two.test", Script(starttls="good"))
    auth = host(ground, "auth.test", Script(starttls="good", users={"fleet": "of the database"}))
    for _ in range(4):
        deliver(ground, "turns.test")
    assert len(one.messages) == 4, "the other one takes what the first cannot"
    deliver(ground, "named.test")
    deliver(ground, "other.test")
    assert [message.rcpts for message in two.messages] == [["carol@named.test"]]
    assert one.messages[-1].rcpts == ["carol@other.test"], "* is for all others"
    deliver(ground, "login.test")
    assert [message.user for message in auth.messages] == ["fleet"]
    # `tls` is not given up for an entry of the database that forbids it.
    assert [refusal(ground, domain) for domain in ("clear.test", "lmtp.test", "absent.test")] == [451] * 3
    assert len(one.messages) == 5


@pytest.mark.parametrize("ground", [MODERN], indirect=True, ids=["modern"])
def test_queued_mail_follows_its_table_and_its_certificates(ground: Ground) -> None:
    for name in ("down.test", "one.test"):
        ground.world.publish(f"{name}. 60 IN A {ground.world.new_address()}")
    three, two = host(ground, "three.test"), host(ground, "two.test", Script(starttls="good"))
    turned, verified = send(ground, "turns.test"), send(ground, "verified.test")
    assert why_deferred(ground, turned, "turns.test") == "451 4.4.1 Connection refused"
    assert "certificate verification failed" in why_deferred(ground, verified, "verified.test")

    changed = ground.config.replace('"smtp://down.test', f'"smtp://three.test:{ground.world.port}", "smtp://down.test')
    changed = changed.replace("ca theirs cert", "ca others cert").replace(" ca theirs", " ca others")
    before = running(ground)
    ground.fleet.write_config(changed)
    until(lambda: running(ground) != before, "the new configuration")

    ground.make_due(turned, "carol@turns.test")
    ground.await_done(turned)
    assert [message.rcpts for message in three.messages] == [["carol@turns.test"]]
    ground.make_due(verified, "carol@verified.test")
    until(lambda: "no ca theirs" in ground.fleet.log_text("mta"), "a relay whose ca is gone")
    assert two.messages == [], "no other ca counts instead"


def running(ground: Ground) -> str:
    """The version that mta reports."""
    roles = ground.ask("/v1/fleet")["roles"]
    return next(str(role["replicas"][0]["configuration"]) for role in roles if role["role"] == "mta")
