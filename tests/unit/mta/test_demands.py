"""What relays demand of their sessions: passwords, certificates, names and addresses of ours, other ways in; against real sockets and TLS."""

import dataclasses
import socket
from pathlib import Path
from typing import Any

import pytest
import trustme
from msgspec.structs import replace

from smtpfleet.contracts.commands import TableReply, TableService
from smtpfleet.contracts.configuration import Ca, Configuration, Pki, Table
from smtpfleet.contracts.subjects import CONFIG_CREDENTIALS_LOOKUP, CONFIG_TABLE_LOOKUP
from smtpfleet.mta.auth import read_credentials
from smtpfleet.mta.session import SessionParameters
from tests.support.fake_bus import FakeBus
from tests.support.peer import Peer, Script, scripted_peer
from tests.support.zone import serve_zone
from tests.unit.mta.building import CONFIGURATION, QUICK, fleet, message, remote
from tests.unit.mta.test_delivery import lines

DELIVERED = ("delivered", "250 2.0.0 Ok: queued")
ZONE = "mx.peer.test. 60 IN A 127.0.0.1"
PASSWORD = "söcret: with colon"


async def attempt(
    script: Script,
    *dests: str,
    answer: str | None = None,
    configuration: Configuration = CONFIGURATION,
    ca: trustme.CA | None = None,
    root: str = "",
    relay_ca: str = "",
    **relay: Any,
) -> tuple[list[tuple[str, str]], Peer, str, FakeBus]:
    """One message to mx.peer.test; outcomes, peer, log and what config was asked. answer: config's, to any question."""
    bus = FakeBus()
    if answer is not None:
        for subject in (CONFIG_CREDENTIALS_LOOKUP, CONFIG_TABLE_LOOKUP):
            bus.answer(subject, TableReply("", [answer or None], 0))
    async with (
        serve_zone(ZONE) as zone,
        scripted_peer(script, name="mx.peer.test", ca=ca) as peer,
        fleet(
            mx_port=peer.port,
            smtps_port=peer.port,
            nameserver=zone.nameserver,
            configuration=configuration,
            bus=bus,
            config_root=root,
        ) as sender,
    ):
        sender.work.add(message(1, remote("mx.peer.test", ca=relay_ca, **relay), *dests))
        outcomes = lines(await sender.outcomes(len(dests) or 1))
    return outcomes, peer, sender.log, bus


# passwords


@pytest.mark.parametrize("mechanisms", ["PLAIN LOGIN", "LOGIN", "CRAM-MD5 login"])
async def test_a_password_is_shown_under_tls(mechanisms: str) -> None:
    script = Script(starttls="good", users={"fleet": PASSWORD}, mechanisms=mechanisms)
    outcomes, peer, log, bus = await attempt(script, answer=f"fleet:{PASSWORD}", tls="require", auth="secrets:relay1")
    assert outcomes == [DELIVERED]
    assert (peer.messages[0].user, peer.messages[0].is_tls) == ("fleet", True)
    assert [(name, query.table, query.keys) for name, query in bus.asked] == [  # type: ignore[attr-defined]
        ("config.credentials.lookup", "secrets", ["relay1"])
    ]
    assert "mta authenticated user=fleet" in log
    assert "cret" not in log


async def test_with_smtps_too() -> None:
    script = Script(is_smtps=True, users={"fleet": PASSWORD})
    outcomes, peer, _, _ = await attempt(script, answer=f"fleet:{PASSWORD}", tls="smtps", auth="secrets:relay1")
    assert (outcomes, peer.messages[0].user) == ([DELIVERED], "fleet")


@pytest.mark.parametrize(
    ("script", "answer", "relay", "failure"),
    [
        pytest.param(
            Script(starttls="good", users={"fleet": "other"}), "fleet:secret", {},
            "451 4.3.0 AUTH rejected: 535 5.7.8 Wrong", id="wrong",
        ),
        pytest.param(Script(starttls="good"), "fleet:secret", {}, "451 4.7.0 AUTH not advertised", id="not offered"),
        pytest.param(
            Script(starttls="good", users={"fleet": "secret"}, mechanisms="GSSAPI"), "fleet:secret", {},
            "451 4.7.0 no supported AUTH method", id="no mechanism of ours",
        ),
        pytest.param(
            Script(), "fleet:secret", {"tls": "none"}, "451 4.7.0 Refuse to AUTH over unsecure channel", id="in clear"
        ),
        pytest.param(
            Script(), "fleet:secret", {"tls": "opportunistic"}, "451 4.7.4 STARTTLS not advertised",
            id="opportunistic TLS is not enough",
        ),
        pytest.param(Script(starttls="good"), "", {}, "451 4.7.0 Could not retrieve credentials", id="no such label"),
        pytest.param(
            Script(starttls="good"), "fleet:", {}, "451 4.7.0 Could not retrieve credentials", id="no password in it"
        ),
        pytest.param(
            Script(starttls="good"), None, {}, "451 4.7.0 Could not retrieve credentials", id="config does not answer"
        ),
    ],
)  # fmt: skip
async def test_without_its_password_nothing_is_sent(
    script: Script, answer: str | None, relay: dict[str, Any], failure: str
) -> None:
    outcomes, peer, log, _ = await attempt(
        script, answer=answer, **({"tls": "require", "auth": "secrets:relay1"} | relay)
    )
    assert outcomes == [("tempfail", failure)]
    assert peer.messages == []
    assert "secret " not in log and "fleet:secret" not in log


