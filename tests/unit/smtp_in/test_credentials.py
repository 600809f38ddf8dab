"""Stored passwords of every kind, dummies that cost as much, SCRAM against the RFC's example, and the counting of failures."""

import string

import argon2
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpfleet.contracts.callers import BanKind
from smtpfleet.contracts.configuration import DEFAULT_LIMITS as LIMITS
from smtpfleet.mail.credentials import hash_of_value
from smtpfleet.smtp_in.auth import Claim, Login, Plain, ScramSha256, decode_response, new_mechanism
from smtpfleet.smtp_in.crypt_library import PHRASE_LIMIT_BYTES, UnknownHash, crypt
from smtpfleet.smtp_in.failures import DELAY_LIMIT_S, WINDOW_S, LocalFailures
from smtpfleet.smtp_in.peer_names import names_of
from smtpfleet.smtp_in.scram import ScramKeys, ServerExchange, parse_client_first, saslprep, scram_keys_of
from smtpfleet.smtp_in.stored_password import UnusableHash, dummy_like, verify_password

# Each of the password "password"; the bcrypt, sha-crypt and md5-crypt ones are as OpenBSD's and glibc's own tools write them.
SETTINGS = {
    "bcrypt 2b": "$2b$04$abcdefghijklmnopqrstuu",
    "bcrypt 2a": "$2a$04$abcdefghijklmnopqrstuu",
    "bcrypt 2y": "$2y$04$abcdefghijklmnopqrstuu",
    "sha512-crypt": "$6$saltstring",
    "sha512-crypt with rounds": "$6$rounds=1000$saltstring",
    "sha256-crypt": "$5$saltstring",
    "md5-crypt": "$1$saltstri",
    "scrypt": "$7$CU..../....SodiumChloride$",
    "yescrypt": "$y$j75$F5Jx5fExrKuPp53xLKQ..1$",
}
HASHES = {name: crypt(b"password", setting.encode()).decode() for name, setting in SETTINGS.items()}
HASHES["argon2id"] = argon2.PasswordHasher(time_cost=1, memory_cost=64, parallelism=1).hash("password")
HASHES["SCRAM of PostgreSQL"] = (
    "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
)


def test_md5_crypt_is_the_known_one() -> None:
    """A value every crypt(3) gives."""
    assert crypt(b"password", b"$1$xxxxxxxx$") == b"$1$xxxxxxxx$UYCIxa628.9qXjpQCjM4a."


@pytest.mark.parametrize("name", [name for name in HASHES if name != "SCRAM of PostgreSQL"])
def test_every_kind_verifies(name: str) -> None:
    assert verify_password(HASHES[name], b"password")
    assert not verify_password(HASHES[name], b"Password")
    assert not verify_password(HASHES[name], b"")


@pytest.mark.parametrize("name", HASHES)
def test_a_dummy_is_of_the_same_kind_and_nobodys(name: str) -> None:
    dummy = dummy_like(HASHES[name])
    assert dummy != HASHES[name]
    assert dummy[:12].split("$")[:2] == HASHES[name][:12].split("$")[:2]
    assert len(dummy) == len(HASHES[name])
    assert not verify_password(dummy, b"password")


@pytest.mark.parametrize(
    "stored", ["", "*", "!", "x", "secret", "rl0uE2FmDvPg2", "$2b$99$aaaa", "$argon2id$v=19$", "$9$x"]
)
def test_what_is_no_hash_is_unusable(stored: str) -> None:
    with pytest.raises(UnusableHash):
        verify_password(stored, b"password")


def test_long_phrases_and_nul_are_nobodys() -> None:
    assert not verify_password(HASHES["md5-crypt"], b"x" * (PHRASE_LIMIT_BYTES + 1))
    assert not verify_password(HASHES["md5-crypt"], b"password\0more")


def test_the_library_refuses_unknown_kinds() -> None:
    with pytest.raises(UnknownHash):
        crypt(b"password", b"$unknown$")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("$6$salt$hash", "$6$salt$hash"),
        ("bob:$6$salt$hash", "$6$salt$hash"),
        ("bob@example.test:SCRAM-SHA-256$1:a$b:c", "SCRAM-SHA-256$1:a$b:c"),
        ("SCRAM-SHA-256$1:a$b:c", "SCRAM-SHA-256$1:a$b:c"),
        ("*", "*"),
    ],
)
def test_values_with_and_without_user(value: str, expected: str) -> None:
    assert hash_of_value(value) == expected


