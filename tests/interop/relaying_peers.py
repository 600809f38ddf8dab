"""Postfix and OpenSMTPD as servers that relay all they get to a port of the fleet, each with a log to look at.

They run from root file systems of their own below PEERS_ROOT (../shared/tools/peers-lab makes them, .ci/opensmtpd-7 the one with
OpenSMTPD 7), with configuration, queue and ports of their own, so nothing that runs there already is touched; OpenSMTPD has one queue a
root and is skipped while another runs. Used by test_postfix.py and test_opensmtpd.py.
"""

import contextlib
import os
import shutil
import smtplib
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from smtpfleet.local.ports import free_port
from tests.interop.submission_ground import NAME, PASSWORD, USER, Submission, is_listening, run

FROM, TO = "someone@sender.test", "alice@example.test"
START_S = 20.0
Certificate = tuple[Path, Path]
"""A certificate with its chain, and its key."""


def root_of(name: str) -> Path:
    """The root file system of a peer, or the test is skipped."""
    root = Path(os.environ.get("PEERS_ROOT", "/var/cache/peers-lab")) / name
    if os.geteuid() != 0:
        pytest.skip("chroot needs root")
    if not (root / ".ready").exists():
        pytest.skip(f"no root file system of {name}: name its folder in PEERS_ROOT")
    if not (root / "dev" / "null").exists():
        pytest.skip(f"no /dev in the root file system of {name}: start peers-lab once")
    return root


def submit(port: int, count: int = 1) -> None:
    """Messages to the peer, one connection for all."""
    with smtplib.SMTP("127.0.0.1", port, timeout=30) as client:
        for number in range(count):
            client.sendmail(FROM, [TO], f"Subject: number {number}\r\n\r\n.dots\r\nbody {number}\r\n")


def await_listening(port: int, why_not: str) -> None:
    ends_at = time.monotonic() + START_S
    while not is_listening(port):
        assert time.monotonic() < ends_at, why_not
        time.sleep(0.1)


def await_text(log: Path, *texts: str) -> str:
    """The log once one of the texts stands in it."""
    ends_at = time.monotonic() + START_S
    while not any(text in log.read_text() for text in texts):
        assert time.monotonic() < ends_at, log.read_text()
        time.sleep(0.1)
    return log.read_text()


@contextlib.contextmanager
def refused_by_us(submission: Submission, reason: str) -> Iterator[None]:
    """That the fleet refuses a handshake for this reason meanwhile, and takes no message."""
    seen_count = len(submission.fleet.log_text())
    yield
    text = submission.fleet.log_text()[seen_count:]
    assert "smtp tls-failed" in text and f'reason="{reason}' in text, text
    assert "smtp message" not in text, text


def put(etc: Path, submission: Submission, certificate: Certificate | None) -> None:
    """A folder for a peer's configuration: ca.pem, and client.pem with client.key where it has a certificate."""
    shutil.rmtree(etc, ignore_errors=True)
    etc.mkdir()
    shutil.copy(submission.ca_file, etc / "ca.pem")
    for source, name in zip(certificate or (), ("client.pem", "client.key"), strict=False):
        shutil.copy(source, etc / name)
        (etc / name).chmod(0o600)


MAIN_CF = """\
compatibility_level = 3.6
queue_directory = /var/spool/postfix-fleet
data_directory = /var/lib/postfix-fleet
maillog_file = /var/log/postfix-fleet.log
myhostname = relay.sender.test
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
alias_maps =
alias_database =
relayhost = [{name}]:{port}
smtp_host_lookup = native
smtp_tls_security_level = verify
smtp_tls_CAfile = /etc/postfix-fleet/ca.pem
smtp_tls_loglevel = 1
smtp_sasl_auth_enable = yes
smtp_sasl_password_maps = texthash:/etc/postfix-fleet/passwords
smtp_sasl_security_options = noanonymous
"""