@pytest.mark.parametrize("value", ["", ":password", "user:", "a\0b:c"])
def test_values_that_are_no_credentials(value: str) -> None:
    assert read_credentials(value, "label") is None


def test_the_user_of_a_password_alone_is_the_label() -> None:
    credentials = read_credentials("secret", "fleet")
    assert credentials is not None
    assert (credentials.user, credentials.password) == ("fleet", "secret")


def test_a_password_may_have_colons_and_is_not_shown() -> None:
    credentials = read_credentials("user:a:b", "label")
    assert credentials is not None
    assert (credentials.user, credentials.password) == ("user", "a:b")
    assert "a:b" not in repr(credentials)


# certificates


def certified(folder: Path, ca: trustme.CA, name: str) -> Configuration:
    """A configuration whose pki `name` is a certificate of `ca`, below `folder`."""
    cert = ca.issue_cert(f"{name}.test")
    (folder / "ssl").mkdir(exist_ok=True)
    cert.private_key_pem.write_to_path(str(folder / "ssl" / "key.pem"))
    cert.cert_chain_pems[0].write_to_path(str(folder / "ssl" / "cert.pem"))
    ca.cert_pem.write_to_path(str(folder / "ssl" / "ca.pem"))
    pki = Pki(name, "/ssl/cert.pem", "/ssl/key.pem", "", "none")
    return replace(CONFIGURATION, pki={name: pki}, cas={"theirs": Ca("theirs", "/ssl/ca.pem")})


@pytest.mark.parametrize(
    ("name", "relay"),
    [("client", {"pki": "client"}), ("our.name.test", {})],
    ids=["named", "that of our name"],
)
async def test_our_certificate_is_shown(tmp_path: Path, name: str, relay: dict[str, str]) -> None:
    ca = trustme.CA()
    script = Script(starttls="good", client_ca=ca)
    outcomes, peer, _, _ = await attempt(
        script, configuration=certified(tmp_path, ca, name), root=str(tmp_path), tls="require", **relay
    )
    assert outcomes == [DELIVERED]
    assert peer.messages[0].certificate == f"{name}.test"


async def test_a_certificate_that_is_replaced_is_shown_from_then_on(tmp_path: Path) -> None:
    ca, later = trustme.CA(), trustme.CA()
    configuration = certified(tmp_path, ca, "client")
    async with scripted_peer(Script(starttls="good", client_ca=later)) as peer, fleet(
        mx_port=peer.port, configuration=configuration, config_root=str(tmp_path)
    ) as sender:  # fmt: skip
        sender.work.add(message(1, remote(tls="require", pki="client")))
        assert lines(await sender.outcomes(1))[0][0] == "tempfail"
        certified(tmp_path, later, "client")
        sender.work.add(message(2, remote(tls="require", pki="client")))
        assert lines(await sender.outcomes(2))[1] == DELIVERED


@pytest.mark.parametrize("tls", ["none", "opportunistic"])
async def test_a_certificate_of_our_name_that_is_elsewhere(tmp_path: Path, tls: str) -> None:
    configuration = certified(tmp_path, trustme.CA(), "our.name.test")
    (tmp_path / "ssl" / "key.pem").unlink()
    outcomes, peer, log, _ = await attempt(
        Script(starttls="good"), configuration=configuration, root=str(tmp_path), tls=tls
    )
    assert (outcomes, peer.messages[0].is_tls) == ([DELIVERED], tls != "none")
    assert ("no certificate is shown to relays" in log) is (tls != "none")


async def test_a_ca_that_is_gone_is_not_replaced_by_others(tmp_path: Path) -> None:
    ca = trustme.CA()
    configuration = certified(tmp_path, ca, "client")
    outcomes, peer, log, _ = await attempt(
        Script(starttls="good"), ca=ca, configuration=configuration, root=str(tmp_path),
        tls="require", verify=True, relay_ca="gone",
    )  # fmt: skip
    assert outcomes == [("tempfail", "451 4.7.0 Could not retrieve certificate")]
    assert "no ca gone" in log and peer.connection_count == 0