def test_scram_as_in_rfc_7677() -> None:
    first = parse_client_first("n,,n=user,r=rOprNGfwEbeRWgbNEkqO")
    assert first is not None
    salt = decode_response(b"W22ZaJ0SNY7soEsUEjb6gQ==")
    assert salt is not None
    keys = scram_keys_of(b"pencil", salt, 4096)
    exchange = ServerExchange(first, keys, nonce="%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0")
    assert (
        exchange.server_first
        == "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    )
    proof = "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    final = f"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p={proof}"
    assert exchange.verify(final) == "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
    assert exchange.verify(final.replace("dHzb", "dHzc")) is None
    assert exchange.verify(final.replace("biws", "eSws")) is None


@pytest.mark.parametrize(
    ("text", "expected"), [("I\u00adX", "IX"), ("\u00aa", "a"), ("\u2168", "IX"), ("a\u00a0b", "a b")]
)
def test_saslprep_as_in_rfc_4013(text: str, expected: str) -> None:
    assert saslprep(text) == expected


@pytest.mark.parametrize("text", ["\u0007", "\u0627\u0031"])
def test_saslprep_prohibits(text: str) -> None:
    with pytest.raises(ValueError, match=r"prohibited|directions"):
        saslprep(text)


@given(st.binary(max_size=200))
def test_any_response_is_decided(response: bytes) -> None:
    for mechanism in (Plain(), Login(), ScramSha256()):
        move = mechanism.begin(response)
        if isinstance(move, Claim):
            assert move.user and move.password and not set(b"\0\r\n") & set(move.password)
            assert repr(move.password) not in repr(move)
            assert all(char not in move.user for char in "\0\r\n")


@given(st.text(string.ascii_letters + string.digits + "+/=! \r", max_size=24).map(str.encode))
def test_base64_is_strict(line: bytes) -> None:
    decoded = decode_response(line)
    alphabet = set((string.ascii_letters + string.digits + "+/=").encode())
    assert decoded is None or (len(line) % 4 == 0 and set(line) <= alphabet)


def test_mechanisms_by_name() -> None:
    assert isinstance(new_mechanism(b"plain"), Plain)
    assert new_mechanism(b"GSSAPI") is None
    assert "stored" not in repr(ScramKeys(1, b"s", b"stored", b"server"))


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def test_failures_are_slowed_banned_and_forgotten() -> None:
    clock = Clock()
    failures = LocalFailures(clock)
    delays = [await failures.note_failure("bob", "192.0.2.1") for _ in range(LIMITS.max_auth_failures_per_address)]
    assert delays[:4] == [1.0, 2.0, 4.0, 8.0] and max(delays) == DELAY_LIMIT_S
    assert failures.is_address_banned("192.0.2.1") and not failures.is_address_banned("192.0.2.2")
    clock.now += LIMITS.ban_s + 1
    assert not failures.is_address_banned("192.0.2.1")
    assert await failures.note_failure("bob", "192.0.2.1") == 1.0


async def test_a_ban_of_a_user_spares_where_he_has_been() -> None:
    clock = Clock()
    failures = LocalFailures(clock)
    failures.note_success("Bob", "192.0.2.1")
    for number in range(LIMITS.max_auth_failures_per_user):
        await failures.note_failure("bob", f"198.51.100.{number}")
    assert await failures.is_user_banned("BOB", "203.0.113.1")
    assert not await failures.is_user_banned("bob", "192.0.2.1")
    failures.lift(BanKind.AUTH_USER, "bob")
    assert not await failures.is_user_banned("bob", "203.0.113.1")


async def test_old_failures_do_not_add_up() -> None:
    clock = Clock()
    failures = LocalFailures(clock)
    for _ in range(5 * LIMITS.max_auth_failures_per_address):
        await failures.note_failure("bob", "192.0.2.1")
        failures.note_success("bob", "192.0.2.1")
        clock.now += WINDOW_S / 2
    assert not failures.is_address_banned("192.0.2.1")


async def test_without_limits_nobody_is_banned() -> None:
    limits = msgspec.structs.replace(LIMITS, max_auth_failures_per_address=0, max_auth_failures_per_user=0)
    failures = LocalFailures(Clock(), limits=limits)
    for _ in range(100):
        await failures.note_failure("bob", "192.0.2.1")
    assert not failures.is_address_banned("192.0.2.1")
    assert not await failures.is_user_banned("bob", "198.51.100.1")


async def test_memory_is_bounded() -> None:
    failures = LocalFailures(Clock(), remembered_limit=10)
    for number in range(100):
        await failures.note_failure(f"user{number}", f"192.0.2.{number}")
        failures.note_success(f"user{number}", f"192.0.2.{number}")
    assert len(failures._users._counts) == len(failures._welcome) == 10


@pytest.mark.parametrize(
    ("peer", "address", "network"),
    [
        ("192.0.2.1", "192.0.2.1", "192.0.2.0/24"),
        ("::ffff:192.0.2.1", "192.0.2.1", "192.0.2.0/24"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64", "2001:db8:1::/48"),
        ("fe80::1%eth0", "fe80::/64", "fe80::/48"),
        ("local", "local", "local/"),
        ("", "", "/"),
    ],
)
def test_what_counts_as_one_address_and_network(peer: str, address: str, network: str) -> None:
    assert names_of(peer) == (address, network)
