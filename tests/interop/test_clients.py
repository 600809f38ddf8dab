"""Mail clients and test programs no one here wrote submit to the fleet; what they sent must be in the mailbox, and only what may be."""

import smtplib
import ssl
from email.message import EmailMessage
from pathlib import Path

import pytest

from tests.interop.submission_ground import NAME, PASSWORD, USER, Submission, program, run

pytestmark = pytest.mark.interop

FROM, TO = "bob@example.test", "alice@example.test"
TEXT = f"From: <{FROM}>\r\nTo: <{TO}>\r\nSubject: interop\r\n\r\n.a dot\r\n..\r\nbody\r\n"


# swaks


def swaks() -> str:
    """swaks, if it can speak TLS."""
    path = program("swaks")
    if "TLS supported" not in run(path, "--support")[1]:
        pytest.skip("swaks has no TLS here (libnet-ssleay-perl)")
    return path


@pytest.mark.parametrize(
    "options",
    [
        pytest.param([], id="in clear"),
        pytest.param(["--tls"], id="STARTTLS"),
        pytest.param(["--tls", "--auth", "PLAIN"], id="PLAIN"),
        pytest.param(["--tls", "--auth", "LOGIN"], id="LOGIN"),
        pytest.param(["--tls", "--auth", "PLAIN", "--pipeline"], id="PIPELINING"),
    ],
)
def test_swaks(submission: Submission, options: list[str]) -> None:
    who = ["--auth-user", USER, "--auth-password", PASSWORD] if "--auth" in options else []
    code, output = run(
        swaks(), "--server", f"127.0.0.1:{submission.smtp_port}", "--from", FROM, "--to", TO,
        "--ehlo", "client.test", "--body", ".dots\n..\nend", *options, *who,
    )  # fmt: skip
    assert code == 0, output
    (content,) = submission.delivered()
    assert content.endswith(b"\n.dots\n..\nend\n\n") or b"\n.dots\n..\nend\n" in content
    assert (b"auth=yes" in content) is ("--auth" in options)
    assert (b"TLSv1.3" in content) is ("--tls" in options)


def test_swaks_from_the_first_byte(submission: Submission) -> None:
    code, output = run(
        swaks(), "--server", f"127.0.0.1:{submission.smtps_port}", "--tlsc", "--from", FROM, "--to", TO,
        "--auth", "PLAIN", "--auth-user", USER, "--auth-password", PASSWORD,
    )  # fmt: skip
    assert code == 0, output
    submission.delivered()


@pytest.mark.parametrize(
    ("options", "reply"),
    [
        pytest.param(["--tls", "--auth-password", "wrong"], "535 5.7.8", id="a wrong password"),
        pytest.param(["--auth-password", PASSWORD], "not offered|503|530|530 5.7.0", id="in clear"),
    ],
)
def test_swaks_is_refused(submission: Submission, options: list[str], reply: str) -> None:
    code, output = run(
        swaks(), "--server", f"127.0.0.1:{submission.auth_port}", "--from", FROM, "--to", TO,
        "--auth", "PLAIN", "--auth-user", USER, *options,
    )  # fmt: skip
    assert code != 0
    assert any(part in output for part in reply.split("|")) or "did not advertise" in output, output


def test_swaks_may_not_relay(submission: Submission) -> None:
    code, output = run(
        swaks(), "--server", f"127.0.0.1:{submission.smtp_port}", "--from", FROM, "--to", "x@elsewhere.test"
    )
    assert code != 0
    assert "550 5.7.1" in output or "550 5.1" in output, output


# curl


@pytest.mark.parametrize("is_smtps", [False, True], ids=["STARTTLS", "smtps"])
def test_curl(submission: Submission, tmp_path: Path, is_smtps: bool) -> None:
    mail = tmp_path / "mail.eml"
    mail.write_bytes(TEXT.encode())
    port = submission.smtps_port if is_smtps else submission.auth_port
    code, output = run(
        program("curl"), "-sv", f"{'smtps' if is_smtps else 'smtp'}://{NAME}:{port}/client.test", "--ssl-reqd",
        "--cacert", str(submission.ca_file), "--user", f"{USER}:{PASSWORD}", "--mail-from", FROM, "--mail-rcpt", TO,
        "--upload-file", str(mail), "--resolve", f"{NAME}:{port}:127.0.0.1",
    )  # fmt: skip
    assert code == 0, output
    (content,) = submission.delivered()
    assert b"\n\n.a dot\n..\nbody\n" in content


