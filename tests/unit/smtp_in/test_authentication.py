"""AUTH over real TLS sockets: mechanisms, refusals, who may send as whom, what is counted, and what is never logged."""

import asyncio
import base64
import hashlib
import hmac
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from smtpfleet.contracts.callers import BanKind
from smtpfleet.contracts.configuration import DEFAULT_LIMITS, Table
from smtpfleet.contracts.envelope import EnvelopeFlag
from smtpfleet.smtp_in.auth import EXCHANGE_LINE_LIMIT_BYTES
from smtpfleet.smtp_in.crypt_library import crypt
from smtpfleet.smtp_in.scram import scram_keys_of
from tests.support.secure_stage import HOST, Peer, SecureStage, encoded

PASSWORD = "correct horse"
SHA512 = crypt(PASSWORD.encode(), b"$6$rounds=1000$saltsalt").decode()
FAILED = "535 5.7.8 Authentication failed"
OK = "235 2.7.0 Authentication succeeded"


def scram_text(password: str = PASSWORD) -> str:
    keys = scram_keys_of(password.encode(), b"0123456789abcdef", 4096)
    shown = [base64.b64encode(each).decode() for each in (keys.salt, keys.stored_key, keys.server_key)]
    return f"SCRAM-SHA-256$4096:{shown[0]}${shown[1]}:{shown[2]}"


def plain(user: str, password: str, authzid: str = "") -> str:
    return encoded(f"{authzid}\0{user}\0{password}")


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[SecureStage]:
    stage = SecureStage(tmp_path)
    stage.credentials.values["bob"] = SHA512
    yield stage
    await stage.close()


async def submission(stage: SecureStage, **options: object) -> Peer:
    """A secured client of a listener with AUTH."""
    await stage.listen(**({"tls": "starttls", "auth": "optional", "auth_table": "creds"} | options))
    return await stage.secured()


@pytest.mark.parametrize("value", [SHA512, f"bob:{SHA512}", scram_text()], ids=["hash", "user:hash", "SCRAM keys"])
async def test_plain(stage: SecureStage, value: str) -> None:
    stage.credentials.values["bob"] = value
    peer = await submission(stage, received_auth=True)
    assert await peer.say(f"AUTH PLAIN {plain('Bob', PASSWORD)}") == OK
    assert stage.credentials.asked == [("creds", "Bob")]
    assert "AUTH" not in await peer.say("EHLO client.example")
    assert await peer.say("AUTH LOGIN") == "503 5.5.1 Already authenticated"
    assert (await peer.say("MAIL FROM:<a@example.net>")).startswith("250 ")
    assert (await peer.say("RCPT TO:<carol@abroad.test>")).startswith("250 ")  # local to the rules of the classic form
    assert (await peer.say("DATA")).startswith("354 ")
    assert "Message accepted" in await peer.say(b"Subject: x\r\n\r\nbody\r\n.\r\n")
    await peer.close()
    (message,), (content,) = stage.inner.queue.messages, stage.inner.queue.contents
    assert message.envelopes[0].flags == EnvelopeFlag.AUTHENTICATED
    assert b"with ESMTPSA id " in content and b" (auth=yes user=Bob)\r\n" in content
    assert " user=Bob" in stage.log_text.getvalue()


async def test_plain_in_two_steps_and_login(stage: SecureStage) -> None:
    peer = await submission(stage)
    assert await peer.say("AUTH PLAIN") == "334 "
    assert await peer.say(plain("bob", PASSWORD)) == OK
    await peer.close()
    for command, prompts in (("AUTH login", ["VXNlcm5hbWU6"]), (f"AUTH LOGIN {encoded('bob')}", [])):
        peer = await stage.secured()
        said = await peer.say(command)
        for prompt in prompts:
            assert said == f"334 {prompt}"
            said = await peer.say(encoded("bob"))
        assert said == "334 UGFzc3dvcmQ6"
        assert await peer.say(encoded(PASSWORD)) == OK
        await peer.close()


