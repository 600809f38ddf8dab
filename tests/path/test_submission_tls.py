"""Submission as it is deployed: STARTTLS, TLS from the start and AUTH with two replicas, passwords asked of config, files renewed live."""

import asyncio
import smtplib
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from smtpfleet.local.fleet import Fleet
from smtpfleet.smtp_in.crypt_library import crypt

pytestmark = pytest.mark.path

NAME = "mx.example.test"
PASSWORD = "correct horse battery"
CONFIG = """
pki mx.example.test certificate "@ETC@/mx.pem"
pki mx.example.test key "@ETC@/mx.key"
table creds file:@ETC@/creds
listen on 127.0.0.1 port @SMTP_PORT@ tls-require pki mx.example.test auth <creds> received-auth hostname mx.example.test
listen on 127.0.0.1 port @SMTPS_PORT@ smtps pki mx.example.test auth <creds> hostname mx.example.test
table users file:@ETC@/users
accept from local for domain "example.test" userbase <users> deliver to maildir
"""
MESSAGE = "Subject: hello\r\n\r\nbody\r\n"


class Ground:
    """A fleet whose clients authenticate."""

    def __init__(self, root: Path, smtps_port: int) -> None:
        self.authority = trustme.CA()
        self.etc = root / "etc"
        self.etc.mkdir(parents=True)
        self.smtps_port = smtps_port
        self.issue(NAME)
        self.write_password(PASSWORD)
        replicas = {"smtp-in": 2, "scheduler": 0, "mta": 0, "admin": 0}
        text = CONFIG.replace("@SMTPS_PORT@", str(smtps_port))
        self.fleet = Fleet(
            root, replicas=replicas, config_text=text, settings={"config": {"config_poll_s": 0.2}}, exit_deadline_s=0.5
        )

    def issue(self, *names: str) -> None:
        issued = self.authority.issue_cert(*names)
        (self.etc / "mx.key").write_bytes(issued.private_key_pem.bytes())
        (self.etc / "mx.pem").write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))

    def write_password(self, password: str) -> None:
        (self.etc / "creds").write_text(f"bob {crypt(password.encode(), b'$6$rounds=1000$saltsalt').decode()}\n")

    def context(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        return context

    def starttls(self) -> smtplib.SMTP:
        """A client under TLS; smtplib checks names against the host it dialled, so it is told ours."""
        client = smtplib.SMTP(*self.fleet.smtp_address, timeout=10)
        client._host = NAME  # type: ignore[attr-defined]
        client.starttls(context=self.context())
        client.ehlo()
        return client


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    ground = Ground(tmp_path_factory.mktemp("submission"), port)
    with ground.fleet:
        yield ground


def test_starttls_auth_and_a_message(ground: Ground) -> None:
    with smtplib.SMTP(*ground.fleet.smtp_address, timeout=10) as clear:
        assert clear.docmd("EHLO client.test")[0] == 250
        assert clear.docmd("MAIL FROM:<bob@example.test>") == (530, b"5.7.0 Must issue a STARTTLS command first")
    with ground.starttls() as client:
        assert client.docmd("MAIL FROM:<bob@example.test>") == (530, b"5.7.0 Must issue an AUTH command first")
        assert client.login("bob", PASSWORD) == (235, b"2.7.0 Authentication succeeded")
        assert client.sendmail("bob@example.test", ["alice@example.test"], MESSAGE) == {}
    lines = [line for line in ground.fleet.log_text().splitlines() if "smtp message msgid=" in line]
    assert any("proto=ESMTPSA user=bob" in line for line in lines), lines
    assert PASSWORD not in ground.fleet.log_text()


def test_tls_from_the_start_and_a_wrong_password(ground: Ground) -> None:
    with socket.create_connection(("127.0.0.1", ground.smtps_port), timeout=10) as raw:
        client = smtplib.SMTP(timeout=10)
        client.sock = ground.context().wrap_socket(raw, server_hostname=NAME)
        assert client.getreply()[0] == 220
        client.ehlo("client.test")
        with pytest.raises(smtplib.SMTPAuthenticationError) as refused:
            client.login("bob", "wrong")
        assert (refused.value.smtp_code, refused.value.smtp_error) == (535, b"5.7.8 Authentication failed")
        client.close()


async def test_a_changed_password_and_a_renewed_certificate_hold_without_a_restart(ground: Ground) -> None:
    running = await asyncio.to_thread(ground.starttls)
    ground.write_password("another password")
    ground.issue(NAME, "renewed.example.test")

    def renewed() -> list[str]:
        """The names in the certificate now, after a login with the new password."""
        with ground.starttls() as client:
            assert isinstance(client.sock, ssl.SSLSocket)
            peer = client.sock.getpeercert() or {}
            client.login("bob", "another password")
            return [str(name) for _, name in peer["subjectAltName"]]

    ends_at = time.monotonic() + 20
    seen: object = None
    while seen != [NAME, "renewed.example.test"]:
        assert time.monotonic() < ends_at, seen
        await asyncio.sleep(0.3)
        try:
            seen = await asyncio.to_thread(renewed)
        except smtplib.SMTPAuthenticationError as error:
            seen = error
    assert running.noop()[0] == 250
    running.close()
    ground.write_password(PASSWORD)
    while True:
        try:
            with await asyncio.to_thread(ground.starttls) as client:
                client.login("bob", PASSWORD)
                break
        except smtplib.SMTPAuthenticationError:
            assert time.monotonic() < ends_at
            await asyncio.sleep(0.3)
