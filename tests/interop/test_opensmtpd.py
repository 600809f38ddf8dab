"""OpenSMTPD relays to the fleet over TLS: 6.8 of Debian 12 without, 7.4 of its backports with a client certificate.

6.8 cannot show one where OpenSSL is 3. Its process that speaks SMTP has no private key: it takes the public one out of the certificate
(EVP_PKEY_get1_RSA or _EC_KEY), hangs a mark on it, and an ENGINE of its own sends what is to be signed under a marked key to the process
that has the private one. Since OpenSSL 3 that function gives a copy; the signature is made by the provider with the key in the
certificate, which has no mark, so the engine calls the ordinary method: `missing private key`. Key type, TLS version, security level
and OPENSSL_CONF change nothing, and neither does the server; with a library loaded before OpenSSL's that puts the copy back into the key
(EVP_PKEY_set1_RSA), 6.8 signs.
"""

import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from smtpfleet.local.ports import free_port
from tests.interop.certificate_authority import CertificateAuthority
from tests.interop.relaying_peers import await_text, opensmtpd, refused_by_us, submit
from tests.interop.submission_ground import NAME, Submission, is_listening, program

pytestmark = pytest.mark.interop

RELAYED = 'result="Ok"'
NEW = "opensmtpd-7"


def test_opensmtpd_relays_over_tls(submission: Submission) -> None:
    with opensmtpd(submission, f"smtp+tls://127.0.0.1:{submission.smtp_port}", "tls no-verify") as (port, log):
        submit(port, 3)
        assert all(b"\n.dots\nbody " in content for content in submission.delivered(3))
        assert "mta tls" in await_text(log, RELAYED)


@pytest.mark.parametrize("root_name", ["opensmtpd", NEW])
def test_opensmtpd_without_a_certificate_is_not_let_in(submission: Submission, root_name: str) -> None:
    host = f"smtp+tls://127.0.0.1:{submission.strict_port}"
    with (
        refused_by_us(submission, "peer did not return a certificate"),
        opensmtpd(submission, host, "tls no-verify", root_name=root_name) as (port, log),
    ):
        submit(port)
        assert RELAYED not in await_text(log, "mta error")


@pytest.mark.parametrize("is_rsa", [False, True], ids=["ECDSA", "RSA"])
def test_opensmtpd_6_cannot_sign(submission: Submission, is_rsa: bool) -> None:
    certificate = submission.issue("opensmtpd", "relay.sender.test", is_rsa=is_rsa)
    host = f"smtp+tls://127.0.0.1:{submission.strict_port}"
    with opensmtpd(submission, host, "tls no-verify", certificate=certificate) as (port, log):
        submit(port)
        text = await_text(log, "mta error")
        assert "missing private key" in text and RELAYED not in text, text


@contextlib.contextmanager
def s_server(submission: Submission) -> Iterator[int]:
    """OpenSSL's own server, which wants a client certificate under TLS 1.2 and signatures of the plainest kind; its port."""
    port = free_port()
    with subprocess.Popen(
        [program("openssl"), "s_server", "-accept", str(port), "-tls1_2", "-client_sigalgs", "RSA+SHA256:ECDSA+SHA256",
         "-cipher", "ALL:@SECLEVEL=0", "-cert", str(submission.etc / "mx.pem"), "-key", str(submission.etc / "mx.key"),
         "-CAfile", str(submission.ca_file), "-Verify", "2", "-quiet"],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as server:  # fmt: skip
        try:
            ends_at = time.monotonic() + 10
            while not is_listening(port):
                assert time.monotonic() < ends_at
                time.sleep(0.1)
            yield port
        finally:
            server.kill()


@pytest.mark.parametrize("is_rsa", [False, True], ids=["ECDSA", "RSA"])
def test_opensmtpd_6_cannot_sign_for_openssl_either(submission: Submission, is_rsa: bool) -> None:
    certificate = submission.issue("opensmtpd", "relay.sender.test", is_rsa=is_rsa)
    with (
        s_server(submission) as other_port,
        opensmtpd(submission, f"smtps://127.0.0.1:{other_port}", "tls no-verify", certificate=certificate) as (
            port,
            log,
        ),
    ):
        submit(port)
        assert "missing private key" in await_text(log, "mta error")


@pytest.mark.parametrize("version", ["1.2", "1.3"])
@pytest.mark.parametrize("is_rsa", [False, True], ids=["ECDSA", "RSA"])
def test_opensmtpd_7_shows_its_certificate_and_verifies_ours(
    submission: Submission, is_rsa: bool, version: str
) -> None:
    certificate = submission.issue("opensmtpd", "relay.sender.test", is_rsa=is_rsa)
    host, options = f"smtp+tls://{NAME}:{submission.strict_port}", f'ca ours protocols "tlsv{version}"'
    with opensmtpd(submission, host, options, certificate=certificate, root_name=NEW) as (port, log):
        submit(port, 3)
        contents = submission.delivered(3)
        assert all(f"(TLSv{version}:".encode() in content and b":256:YES)" in content for content in contents)
        assert 'cert-check result="valid"' in await_text(log, RELAYED)


def test_opensmtpd_7_with_a_certificate_of_another_authority_is_not_let_in(
    submission: Submission, tmp_path: Path
) -> None:
    certificate = CertificateAuthority(tmp_path).issue("stranger", ["relay.sender.test"])
    host = f"smtp+tls://{NAME}:{submission.strict_port}"
    with (
        refused_by_us(submission, "certificate verify failed"),
        opensmtpd(submission, host, "ca ours", certificate=certificate, root_name=NEW) as (port, log),
    ):
        submit(port)
        assert RELAYED not in await_text(log, "mta error")