async def scram(peer: Peer, user: str, password: str, *, spoil: str = "") -> str:
    """RFC 5802 as a client; returns the last reply, having verified the server's signature."""
    bare = f"n={user},r=clientnonce"
    said = await peer.say(f"AUTH SCRAM-SHA-256 {encoded('n,,' + bare)}")
    assert said.startswith("334 "), said
    server_first = base64.b64decode(said[4:]).decode()
    fields = dict(part.split("=", 1) for part in server_first.split(","))
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(fields["s"]), int(fields["i"]))
    without_proof = f"c=biws,r={fields['r']}{spoil}"
    message = f"{bare},{server_first},{without_proof}".encode()
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    signature = hmac.digest(hashlib.sha256(client_key).digest(), message, "sha256")
    proof = base64.b64encode(bytes(a ^ b for a, b in zip(client_key, signature, strict=True))).decode()
    said = await peer.say(encoded(f"{without_proof},p={proof}"))
    if not said.startswith("334 "):
        return said
    server_signature = hmac.digest(hmac.digest(salted, b"Server Key", "sha256"), message, "sha256")
    assert base64.b64decode(said[4:]) == b"v=" + base64.b64encode(server_signature)
    return await peer.say("")


async def test_scram(stage: SecureStage) -> None:
    stage.credentials.values["bob"] = scram_text()
    peer = await submission(stage)
    assert await scram(peer, "bob", "wrong") == FAILED
    assert await scram(peer, "bob", PASSWORD, spoil="x") == FAILED
    assert "250-AUTH SCRAM-SHA-256 PLAIN LOGIN" in await peer.say("EHLO client.example")
    assert await scram(peer, "bob", PASSWORD) == OK
    await peer.close()


async def test_scram_is_offered_only_where_the_table_has_shown_nothing_else(stage: SecureStage) -> None:
    stage.credentials.values |= {"eve": scram_text(), "bob": SHA512}
    peer = await submission(stage)
    assert "250-AUTH PLAIN LOGIN" in await peer.say("EHLO client.example")
    assert await peer.say(f"AUTH PLAIN {plain('eve', 'wrong')}") == FAILED
    assert "250-AUTH SCRAM-SHA-256 " in await peer.say("EHLO client.example")
    assert await peer.say(f"AUTH PLAIN {plain('bob', 'wrong')}") == FAILED
    assert "250-AUTH PLAIN LOGIN" in await peer.say("EHLO client.example")
    await peer.close()


@pytest.mark.parametrize(
    ("kinds", "is_offered"), [(("scram",), True), (("other", "scram"), False), (("other",), False), ((), False)]
)
async def test_scram_is_offered_to_the_first_client_where_config_knows(
    stage: SecureStage, kinds: tuple[str, ...], is_offered: bool
) -> None:
    stage.credentials.values = {"bob": scram_text()}
    table = Table("creds", "mapping", "static", "", {}, is_inline=False, password_kinds=kinds)
    configuration = stage.configuration([stage.issue("mx")], tls="starttls", auth="optional", auth_table="creds")
    await stage.apply(msgspec.structs.replace(configuration, tables=configuration.tables | {"creds": table}))
    peer = await stage.greeted()
    await peer.start_tls(stage.client_context())
    assert ("250-AUTH SCRAM-SHA-256 PLAIN LOGIN" in await peer.say("EHLO client.example")) is is_offered
    assert await scram(peer, "bob", PASSWORD) == OK
    await peer.close()