# msmtp, s-nail


def test_msmtp(submission: Submission) -> None:
    code, output = run(
        program("msmtp"), f"--host={NAME}", f"--port={submission.auth_port}", "--tls=on", "--tls-starttls=on",
        f"--tls-trust-file={submission.ca_file}", "--auth=plain", f"--user={USER}",
        f"--passwordeval=echo '{PASSWORD}'", f"--from={FROM}", "--dsn-notify=failure", "--dsn-return=headers", TO,
        given=TEXT.replace("\r\n", "\n"),
    )  # fmt: skip
    assert code == 0, output
    (content,) = submission.delivered()
    assert b"\n\n.a dot\n..\nbody\n" in content


def test_s_nail(submission: Submission, tmp_path: Path) -> None:
    code, output = run(
        program("s-nail"), "-:/", "-Sv15-compat", f"-Sfrom={FROM}", "-Ssmtp-auth=login", "-Ssmtp-use-starttls",
        f"-Stls-ca-file={submission.ca_file}", "-Stls-verify=strict", "-Ssendwait",
        f"-Smta=smtp://{USER}:{PASSWORD.replace(' ', '%20')}@{NAME}:{submission.auth_port}", "-s", "interop", TO,
        given="a body\n", environ={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
    )  # fmt: skip
    assert code == 0, output
    (content,) = submission.delivered()
    assert b"a body" in content and b"auth=yes" in content


# mutt

MUTTRC = """\
set from={user}@example.test envelope_from=yes hostname=client.test copy=no record=""
set smtp_url={url} smtp_pass="{password}" smtp_authenticators={mechanism}
set ssl_starttls=yes ssl_force_tls=yes ssl_verify_host=yes ssl_verify_dates=yes certificate_file={trusted}
"""


def run_mutt(submission: Submission, home: Path, scheme: str, mechanism: str, trusted: Path) -> tuple[int, str]:
    """One message by `scheme`; nothing of the machine's configuration or of a user's counts."""
    home.mkdir(exist_ok=True)
    port = submission.smtps_port if scheme == "smtps" else submission.auth_port
    url = f"{scheme}://{USER}@{NAME}:{port}"
    (home / "muttrc").write_text(
        MUTTRC.format(user=USER, url=url, password=PASSWORD, mechanism=mechanism, trusted=trusted)
    )
    code, output = run(
        program("mutt"), "-n", "-F", str(home / "muttrc"), "-s", "interop", TO, given=".a dot\n..\nbody\n",
        environ={"HOME": str(home), "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
    )  # fmt: skip
    if "No authenticators available" in output:
        pytest.skip("no SASL modules for mutt here (libsasl2-modules)")
    return code, output


@pytest.mark.parametrize("mechanism", ["plain", "login"])
@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
def test_mutt(submission: Submission, tmp_path: Path, scheme: str, mechanism: str) -> None:
    code, output = run_mutt(submission, tmp_path, scheme, mechanism, submission.ca_file)
    assert code == 0, output
    (content,) = submission.delivered()
    assert content.endswith(b"\n\n.a dot\n..\nbody\n") and b"with ESMTPSA" in content


def test_mutt_sends_nothing_to_a_certificate_it_does_not_trust(submission: Submission, tmp_path: Path) -> None:
    """So the other tests of mutt saw a certificate that it had verified."""
    nobody = tmp_path / "nobody.pem"
    nobody.touch()
    code, output = run_mutt(submission, tmp_path / "home", "smtp", "plain", nobody)
    assert code != 0 and "Untrusted server certificate" in output, output


# smtplib


def context_of(submission: Submission) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(submission.ca_file))


def test_smtplib_with_dsn_and_utf8(submission: Submission) -> None:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = FROM, TO, "grüße"
    message.set_content("schöne Grüße\n")
    with smtplib.SMTP(NAME, submission.auth_port, timeout=20) as client:
        client.starttls(context=context_of(submission))
        client.login(USER, PASSWORD)
        assert {"8bitmime", "smtputf8", "dsn", "pipelining", "size"} <= set(client.esmtp_features)
        refused = client.send_message(message, mail_options=["SMTPUTF8", "RET=HDRS"], rcpt_options=["NOTIFY=FAILURE"])
        assert refused == {}
    (content,) = submission.delivered()
    assert "schöne Grüße".encode() in content


def test_smtplib_refusals(submission: Submission) -> None:
    with smtplib.SMTP(NAME, submission.auth_port, timeout=20) as client:
        with pytest.raises(smtplib.SMTPSenderRefused) as refused:
            client.sendmail(FROM, [TO], TEXT)
        assert refused.value.smtp_code == 530
    with smtplib.SMTP_SSL(NAME, submission.smtps_port, timeout=20, context=context_of(submission)) as client:
        client.login(USER, PASSWORD)
        with pytest.raises(smtplib.SMTPRecipientsRefused) as nobody:
            client.sendmail(FROM, ["nobody@example.test"], TEXT)
        assert nobody.value.recipients["nobody@example.test"][0] == 550
        with pytest.raises(smtplib.SMTPSenderRefused) as large:
            client.sendmail(FROM, [TO], "x" * (11 << 20))
        assert large.value.smtp_code == 552


# smtp-source of Postfix


@pytest.mark.parametrize("options", [[], ["-d"], ["-r", "2"]], ids=["one each", "kept open", "two recipients"])
def test_smtp_source(submission: Submission, options: list[str]) -> None:
    rcpts = ["-t", TO] if "-r" not in options else ["-t", "%d" and TO]
    code, output = run(
        program("smtp-source"), "-s", "5", "-m", "50", "-l", "3000", "-f", FROM, *rcpts,
        *[option for option in options if option in ("-d",)], f"inet:127.0.0.1:{submission.smtp_port}",
    )  # fmt: skip
    assert code == 0, output
    assert len(submission.delivered(50)) == 50


# openssl s_client


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
@pytest.mark.parametrize("is_smtps", [False, True], ids=["STARTTLS", "smtps"])
def test_openssl(submission: Submission, version: str, is_smtps: bool) -> None:
    how = ["-connect", f"127.0.0.1:{submission.smtps_port}"] if is_smtps else [
        "-connect", f"127.0.0.1:{submission.smtp_port}", "-starttls", "smtp"]  # fmt: skip
    code, output = run(
        program("openssl"), "s_client", *how, version, "-CAfile", str(submission.ca_file), "-verify_return_error",
        "-verify_hostname", NAME, "-crlf", "-quiet", given="EHLO client.test\nQUIT\n",
    )  # fmt: skip
    assert "250-" in output and "AUTH" in output, (code, output)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"], id="TLS 1.1"),
        pytest.param(["-tls1", "-cipher", "ALL:@SECLEVEL=0"], id="TLS 1.0"),
        pytest.param(["-tls1_2", "-cipher", "AES128-SHA:AES256-GCM-SHA384:@SECLEVEL=0"], id="no forward secrecy"),
        pytest.param(["-tls1_2", "-cipher", "ECDHE-RSA-AES128-SHA:ECDHE-ECDSA-AES256-SHA:@SECLEVEL=0"], id="CBC"),
        pytest.param(["-tls1_2", "-cipher", "aNULL:@SECLEVEL=0"], id="anonymous"),
    ],
)
def test_openssl_finds_nothing_weak(submission: Submission, options: list[str]) -> None:
    code, output = run(
        program("openssl"), "s_client", "-connect", f"127.0.0.1:{submission.smtps_port}", *options, given="QUIT\n"
    )
    assert code != 0, output
    assert "Cipher is (NONE)" in output or "no protocols available" in output, output


def test_openssl_renegotiates_nothing(submission: Submission) -> None:
    """`R` asks for a renegotiation (RFC 5746 keeps it safe, work for us it stays)."""
    _, output = run(
        program("openssl"), "s_client", "-connect", f"127.0.0.1:{submission.smtps_port}", "-tls1_2",
        given="EHLO a\nR\nEHLO b\nQUIT\n",
    )  # fmt: skip
    assert "no renegotiation" in output.lower() or "250 " not in output.split("RENEGOTIATING")[-1], output


# client certificates


def test_a_client_certificate_is_asked_for_and_checked(submission: Submission) -> None:
    certificate, key = submission.issue("client", "client.test")
    at = ["--server", f"127.0.0.1:{submission.strict_port}", "--tls", "--from", FROM, "--to", TO]
    code, output = run(
        swaks(), *at, "--tls-cert", str(certificate), "--tls-key", str(key)
    )  # fmt: skip
    assert code == 0, output
    submission.delivered()
    code, output = run(swaks(), *at)
    assert code != 0, output
