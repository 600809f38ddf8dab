"""Postfix and OpenSMTPD relay to the fleet: over TLS they verify, with AUTH, many messages on kept connections; who has no certificate where one is asked for stays outside.

Both run from root file systems of their own below PEERS_ROOT (../shared/tools/peers-lab makes them), with configuration, queue and
ports of their own, so nothing that runs there already is touched; OpenSMTPD has one queue a root and is skipped while another runs.
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

pytestmark = pytest.mark.interop

FROM, TO = "someone@sender.test", "alice@example.test"
START_S = 20.0


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


@contextlib.contextmanager
def postfix(submission: Submission, port: int) -> Iterator[tuple[int, Path]]:
    """A Postfix that relays all to `port` of the fleet; its own port and its log."""
    root = root_of("postfix")
    etc, log = root / "etc/postfix-fleet", root / "var/log/postfix-fleet.log"
    own_port = free_port()
    shutil.rmtree(etc, ignore_errors=True)
    etc.mkdir()
    log.unlink(missing_ok=True)
    (etc / "main.cf").write_text(MAIN_CF.format(name=NAME, port=port))
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
    shutil.copy(submission.ca_file, etc / "ca.pem")
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


def test_postfix_relays_over_verified_tls_with_auth(submission: Submission) -> None:
    with postfix(submission, submission.auth_port) as (port, log):
        submit(port, 30)
        contents = submission.delivered(30)
        assert all(b"\n.dots\nbody " in content and b"auth=yes" in content for content in contents)
        assert "Verified TLS connection established" in log.read_text()
        assert "status=sent (250 2.0.0" in log.read_text()


SMTPD_CONF = """\
listen on 127.0.0.1 port {own_port}
action "out" relay host smtp+tls://127.0.0.1:{port} tls no-verify
match from any for any action "out"
"""


@contextlib.contextmanager
def opensmtpd(submission: Submission, port: int) -> Iterator[tuple[int, Path]]:
    """An OpenSMTPD that relays all to `port` of the fleet; its own port and its log."""
    root = root_of("opensmtpd")
    with socket.socket(socket.AF_UNIX) as probe:
        is_running = probe.connect_ex(str(root / "var/run/smtpd.sock")) == 0
    if is_running:
        pytest.skip("another smtpd runs: OpenSMTPD has one queue and one control socket a root")
    etc, own_port = root / "etc/fleet", free_port()
    shutil.rmtree(etc, ignore_errors=True)
    etc.mkdir()
    text = SMTPD_CONF.format(own_port=own_port, port=port)
    (etc / "smtpd.conf").write_text(text)
    (root / "etc/mailname").write_text("relay.sender.test\n")
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


def test_opensmtpd_relays_over_tls(submission: Submission) -> None:
    with opensmtpd(submission, submission.smtp_port) as (port, log):
        submit(port, 3)
        assert all(b"\n.dots\nbody " in content for content in submission.delivered(3))
        assert 'result="Ok"' in log.read_text() and "mta tls" in log.read_text()


def test_opensmtpd_without_a_certificate_is_not_let_in(submission: Submission) -> None:
    """With one it could not prove: what holds the keys of 6.8 does not sign under Debian's OpenSSL 3 (`EVP lib`)."""
    with opensmtpd(submission, submission.strict_port) as (port, log):
        submit(port)
        ends_at = time.monotonic() + START_S
        while "TempFail" not in log.read_text():
            assert time.monotonic() < ends_at, log.read_text()
            time.sleep(0.2)
        assert 'result="Ok"' not in log.read_text()