@pytest.mark.parametrize("name", ["näme.test", "two words", "x\r\nRSET", "y" * 300])
async def test_a_name_that_cannot_be_said(name: str) -> None:
    outcomes, peer, _, _ = await attempt(Script(), helo=name)
    assert outcomes == [("tempfail", "451 4.3.5 Could not retrieve HELO name")]
    assert peer.connection_count == 0


async def test_a_certificate_that_cannot_be_read(tmp_path: Path) -> None:
    configuration = certified(tmp_path, trustme.CA(), "client")
    (tmp_path / "ssl" / "key.pem").write_text("no key")
    outcomes, peer, log, _ = await attempt(
        Script(starttls="good"), configuration=configuration, root=str(tmp_path), tls="require", pki="client"
    )
    assert outcomes == [("tempfail", "451 4.7.0 Could not retrieve certificate")]
    assert "TLS of a relay cannot be set up" in log and "key.pem" in log
    assert peer.connection_count == 0


@pytest.mark.parametrize("is_theirs", [True, False])
async def test_the_ca_of_the_relay_is_what_counts(tmp_path: Path, is_theirs: bool) -> None:
    ca = trustme.CA()
    configuration = certified(tmp_path, ca if is_theirs else trustme.CA(), "client")
    outcomes, _, _, _ = await attempt(
        Script(starttls="good"), ca=ca, configuration=configuration, root=str(tmp_path),
        tls="require", verify=True, relay_ca="theirs",
    )  # fmt: skip
    assert (outcomes == [DELIVERED]) is is_theirs


async def test_ciphers_and_protocols() -> None:
    outcomes, _, log, _ = await attempt(
        Script(starttls="good"), tls="require", ciphers="ECDHE+CHACHA20", protocols="tlsv1.2"
    )
    assert outcomes == [DELIVERED]
    assert "ciphers=TLSv1.2:ECDHE-" in log and "CHACHA20" in log


# secure:// of the classic form


@pytest.mark.parametrize("script", [Script(is_smtps=True), Script(starttls="good")], ids=["smtps", "STARTTLS"])
async def test_secure_takes_what_there_is(script: Script) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        nobody = closed.getsockname()[1]
    async with scripted_peer(script) as peer, fleet(
        mx_port=nobody if script.is_smtps else peer.port, smtps_port=peer.port
    ) as sender:  # fmt: skip
        sender.work.add(message(1, remote(tls="secure")))
        assert lines(await sender.outcomes(1)) == [DELIVERED]
    assert peer.messages[0].is_tls


async def test_secure_where_nobody_greets_is_smtps() -> None:
    """One port, given in the URL: a peer that waits for TLS does not say a word."""
    script = Script(is_smtps=True)
    async with (
        scripted_peer(script) as peer,
        fleet(mx_port=9, timeouts=dataclasses.replace(QUICK, greeting_s=0.3)) as sender,
    ):
        sender.work.add(message(1, remote(tls="secure", port=peer.port)))
        assert lines(await sender.outcomes(1)) == [DELIVERED]
    async with scripted_peer(script) as peer, fleet(mx_port=9, smtps_port=peer.port) as sender:
        sender.work.add(message(1, remote(tls="secure", port=peer.port)))
        assert lines(await sender.outcomes(1)) == [DELIVERED]
        assert sender.log.count("mta connecting") == 1, "on the port of smtps nothing else is tried"


async def test_secure_never_goes_on_in_clear() -> None:
    outcomes, peer, _, _ = await attempt(Script(), tls="secure")
    assert outcomes[0][0] == "tempfail"
    assert (peer.messages, peer.connection_count) == ([], 2)


# names and addresses of ours


async def test_the_name_by_our_address() -> None:
    names = Table("names", "mapping", "static", "", {"127.0.0.1": "by.address.test"})
    addresses = Table("out", "list", "static", "", {"127.0.0.1": ""})
    configuration = replace(CONFIGURATION, tables={"names": names, "out": addresses})
    for relay, expected in (
        ({"source": "out", "helo_source": "names"}, "by.address.test"),
        ({"helo_source": "names"}, "our.name.test"),
        ({"helo": "fixed.test"}, "fixed.test"),
    ):
        outcomes, peer, _, _ = await attempt(Script(), configuration=configuration, **relay)
        assert (outcomes, peer.messages[0].helo) == ([DELIVERED], expected)


