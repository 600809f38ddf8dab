"""A fleet that clients no one here wrote submit to: STARTTLS with and without AUTH, TLS from the first byte, client certificates.

Used by test_clients.py, test_postfix.py and test_opensmtpd.py. Programs that are absent skip their tests with the reason.
"""

import shutil
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
import trustme

from smtpfleet.local.fleet import Fleet
from smtpfleet.local.ports import free_ports
from smtpfleet.smtp_in.crypt_library import crypt

NAME = "localhost"
USER, PASSWORD = "bob", "correct horse"
CONFIG = """
pki localhost certificate "@ETC@/mx.pem"
pki localhost key "@ETC@/mx.key"
pki strict certificate "@ETC@/mx.pem"
pki strict key "@ETC@/mx.key"
pki strict ca "@ETC@/ca.pem"
table creds file:@ETC@/creds
table users file:@ETC@/users
max-message-size 10M
listen on 127.0.0.1 port @SMTP_PORT@ tls pki localhost auth-optional <creds> received-auth hostname localhost
listen on 127.0.0.1 port @SMTPS_PORT@ smtps pki localhost auth <creds> hostname localhost
listen on 127.0.0.1 port @AUTH_PORT@ tls-require pki localhost auth <creds> received-auth hostname localhost
listen on 127.0.0.1 port @STRICT_PORT@ tls-require verify pki strict hostname localhost
accept from any for domain "example.test" userbase <users> deliver to maildir
"""
DEADLINE_S = 20.0


class Submission:
    """The fleet, its ports, its certificates and what it has delivered."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.etc = root / "etc"
        self.etc.mkdir(parents=True)
        self.authority = trustme.CA()
        self.authority.cert_pem.write_to_path(str(self.etc / "ca.pem"))
        self.issue("mx", NAME, "127.0.0.1")
        hashed = crypt(PASSWORD.encode(), b"$6$rounds=1000$saltsalt").decode()
        (self.etc / "creds").write_text(f"{USER} {hashed}\n")
        self.smtps_port, self.auth_port, self.strict_port = free_ports(3)
        text = CONFIG
        for name in ("smtps", "auth", "strict"):
            text = text.replace(f"@{name.upper()}_PORT@", str(getattr(self, f"{name}_port")))
        self.fleet = Fleet(root, replicas={"mta": 0, "admin": 0}, config_text=text, exit_deadline_s=0.5)
        self._seen: set[Path] = set()

    def issue(self, stem: str, *names: str, is_rsa: bool = False) -> tuple[Path, Path]:
        """A certificate of our authority with its key, as files."""
        issued = self.authority.issue_cert(*names, key_type=trustme.KeyType.RSA if is_rsa else trustme.KeyType.ECDSA)
        key, certificate = self.etc / f"{stem}.key", self.etc / f"{stem}.pem"
        key.write_bytes(issued.private_key_pem.bytes())
        key.chmod(0o600)
        certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        return certificate, key

    @property
    def ca_file(self) -> Path:
        """What clients trust."""
        return self.etc / "ca.pem"

    @property
    def smtp_port(self) -> int:
        """STARTTLS and AUTH as the client likes."""
        return self.fleet.smtp_port

    def delivered(self, count: int = 1, user: str = "alice") -> list[bytes]:
        """The next `count` messages of the user, in no order."""
        folder = self.root / "mail" / user / "Maildir" / "new"
        ends_at = time.monotonic() + DEADLINE_S
        while True:
            found = [path for path in folder.glob("*") if path not in self._seen]
            if len(found) >= count:
                self._seen.update(found)
                assert len(found) == count
                return [path.read_bytes() for path in found]
            assert time.monotonic() < ends_at, f"{len(found)} of {count} messages\n{self.fleet.log_text()[-3000:]}"
            time.sleep(0.05)


def program(name: str) -> str:
    """The path of a program, or the test is skipped."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if found is None:
        pytest.skip(f"no {name} here")
    return found


def run(
    *command: str, given: str | bytes = b"", environ: Mapping[str, str] | None = None, timeout_s: float = 60
) -> tuple[int, str]:
    """Runs a client; its exit code and all it wrote."""
    done = subprocess.run(
        command,
        input=given.encode() if isinstance(given, str) else given,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=timeout_s,
        check=False,
        env=dict(environ) if environ is not None else None,
    )
    return done.returncode, done.stdout.decode(errors="replace")


def is_listening(port: int) -> bool:
    """Whether somebody takes connections."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
