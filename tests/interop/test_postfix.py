"""Postfix relays to the fleet: over TLS it verifies, with AUTH or with a client certificate, many messages on kept connections.

Who has no certificate where one is asked for, or one of another authority, stays outside and keeps the message.
"""

from pathlib import Path

import pytest

from tests.interop.certificate_authority import CertificateAuthority
from tests.interop.relaying_peers import await_text, postfix, refused_by_us, submit
from tests.interop.submission_ground import Submission

pytestmark = pytest.mark.interop

ONLY_TLS_1_2 = "smtp_tls_mandatory_protocols = >=TLSv1.2, <=TLSv1.2\n"


def test_postfix_relays_over_verified_tls_with_auth(submission: Submission) -> None:
    with postfix(submission, submission.auth_port) as (port, log):
        submit(port, 30)
        contents = submission.delivered(30)
        assert all(b"\n.dots\nbody " in content and b"auth=yes" in content for content in contents)
        assert "Verified TLS connection established" in log.read_text()
        assert "status=sent (250 2.0.0" in log.read_text()


@pytest.mark.parametrize("more_cf", ["", ONLY_TLS_1_2], ids=["TLS 1.3", "TLS 1.2"])
@pytest.mark.parametrize("is_rsa", [False, True], ids=["ECDSA", "RSA"])
def test_postfix_shows_its_certificate(submission: Submission, is_rsa: bool, more_cf: str) -> None:
    certificate = submission.issue("postfix", "relay.sender.test", is_rsa=is_rsa)
    with postfix(submission, submission.strict_port, certificate, more_cf) as (port, log):
        submit(port, 3)
        assert all(verified(content, "1.2" if more_cf else "1.3") for content in submission.delivered(3))
        assert "Verified TLS connection established" in log.read_text()


def verified(content: bytes, version: str) -> bool:
    """Whether Received says that the client's certificate was good."""
    return f"(TLSv{version}:".encode() in content and b":256:YES)" in content


@pytest.mark.parametrize("more_cf", ["", ONLY_TLS_1_2], ids=["TLS 1.3", "TLS 1.2"])
@pytest.mark.parametrize("has_one", [False, True], ids=["none", "of another authority"])
def test_postfix_without_a_certificate_of_ours_is_not_let_in(
    submission: Submission, tmp_path: Path, has_one: bool, more_cf: str
) -> None:
    certificate = CertificateAuthority(tmp_path).issue("stranger", ["relay.sender.test"]) if has_one else None
    reason = "certificate verify failed" if has_one else "peer did not return a certificate"
    with (
        refused_by_us(submission, reason),
        postfix(submission, submission.strict_port, certificate, more_cf) as (port, log),
    ):
        submit(port)
        text = await_text(log, "status=")
        assert "status=deferred" in text and "status=sent" not in text, text