async def test_no_name_for_our_address() -> None:
    names = Table("names", "mapping", "static", "", {"192.0.2.1": "other.test"})
    addresses = Table("out", "list", "static", "", {"127.0.0.1": ""})
    configuration = replace(CONFIGURATION, tables={"names": names, "out": addresses})
    outcomes, _, _, _ = await attempt(Script(), configuration=configuration, source="out", helo_source="names")
    assert outcomes == [("tempfail", "451 4.3.5 Could not retrieve HELO name")]


@pytest.mark.parametrize("written", ["2001:db8::1", "[2001:db8::1]", "ipv6:2001:db8::1"])
async def test_the_name_by_our_ipv6_address(written: str) -> None:
    """The table has the key that config gives every spelling (mail/addrname.py)."""
    names = Table("names", "mapping", "static", "", {"ipv6:2001:db8::1": "six.test"})
    addresses = Table("out", "list", "static", "", {written: ""})
    configuration = replace(CONFIGURATION, tables={"names": names, "out": addresses})
    async with fleet(mx_port=9, configuration=configuration) as sender:
        demands = sender.outbound.demands
        relay = remote(source="out", helo_source="names")
        source = await demands.source(relay, configuration)
        assert isinstance(source, str)
        found = await demands.of(relay, configuration, source)
    assert isinstance(found, SessionParameters) and (found.helo, found.source) == ("six.test", "2001:db8::1")


async def test_config_is_asked_for_the_name_of_our_address_by_its_one_key() -> None:
    configuration = replace(CONFIGURATION, tables={"out": Table("out", "list", "static", "", {"[127.0.0.1]": ""})})
    outcomes, peer, _, bus = await attempt(
        Script(), answer="by.address.test", configuration=configuration, source="out", helo_source="far"
    )
    assert (outcomes, peer.messages[0].helo) == ([DELIVERED], "by.address.test")
    assert [(query.service, query.keys) for _, query in bus.asked] == [(TableService.ADDRNAME, ["127.0.0.1"])]  # type: ignore[attr-defined]


async def test_addresses_that_config_serves() -> None:
    outcomes, _, log, _ = await attempt(Script(), answer="127.0.0.1", source="far")
    assert outcomes == [DELIVERED] and 'source="127.0.0.1"' in log
    outcomes, _, _, _ = await attempt(Script(), answer=None, source="far")
    assert outcomes == [("tempfail", "451 4.3.5 Could not retrieve source address")]


# LMTP


async def test_lmtp_has_a_reply_for_each_recipient() -> None:
    script = Script(
        is_lmtp=True,
        rcpts={"unknown@rcpt.test": "550 5.1.1 No such user"},
        finals={"full@rcpt.test": "452 4.2.2 Mailbox full", "never@rcpt.test": "552 5.2.2 Never"},
    )
    dests = ("a@rcpt.test", "unknown@rcpt.test", "full@rcpt.test", "never@rcpt.test", "b@rcpt.test")
    outcomes, peer, log, _ = await attempt(script, *dests, is_lmtp=True, tls="none")
    assert outcomes == [
        DELIVERED,
        ("permfail", "550 5.1.1 No such user"),
        ("tempfail", "452 4.2.2 Mailbox full"),
        ("permfail", "552 5.2.2 Never"),
        DELIVERED,
    ]
    assert peer.messages[0].rcpts == ["a@rcpt.test", "b@rcpt.test"]
    assert peer.commands[0] == "LHLO our.name.test"
    assert "address=lmtp://127.0.0.1:" in log


async def test_lmtp_peers_get_messages_one_behind_the_other() -> None:
    script = Script(is_lmtp=True, finals={"never@rcpt.test": "552 5.2.2 Never"})
    async with scripted_peer(script) as peer, fleet(mx_port=peer.port) as sender:
        relay = remote(is_lmtp=True, tls="none")
        for number in range(1, 6):
            sender.work.add(message(number, relay, "a@rcpt.test", "never@rcpt.test"))
        outcomes = lines(await sender.outcomes(10))
    assert outcomes == [DELIVERED, ("permfail", "552 5.2.2 Never")] * 5
    assert len(peer.messages) == 5


async def test_lmtp_that_dies_between_its_replies() -> None:
    script = Script(is_lmtp=True, raw={"eom": b"250 2.0.0 Ok: queued\r\n250"}, drop_at="quit")
    async with scripted_peer(script) as peer, fleet(mx_port=peer.port) as sender:
        sender.work.add(message(1, remote(is_lmtp=True, tls="none"), "a@rcpt.test", "b@rcpt.test"))
        await sender.until(lambda: len(peer.messages) > 0)
        peer.hang_up()
        outcomes = lines(await sender.outcomes(2))
    assert outcomes[0] == DELIVERED
    assert outcomes[1][0] == "tempfail"