async def test_scram_tells_nothing_of_who_exists(stage: SecureStage) -> None:
    stage.credentials.values["bob"] = SHA512
    peer = await submission(stage)
    salts = []
    for _ in range(2):
        said = await peer.say(f"AUTH SCRAM-SHA-256 {encoded('n,,n=nobody,r=abc')}")
        fields = dict(part.split("=", 1) for part in base64.b64decode(said[4:]).decode().split(","))
        salts.append((fields["s"], fields["i"]))
        assert await peer.say("*") == "501 5.7.0 Authentication cancelled"
    assert salts[0] == salts[1]
    assert await scram(peer, "nobody", PASSWORD) == FAILED
    await peer.close()


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("AUTH", "501 5.5.4 No parameters given"),
        ("AUTH CRAM-MD5", '504 5.5.4 AUTH method "CRAM-MD5" not supported'),
        ("AUTH PLAIN !!!!", "501 5.5.2 Cannot decode response"),
        ("AUTH PLAIN Zm9v Zm9v", "501 5.5.2 Cannot decode response"),
        ("AUTH PLAIN Zm9", "501 5.5.2 Cannot decode response"),
        ("AUTH PLAIN =", "501 5.5.2 Syntax error"),
        (f"AUTH PLAIN {encoded('no separators')}", "501 5.5.2 Syntax error"),
        (f"AUTH PLAIN {plain('', 'x')}", "501 5.5.2 Syntax error"),
        (f"AUTH PLAIN {plain('bob', '')}", "501 5.5.2 Syntax error"),
        (f"AUTH PLAIN {plain('b' + chr(10) + 'ob', 'x')}", "501 5.5.2 Syntax error"),
        (f"AUTH PLAIN {plain('b' * 256, 'x')}", "501 5.5.2 Syntax error"),
        (f"AUTH PLAIN {plain('bob', PASSWORD, 'alice')}", FAILED),
        (f"AUTH PLAIN {plain('bob', PASSWORD[:-1])}", FAILED),
        (f"AUTH PLAIN {plain('nobody', PASSWORD)}", FAILED),
        (f"AUTH SCRAM-SHA-256 {encoded('p=tls-unique,,n=bob,r=x')}", "501 5.5.2 Syntax error"),
        (f"AUTH PLAIN {'A' * 3000}", "501 5.5.2 Syntax error"),
        (f"AUTH PLAIN {'A' * EXCHANGE_LINE_LIMIT_BYTES}", "500 5.5.2 Line too long"),
    ],
    ids=lambda text: text[:40],
)
async def test_refusals(stage: SecureStage, said: str, expected: str) -> None:
    peer = await submission(stage)
    assert await peer.say(said) == expected
    await peer.close()


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        (b"*\r\n", "501 5.7.0 Authentication cancelled"),
        (b"Zm9v!\r\n", "501 5.5.2 Cannot decode response"),
        (b"Zm9v\n", "500 5.5.2 Line must end with CRLF"),
        (b"A" * EXCHANGE_LINE_LIMIT_BYTES, "500 5.5.6 Authentication exchange line too long"),
    ],
    ids=["cancelled", "not base64", "bare LF", "too long"],
)
async def test_refused_responses(stage: SecureStage, response: bytes, expected: str) -> None:
    peer = await submission(stage)
    assert await peer.say("AUTH PLAIN") == "334 "
    assert await peer.say(response) == expected
    is_open = b"\n" in response
    assert await peer.say("NOOP") == ("250 2.0.0 Ok" if is_open else "")
    await peer.close()


async def test_auth_needs_tls_and_comes_before_mail_where_required(stage: SecureStage) -> None:
    await stage.listen(tls="starttls", auth="required", auth_table="creds")
    peer = await stage.greeted()
    assert "AUTH" not in await peer.say("EHLO client.example")
    assert await peer.say(f"AUTH PLAIN {plain('bob', PASSWORD)}") == "538 5.7.11 Must issue a STARTTLS command first"
    assert await peer.say("MAIL FROM:<a@example.net>") == "530 5.7.0 Must issue an AUTH command first"
    await peer.start_tls(stage.client_context())
    assert "250-AUTH PLAIN LOGIN" in await peer.say("EHLO client.example")
    assert await peer.say("MAIL FROM:<a@example.net>") == "530 5.7.0 Must issue an AUTH command first"
    assert await peer.say(f"AUTH PLAIN {plain('bob', PASSWORD)}") == OK
    assert (await peer.say("MAIL FROM:<a@example.net>")).startswith("250 ")
    assert await peer.say("AUTH PLAIN") == "503 5.5.1 Command not allowed at this point."
    await peer.close()
    assert stage.credentials.asked == [("creds", "bob")]


async def test_a_table_that_cannot_answer_is_temporary(stage: SecureStage) -> None:
    peer = await submission(stage)
    stage.credentials.is_down = True
    assert await peer.say(f"AUTH PLAIN {plain('bob', PASSWORD)}") == "454 4.7.0 Temporary authentication failure"
    stage.credentials.is_down = False
    assert await peer.say(f"AUTH PLAIN {plain('bob', PASSWORD)}") == OK
    await peer.close()


@pytest.mark.parametrize(
    ("said", "expected", "asked"),
    [
        pytest.param(plain("Bob", "a:b|c d"), OK, ["Bob", "Bob:a:b|c d"], id="right"),
        pytest.param(plain("Bob", "A:b|c d"), FAILED, ["Bob", "Bob:A:b|c d"], id="wrong"),
        pytest.param(plain("eve:x", "y"), FAILED, ["eve:x"], id="a user who would be another in one line"),
        pytest.param(plain("Bob", "a\r\ntable|0.1"), "501 5.5.2 Syntax error", [], id="a password of two lines"),
        pytest.param(base64.b64encode(b"\0Bob\0\xff").decode(), FAILED, ["Bob"], id="a password that is no text"),
    ],
)
async def test_a_table_that_has_no_passwords_is_told_them(
    stage: SecureStage, said: str, expected: str, asked: list[str]
) -> None:
    stage.credentials.checked = {"Bob": "a:b|c d", "eve": "x:y"}
    peer = await submission(stage)
    assert await peer.say(f"AUTH PLAIN {said}") == expected
    assert [what for _, what in stage.credentials.asked] == asked
    assert "a:b" not in stage.log_text.getvalue()
    await peer.close()


