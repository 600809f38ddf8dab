"""Relays that want a login: from a line of smtpd.conf through config's answer to what the peer is shown, in both forms of the language."""

from pathlib import Path

import pytest

from tests.path.ground import Ground, mail
from tests.support.peer import Script

pytestmark = [pytest.mark.path, pytest.mark.connected]

CLASSIC = """
table users file:@ETC@/users
table logins { fleet = "declared:söcret" }
listen on 127.0.0.1 port @SMTP_PORT@ hostname mx.example.test
accept for domain "declared.test" relay via tls+auth://fleet@relay.test:@PEER_PORT@ auth <logins>
accept for domain "inline.test" relay via tls+auth://fleet@relay.test:@PEER_PORT@ auth { fleet = "inline:s: cret" }
accept for local userbase <users> deliver to mbox
"""
MODERN = """
table users file:@ETC@/users
table logins { fleet = "declared:söcret" }
table relays { "table.test" = "smtp+tls://fleet@relay.test:@PEER_PORT@" }
listen on 127.0.0.1 port @SMTP_PORT@ hostname mx.example.test
action "declared" relay host "smtp+tls://fleet@relay.test:@PEER_PORT@" auth <logins> tls no-verify
action "inline" relay host "smtp+tls://fleet@relay.test:@PEER_PORT@" auth { fleet = "inline:s: cret" } tls no-verify
action "table" relay domain <relays> auth { fleet = "table:x" } tls no-verify
action "here" mbox userbase <users>
match for domain "declared.test" action "declared"
match for domain "inline.test" action "inline"
match for domain "table.test" action "table"
match for local action "here"
"""
USERS = {"declared": "söcret", "inline": "s: cret", "table": "x"}


@pytest.mark.parametrize(
    ("config", "domains"),
    [
        pytest.param(CLASSIC, ["declared", "inline"], id="classic"),
        pytest.param(MODERN, ["declared", "inline", "table"], id="modern"),
    ],
)
def test_a_relay_is_shown_the_login_of_its_rule(config: str, domains: list[str], tmp_path: Path) -> None:
    with Ground(tmp_path, config=config) as ground:
        peer = ground.world.peer(Script(starttls="good", users=USERS), name="relay.test")
        ground.world.publish(f"relay.test. 60 IN A {peer.address}")
        for domain in domains:
            ground.await_done(ground.send("alice@example.test", [f"carol@{domain}.test"], mail(domain)))
        assert [(message.user, message.rcpts) for message in peer.messages] == [
            (domain, [f"carol@{domain}.test"]) for domain in domains
        ]
    log = "".join(path.read_text() for path in sorted((tmp_path / "log").glob("*")))
    assert "cret" not in log
