"""TLS of listeners, over real sockets with OpenSSL on both sides: STARTTLS, TLS from the start, names, client certificates, reload."""

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from smtpfleet.runtime.tls_files import TlsFault, versions_of
from tests.support.secure_stage import HOST, NAME, SecureStage


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[SecureStage]:
    stage = SecureStage(tmp_path)
    yield stage
    await stage.close()


async def test_starttls_secures_forgets_and_is_offered_once(stage: SecureStage) -> None:
    await stage.listen(tls="starttls")
    peer = await stage.greeted()
    assert "250-STARTTLS" in await peer.say("EHLO client.example")
    await peer.start_tls(stage.client_context())
    assert await peer.say("MAIL FROM:<a@example.net>") == "503 5.5.1 Command not allowed at this point."
    assert "STARTTLS" not in await peer.say("EHLO other.example")
    assert await peer.say("STARTTLS") == "503 5.5.1 Channel already secured"
    assert (await peer.say("MAIL FROM:<a@example.net>")).startswith("250 ")
    assert (await peer.say("RCPT TO:<alice@example.test>")).startswith("250 ")
    assert (await peer.say("DATA")).startswith("354 ")
    assert "Message accepted" in await peer.say(b"Subject: x\r\n\r\nbody\r\n.\r\n")
    await peer.close()
    (content,) = stage.inner.queue.contents
    header = content.split(b"\r\n\r\n")[0].decode()
    assert "with ESMTPS id " in header and "\n\t(TLSv1.3:TLS_" in header and ":256:NO)" in header


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=lambda v: v.name)
async def test_tls_from_the_start(stage: SecureStage, version: ssl.TLSVersion) -> None:
    await stage.listen(tls="smtps")
    context = stage.client_context()
    context.minimum_version = context.maximum_version = version
    peer = await stage.greeted(ssl=context, server_hostname=NAME)
    tls = peer.writer.get_extra_info("ssl_object")
    assert tls.version() == version.name.replace("_", ".")
    assert tls.cipher()[0].startswith(("TLS_", "ECDHE-"))
    assert "STARTTLS" not in await peer.say("EHLO client.example")
    assert await peer.say("QUIT") == "221 2.0.0 Bye"
    await peer.close()


async def test_old_versions_and_plain_text_get_no_session(stage: SecureStage) -> None:
    await stage.listen(tls="smtps")
    peer = await stage.connect()
    peer.writer.write(b"EHLO client.example\r\n")
    assert b"250" not in await asyncio.wait_for(peer.reader.read(), 5)
    await peer.close()
    assert not stage.server.connections
    assert 'smtp turned-back address=127.0.0.1 reason="tls: ' in stage.log_text.getvalue()


async def test_require_refuses_mail_before_tls(stage: SecureStage) -> None:
    await stage.listen(tls="require")
    peer = await stage.greeted()
    assert await peer.say("MAIL FROM:<a@example.net>") == "530 5.7.0 Must issue a STARTTLS command first"
    await peer.start_tls(stage.client_context())
    await peer.say("EHLO client.example")
    assert (await peer.say("MAIL FROM:<a@example.net>")).startswith("250 ")
    await peer.close()


@pytest.mark.parametrize(
    "injected", [b"RSET\r\n", b"x", b"MAIL FROM:<evil@example.net>\r\nRCPT TO:<alice@example.test>\r\n"]
)
async def test_what_is_pipelined_behind_starttls_ends_the_session(stage: SecureStage, injected: bytes) -> None:
    await stage.listen(tls="starttls")
    peer = await stage.greeted()
    assert await peer.say(b"STARTTLS\r\n" + injected) == "554 5.5.1 Commands after STARTTLS before the handshake"
    assert await peer.reply() == ""
    await peer.close()


async def test_a_handshake_that_fails_ends_the_connection_and_nothing_else(stage: SecureStage) -> None:
    await stage.listen(tls="starttls")
    other = await stage.greeted()
    peer = await stage.greeted()
    assert (await peer.say("STARTTLS")).startswith("220 ")
    peer.writer.write(b"no handshake at all\r\n")
    assert b"250" not in await asyncio.wait_for(peer.reader.read(), 5)
    await peer.close()
    gone = await stage.greeted()
    assert (await gone.say("STARTTLS")).startswith("220 ")
    await gone.close()
    await stage.inner.until(lambda: len(stage.server.connections) == 1, lambda: stage.server.connections)
    assert await other.say("NOOP") == "250 2.0.0 Ok"
    await other.close()
    assert "smtp tls-failed address=127.0.0.1 reason=" in stage.log_text.getvalue()


async def test_the_certificate_is_chosen_by_name(stage: SecureStage) -> None:
    pki = [stage.issue("first", NAME), stage.issue("second", "mail.other.test", "*.wild.test")]
    await stage.apply(stage.configuration(pki, tls="smtps"))
    for asked, shown in ((NAME, NAME), ("mail.other.test", "mail.other.test"), ("a.wild.test", "mail.other.test")):
        peer = await stage.greeted(ssl=stage.client_context(), server_hostname=asked)
        names = [name for _, name in peer.writer.get_extra_info("peercert")["subjectAltName"]]
        assert shown in names
        await peer.close()
    unchecked = stage.client_context()
    unchecked.check_hostname = False
    peer = await stage.greeted(ssl=unchecked, server_hostname="nobody.test")
    assert ("DNS", NAME) in peer.writer.get_extra_info("peercert")["subjectAltName"]
    await peer.close()


