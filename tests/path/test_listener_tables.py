"""Tables that listeners name, given in every way there is, through a whole fleet: who logs in, as whom he may send, what we are called.
One that cannot answer is a temporary failure, of a name the listener's own."""

import smtplib
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from smtpfleet.contracts.subjects import ROLES
from smtpfleet.local.fleet import Fleet
from smtpfleet.local.ports import free_ports
from smtpfleet.smtp_in.crypt_library import crypt
from tests.path.ground import STRANGER
from tests.path.table_ways import WAYS, TableWays

pytestmark = [pytest.mark.path, pytest.mark.connected]

NAME, PASSWORD = "mx.example.test", "correct horse"
LOGINS = {"bob": crypt(PASSWORD.encode(), b"$6$rounds=1000$saltsalt").decode()}
SENDERS = {"bob": "bob@example.test, @bobs.test"}
NAMES = {"127.0.0.1": "named.test"}


class Ground:
    """config, smtp-in and queue, with a listener for each way of giving its three tables."""

    def __init__(self, root: Path, form: str) -> None:
        self.authority = trustme.CA()
        etc = root / "etc"
        etc.mkdir(parents=True)
        issued = self.authority.issue_cert(NAME)
        (etc / "mx.key").write_bytes(issued.private_key_pem.bytes())
        (etc / "mx.pem").write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        self.ports = dict(zip((*WAYS, "auth"), free_ports(len(WAYS) + 1), strict=True))
        tables = TableWays(etc)
        listeners = [
            f"listen on 127.0.0.1 port {port} tls pki {NAME} hostname plain.test "
            f"auth-optional {tables.use('file' if way == 'down' else way, 'credentials', LOGINS)} "
            f"senders {tables.use(way, 'mailaddrmap', SENDERS)} hostnames {tables.use(way, 'addrname', NAMES)}"
            for way, port in self.ports.items()
            if way != "auth"
        ]
        checked = tables.use("proc-exec", "auth", {f"bob:{PASSWORD}": ""})
        listeners.append(f"listen on 127.0.0.1 port {self.ports['auth']} tls pki {NAME} auth {checked}")
        certificate, rule = (
            ("certificate", "reject from any for any")
            if form == "classic"
            else ("cert", "match from any for any reject")
        )
        pki = f'pki {NAME} {certificate} "@ETC@/mx.pem" key "@ETC@/mx.key"'
        plain = "listen on 127.0.0.1 port @SMTP_PORT@"
        self.fleet = Fleet(
            root,
            replicas=dict.fromkeys(ROLES, 0) | {"config": 1, "smtp-in": 1, "queue": 1},
            config_text="\n".join([pki, *tables.statements, *listeners, plain, rule, ""]),
            settings={"config": {"server_name": NAME}},
            exit_deadline_s=0.5,
        )

    def client(self, way: str) -> smtplib.SMTP:
        """Bob, under TLS and logged in."""
        client = self.secured(way)
        client.login("bob", PASSWORD)
        return client

    def secured(self, way: str) -> smtplib.SMTP:
        """Somebody under TLS."""
        client = smtplib.SMTP("127.0.0.1", self.ports[way], "client.test", 20, (STRANGER, 0))
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        client._host = NAME  # type: ignore[attr-defined]  # smtplib checks the certificate against it
        client.starttls(context=context)
        client.ehlo()
        return client


@pytest.fixture(scope="module", params=["classic", "modern"])
def ground(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    ground = Ground(tmp_path_factory.mktemp(request.param), request.param)
    with ground.fleet:
        yield ground


@pytest.mark.parametrize("way", [way for way in WAYS if way != "down"])
def test_a_user_logs_in_and_sends_as_himself_alone(ground: Ground, way: str) -> None:
    with ground.client(way) as client:
        for sender, code in (("bob@example.test", 250), ("any@bobs.test", 250), ("eve@example.test", 530), ("", 530)):
            assert client.mail(sender)[0] == code, sender
            client.rset()


@pytest.mark.parametrize(
    ("user", "password", "code"),
    [
        pytest.param("bob", PASSWORD, 235, id="right"),
        pytest.param("BOB", PASSWORD, 235, id="users have no case"),
        pytest.param("bob", PASSWORD.upper(), 535, id="passwords have"),
        pytest.param("eve", PASSWORD, 535, id="nobody"),
    ],
)
def test_a_helper_may_check_passwords_itself(ground: Ground, user: str, password: str, code: int) -> None:
    with ground.secured("auth") as client:
        client.user, client.password = user, password  # type: ignore[attr-defined]  # smtplib's way
        try:
            assert client.auth("PLAIN", client.auth_plain)[0] == code
        except smtplib.SMTPAuthenticationError as refusal:
            assert refusal.smtp_code == code
    assert "auth-proc-exec" not in ground.fleet.log_text("config")  # not an outage that it has no passwords
    assert PASSWORD not in ground.fleet.log_text("config") + ground.fleet.log_text("smtp-in")


def test_whom_a_user_may_be_is_not_known_while_the_table_is_down(ground: Ground) -> None:
    with ground.client("down") as client:
        assert client.mail("bob@example.test") == (451, b"4.3.0 Temporary failure")
        assert client.noop()[0] == 250
    assert "table mailaddrmap-down: sqlite:" in ground.fleet.log_text("smtp-in")


def test_a_whole_message_pipelined_waits_for_the_table_at_mail(ground: Ground) -> None:
    with ground.client("sqlite") as client:
        client.send(
            "MAIL FROM:<bob@example.test>\r\nRCPT TO:<x@example.test>\r\nRSET\r\nMAIL FROM:<eve@example.test>\r\n"
        )
        assert [client.getreply()[0] for _ in range(4)] == [250, 550, 250, 530]


@pytest.mark.parametrize("way", WAYS)
def test_we_are_called_as_the_table_says(ground: Ground, way: str) -> None:
    name = b"plain.test" if way == "down" else b"named.test"
    client = smtplib.SMTP(source_address=(STRANGER, 0), timeout=20)
    with client:
        assert client.connect("127.0.0.1", ground.ports[way])[1].split()[0] == name
        assert client.ehlo("client.test")[1].split()[0] == name