async def test_guessers_are_sent_away_and_banned(stage: SecureStage) -> None:
    peer = await submission(stage)
    for _ in range(2):
        assert await peer.say(f"AUTH PLAIN {plain('bob', 'guess')}") == FAILED
    assert await peer.say(f"AUTH PLAIN {plain('bob', 'guess')}") == FAILED
    assert (await peer.reply()).startswith("421 4.7.0 ")
    await peer.close()
    for _ in range(DEFAULT_LIMITS.max_auth_failures_per_address):
        await stage.failures.note_failure("other", HOST)
    peer = await stage.secured()
    assert (await peer.say(f"AUTH PLAIN {plain('bob', PASSWORD)}")).startswith("421 4.7.0 Too many failed")
    assert await peer.reply() == ""
    await peer.close()
    stage.failures.lift(BanKind.AUTH_ADDRESS, HOST)
    peer = await stage.secured()
    assert await peer.say(f"AUTH PLAIN {plain('bob', PASSWORD)}") == OK
    await peer.close()


async def test_neither_password_nor_response_is_ever_logged(stage: SecureStage) -> None:
    await stage.listen(tls="starttls", auth="optional", auth_table="creds")
    secret = "swordfish-" + "s" * 20
    clear = await stage.greeted()
    for line in (f"AUTH PLAIN {plain('bob', secret)}", encoded(secret), f" AUTH PLAIN {plain('bob', secret)}"):
        await clear.say(line)
    await clear.say(f"AUTH PLAIN {plain('bob', secret)}\n".encode() + b"NOOP\r\n")
    await clear.close()
    peer = await stage.secured()
    await peer.say(f"AUTH PLAIN {plain('bob', secret)}")
    await peer.say("AUTH LOGIN")
    await peer.say(encoded("bob"))
    await peer.say(encoded(secret))
    await peer.close()
    log = stage.log_text.getvalue()
    assert "swordfish" not in log and encoded(secret)[:16] not in log and plain("bob", secret)[8:30] not in log
    assert "smtp authentication user=bob address=127.0.0.1 mechanism=PLAIN result=failed" in log


async def test_senders_restrict_who_sends_as_whom(stage: SecureStage) -> None:
    configuration = stage.configuration(
        [stage.issue("mx")], tls="starttls", auth="optional", auth_table="creds", senders="senders"
    )
    senders = Table("senders", "mapping", "static", "", {"bob": "bob@example.test, @bobs.test"})
    await stage.apply(msgspec.structs.replace(configuration, tables={**configuration.tables, "senders": senders}))
    peer = await stage.secured()
    assert (await peer.say("MAIL FROM:<anyone@example.net>")).startswith(
        "250 "
    )  # who has not authenticated is not restricted
    await peer.say("RSET")
    assert await peer.say(f"AUTH PLAIN {plain('bob', PASSWORD)}") == OK
    for sender, code in (("bob@example.test", 250), ("x@bobs.test", 250), ("alice@example.test", 530), ("", 530)):
        said = await peer.say(f"MAIL FROM:<{sender}>")
        assert said.startswith(f"{code} "), (sender, said)
        assert code == 250 or said == "530 5.7.1 Sender rejected"
        await peer.say("RSET")
    await peer.close()


async def test_a_peer_that_leaves_while_the_password_is_hashed(stage: SecureStage) -> None:
    peer = await submission(stage)
    peer.writer.write(f"AUTH PLAIN {plain('bob', 'wrong')}\r\n".encode())
    await peer.close()
    await stage.inner.until(lambda: not stage.server.connections, lambda: stage.server.connections)
    other = await stage.secured()
    assert await other.say(f"AUTH PLAIN {plain('bob', PASSWORD)}") == OK
    await other.close()


@pytest.mark.skipif(shutil.which("swaks") is None, reason="swaks is not installed")
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
async def test_swaks(stage: SecureStage, mechanism: str) -> None:
    await stage.listen(tls="require", auth="required", auth_table="creds")
    command = ["swaks", f"--server={HOST}", f"--port={stage.port}", "-tls", f"--auth={mechanism}", "--auth-user=bob"]
    command += [f"--auth-password={PASSWORD}", "--from=bob@example.test", "--to=alice@example.test"]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Message accepted for delivery" in done.stdout