async def test_verify_wants_a_certificate_that_verifies(stage: SecureStage) -> None:
    await stage.listen(tls="starttls", verify=True, ca="ours")
    peer = await stage.greeted()
    await peer.start_tls(stage.client_context("client.example"))
    assert (await peer.say("EHLO client.example")).startswith("250-")
    assert ":YES" in stage.log_text.getvalue()
    await peer.close()
    bare = await stage.greeted()
    await bare.start_tls(stage.client_context())  # TLS 1.3: the client learns of the refusal by its next read
    try:
        said = await bare.say("EHLO client.example")
    except (ssl.SSLError, ConnectionError):
        said = ""
    assert said == ""
    await bare.close()


async def test_a_certificate_is_optional_where_only_a_ca_is_named(stage: SecureStage) -> None:
    await stage.listen(tls="starttls", ca="ours")
    for certificate in ("", "client.example"):
        peer = await stage.greeted()
        await peer.start_tls(stage.client_context(certificate))
        assert (await peer.say("EHLO client.example")).startswith("250-")
        await peer.close()
    assert stage.log_text.getvalue().count(":YES") == 1


async def test_changed_files_are_loaded_and_sessions_go_on(stage: SecureStage) -> None:
    await stage.listen(tls="starttls")
    running = await stage.secured()
    stage.issue("mx", NAME, "renewed.example.test")
    await stage.tls.look()
    peer = await stage.greeted()
    await peer.start_tls(stage.client_context(), "renewed.example.test")
    await peer.close()
    assert await running.say("NOOP") == "250 2.0.0 Ok"
    await running.close()


async def test_a_broken_file_changes_nothing_and_is_named_once(stage: SecureStage) -> None:
    await stage.listen(tls="starttls")
    (stage.folder / "mx.key").write_text("no key")
    for _ in range(3):
        await stage.tls.look()
    await (await stage.secured()).close()
    assert stage.log_text.getvalue().count("certificates not loaded") == 1
    stage.issue("mx", NAME, "mended.example.test")
    await stage.tls.look()
    peer = await stage.greeted()
    await peer.start_tls(stage.client_context(), "mended.example.test")
    await peer.close()


async def test_a_new_configuration_with_a_broken_file_keeps_the_last_certificate(stage: SecureStage) -> None:
    await stage.listen(tls="starttls")
    broken = msgspec.structs.replace(stage.issue("other"), name="other", key="/missing.key")
    await stage.apply(stage.configuration([broken], tls="starttls"))
    await (await stage.secured()).close()
    assert "certificates not loaded" in stage.log_text.getvalue()


async def test_without_a_certificate_starttls_is_not_offered_and_mandatory_tls_stays_closed(stage: SecureStage) -> None:
    missing = stage.issue("mx")
    (stage.folder / "mx.pem").unlink()
    await stage.apply(stage.configuration([missing], tls="starttls"))
    peer = await stage.greeted()
    assert "STARTTLS" not in await peer.say("EHLO client.example")
    assert await peer.say("STARTTLS") == "454 4.7.0 TLS not available now"
    await peer.close()
    stage.listeners.close()
    configuration = stage.configuration([missing], tls="require")
    await stage.apply(configuration)
    assert stage.listeners.missing == {(HOST, stage.port)}
    stage.issue("mx")
    await stage.tls.look()
    await stage.apply(configuration)
    assert not stage.listeners.missing
    await (await stage.secured()).close()


async def test_ciphers_of_the_operator_hold(stage: SecureStage) -> None:
    await stage.listen(tls="smtps", ciphers="ECDHE+CHACHA20", protocols="tlsv1.2")
    peer = await stage.greeted(ssl=stage.client_context(), server_hostname=NAME)
    assert "CHACHA20" in peer.writer.get_extra_info("cipher")[0]
    await peer.close()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ("TLSv1_2", "TLSv1_3")),
        ("tlsv1.3", ("TLSv1_3", "TLSv1_3")),
        ("tlsv1.1,tlsv1.2", ("TLSv1_2", "TLSv1_2")),
        ("all,!tlsv1.2", ("TLSv1_3", "TLSv1_3")),
        ("!tlsv1.3", ("TLSv1_2", "TLSv1_2")),
        ("secure", ("TLSv1_2", "TLSv1_3")),
    ],
)
def test_protocols(text: str, expected: tuple[str, str]) -> None:
    assert tuple(version.name for version in versions_of(text)) == expected


@pytest.mark.parametrize("text", ["tlsv1.0", "tlsv9", "tlsv1.2,!tlsv1.2"])
def test_protocols_that_leave_nothing(text: str) -> None:
    with pytest.raises(TlsFault):
        versions_of(text)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
@pytest.mark.parametrize(
    ("arguments", "is_taken"),
    [
        (["-tls1_2"], True),
        (["-tls1_3"], True),
        (["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"], False),
        (["-tls1_2", "-cipher", "AES128-GCM-SHA256"], False),
        (["-tls1_2", "-cipher", "DHE-RSA-AES128-GCM-SHA256"], False),
        (["-tls1_2", "-cipher", "ECDHE-RSA-AES128-SHA"], False),
    ],
    ids=["1.2", "1.3", "1.1", "no forward secrecy", "DHE", "CBC"],
)
async def test_openssl_s_client(stage: SecureStage, arguments: list[str], is_taken: bool) -> None:
    await stage.listen(tls="starttls")
    command = ["openssl", "s_client", "-starttls", "smtp", "-connect", f"{HOST}:{stage.port}", "-verify_return_error"]
    done = await asyncio.to_thread(
        subprocess.run, [*command, "-CAfile", str(stage.folder / "ca.pem"), *arguments],
        input=b"QUIT\r\n", capture_output=True, timeout=20, check=False,
    )  # fmt: skip
    assert (b"Verify return code: 0 (ok)" in done.stdout and b"(NONE)" not in done.stdout) is is_taken, done.stdout