CERTIFICATE_CF = """\
smtp_tls_cert_file = /etc/postfix-fleet/client.pem
smtp_tls_key_file = /etc/postfix-fleet/client.key
"""


@contextlib.contextmanager
def postfix(
    submission: Submission, port: int, certificate: Certificate | None = None, more_cf: str = ""
) -> Iterator[tuple[int, Path]]:
    """A Postfix that relays all to `port` of the fleet; its own port and its log."""
    root = root_of("postfix")
    etc, log = root / "etc/postfix-fleet", root / "var/log/postfix-fleet.log"
    own_port = free_port()
    put(etc, submission, certificate)
    log.unlink(missing_ok=True)
    (etc / "main.cf").write_text(
        MAIN_CF.format(name=NAME, port=port) + (CERTIFICATE_CF if certificate else "") + more_cf
    )
    services = []
    for line in (root / "etc/postfix/master.cf").read_text().splitlines():
        words = line.split()
        if len(words) >= 8 and not line.startswith(("#", " ")):
            words[4] = "n"
            if words[7] == "smtpd" and words[1] == "inet":
                words[0] = f"127.0.0.1:{own_port}"
            line = " ".join(words)
        services.append(line)
    (etc / "master.cf").write_text("\n".join(services) + "\n")
    (etc / "passwords").write_text(f"[{NAME}]:{port} {USER}:{PASSWORD}\n")
    for folder, owner in (("var/spool/postfix-fleet", "root"), ("var/lib/postfix-fleet", "postfix")):
        shutil.rmtree(root / folder, ignore_errors=True)
        (root / folder).mkdir()
        run("chroot", str(root), "chown", owner, f"/{folder}")
    command = ("chroot", str(root), "postfix", "-c", "/etc/postfix-fleet")
    code, output = run(*command, "start")
    assert code == 0, output
    try:
        await_listening(own_port, output + (log.read_text() if log.exists() else ""))
        yield own_port, log
    finally:
        run(*command, "stop")


SMTPD_CONF = """\
{pki}
ca ours cert "/etc/fleet/ca.pem"
listen on 127.0.0.1 port {own_port}
action "out" relay host {host} {options}
match from any for any action "out"
"""
PKI_CONF = """\
pki client cert "/etc/fleet/client.pem"
pki client key "/etc/fleet/client.key"
"""


@contextlib.contextmanager
def opensmtpd(
    submission: Submission,
    host: str,
    options: str,
    *,
    certificate: Certificate | None = None,
    root_name: str = "opensmtpd",
) -> Iterator[tuple[int, Path]]:
    """An OpenSMTPD that relays all to the URL `host`; its own port and its log. options: of the relay action."""
    root = root_of(root_name)
    with socket.socket(socket.AF_UNIX) as probe:
        is_running = probe.connect_ex(str(root / "var/run/smtpd.sock")) == 0
    if is_running:
        pytest.skip("another smtpd runs: OpenSMTPD has one queue and one control socket a root")
    etc, own_port = root / "etc/fleet", free_port()
    put(etc, submission, certificate)
    if certificate is not None:
        options = f"pki client {options}"
    pki = PKI_CONF if certificate is not None else ""
    (etc / "smtpd.conf").write_text(SMTPD_CONF.format(own_port=own_port, host=host, options=options, pki=pki))
    (root / "etc/mailname").write_text("relay.sender.test\n")
    (root / "etc/hosts").write_text(f"127.0.0.1 {NAME}\n")
    shutil.rmtree(root / "var/spool/smtpd/queue", ignore_errors=True)
    log = submission.root / "opensmtpd.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            ["chroot", str(root), "smtpd", "-dv", "-f", "/etc/fleet/smtpd.conf"],
            stdout=out,
            stderr=out,
        )
    try:
        await_listening(own_port, log.read_text())
        yield own_port, log
    finally:
        process.terminate()
        process.wait(10)
