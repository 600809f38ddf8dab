"""TLS with real certificates: opportunistic, required, verified, from the first byte, and when it goes wrong."""

from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.support.peer import Peer, Script, scripted_peer
from tests.support.zone import serve_zone
from tests.unit.mta.building import fleet, message, remote
from tests.unit.mta.test_delivery import lines

DELIVERED = ("delivered", "250 2.0.0 Ok: queued")
ZONE = "mx.peer.test. 60 IN A 127.0.0.1"


async def attempt(
    script: Script, *, ca: trustme.CA | None = None, name: str = "mx.peer.test", ca_file: str = "", **relay: Any
) -> tuple[tuple[str, str], Peer, str]:
    """One message to mx.peer.test; outcome, peer and log."""
    async with (
        serve_zone(ZONE) as zone,
        scripted_peer(script, ca=ca, name=name) as peer,
        fleet(mx_port=peer.port, smtps_port=peer.port, nameserver=zone.nameserver, tls_ca_file=ca_file) as sender,
    ):
        sender.work.add(message(1, remote("mx.peer.test", **relay)))
        (outcome,) = lines(await sender.outcomes(1))
    return outcome, peer, sender.log


@pytest.fixture
def trusted(tmp_path: Path) -> tuple[trustme.CA, str]:
    """A CA and the file that names it."""
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return ca, str(tmp_path / "ca.pem")


async def test_opportunistic_takes_any_certificate_and_says_ehlo_again() -> None:
    outcome, peer, log = await attempt(Script(starttls="good"), name="somebody.else")
    assert outcome == DELIVERED
    assert peer.messages[0].is_tls
    assert [line.split()[0] for line in peer.commands[:3]] == ["EHLO", "STARTTLS", "EHLO"]
    assert "mta tls ciphers=TLSv1.3:" in log


async def test_opportunistic_goes_on_in_clear_where_starttls_is_not_offered_or_refused() -> None:
    for script in (Script(), Script(starttls="refused")):
        outcome, peer, _ = await attempt(script)
        assert (outcome, peer.messages[0].is_tls, peer.connection_count) == (DELIVERED, False, 1)


async def test_opportunistic_tries_again_in_clear_when_the_handshake_fails() -> None:
    outcome, peer, log = await attempt(Script(starttls="broken"))
    assert (outcome, peer.messages[0].is_tls, peer.connection_count) == (DELIVERED, False, 2)
    assert "mta error reason=" in log


async def test_none_never_asks_for_tls() -> None:
    outcome, peer, _ = await attempt(Script(starttls="good"), tls="none")
    assert (outcome, peer.messages[0].is_tls) == (DELIVERED, False)


async def test_bytes_injected_before_the_handshake_end_the_session() -> None:
    """RFC 3207 §6: what follows the 220 in clear would be read as said under TLS."""
    script = Script(starttls="good", raw={"starttls": b"220 Go\r\n250 injected\r\n"})
    outcome, peer, _ = await attempt(script, tls="require")
    assert outcome == ("tempfail", "451 4.7.5 Remote host sent too much data")
    assert peer.messages == []


@pytest.mark.parametrize(
    ("script", "failure"),
    [
        pytest.param(Script(), "451 4.7.4 STARTTLS not advertised", id="not offered"),
        pytest.param(
            Script(starttls="refused"), "451 4.3.0 STARTTLS rejected: 454 4.7.0 TLS not available", id="refused"
        ),
        pytest.param(Script(replies={"ehlo": "502 No"}), "451 4.3.0 EHLO rejected: 502 No", id="no EHLO"),
    ],
)
async def test_required_is_never_given_up(script: Script, failure: str) -> None:
    outcome, peer, _ = await attempt(script, tls="require")
    assert outcome == ("tempfail", failure)
    assert peer.messages == []


async def test_required_with_a_broken_handshake() -> None:
    outcome, peer, _ = await attempt(Script(starttls="broken"), tls="require")
    assert outcome[0] == "tempfail"
    assert outcome[1].startswith("451 4.7.5 TLS handshake failed")
    assert (peer.messages, peer.connection_count) == ([], 1)


async def test_required_without_verify_takes_any_certificate() -> None:
    outcome, peer, _ = await attempt(Script(starttls="good"), tls="require", name="somebody.else")
    assert (outcome, peer.messages[0].is_tls) == (DELIVERED, True)


@pytest.mark.parametrize("is_smtps", [False, True], ids=["starttls", "smtps"])
async def test_verify_wants_chain_and_name(trusted: tuple[trustme.CA, str], is_smtps: bool) -> None:
    ca, ca_file = trusted
    script = Script(is_smtps=True) if is_smtps else Script(starttls="good")
    relay: dict[str, Any] = {"tls": "smtps" if is_smtps else "require", "verify": True}
    outcome, peer, _ = await attempt(script, ca=ca, ca_file=ca_file, **relay)
    assert (outcome, peer.messages[0].is_tls) == (DELIVERED, True)
    for wrong in ({"ca": ca, "name": "other.test"}, {"ca": trustme.CA(), "name": "mx.peer.test"}):
        outcome, peer, _ = await attempt(script, ca_file=ca_file, **wrong, **relay)
        assert outcome[0] == "tempfail"
        assert "certificate verification failed" in outcome[1]
        assert peer.messages == []


async def test_smtps_speaks_tls_at_once() -> None:
    outcome, peer, _ = await attempt(Script(is_smtps=True), tls="smtps")
    assert (outcome, peer.messages[0].is_tls) == (DELIVERED, True)
    assert "STARTTLS" not in peer.commands


async def test_a_large_message_over_tls() -> None:
    content = b".x\r\n" * 100_000
    async with scripted_peer(Script(starttls="good")) as peer, fleet(mx_port=peer.port) as sender:
        sender.work.add(message(1, remote(), content=content), message(2, remote()))
        assert lines(await sender.outcomes(2)) == [DELIVERED] * 2
    assert peer.messages[0].content == content
