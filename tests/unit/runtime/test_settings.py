"""Settings from the environment: typed, documented, unknown ones refused."""

from pathlib import Path

import pytest

from smtpfleet.queue.settings import QueueSettings
from smtpfleet.runtime.settings import BadSettings, RoleSettings, describe_settings, load_settings, split_address
from smtpfleet.runtime.store import Durability


def test_defaults_and_values() -> None:
    settings = load_settings(
        QueueSettings,
        {"SMTPFLEET_SHARDS": "4", "SMTPFLEET_DURABILITY": "replica", "SMTPFLEET_DRAIN_S": "1.5", "HOME": "/"},
    )
    assert (settings.shards, settings.durability, settings.drain_s) == (4, Durability.REPLICA, 1.5)
    assert settings.replica


def test_every_fault_is_named_at_once() -> None:
    with pytest.raises(BadSettings) as caught:
        load_settings(QueueSettings, {"SMTPFLEET_SHARDS": "0", "SMTPFLEET_SHARD": "1", "SMTPFLEET_CACHE_BYTES": "many"})
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert any("SMTPFLEET_SHARD: unknown setting" in line for line in lines)


def test_a_secret_comes_from_a_file_and_is_never_shown(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("hunter2\n")
    settings = load_settings(RoleSettings, {"SMTPFLEET_NATS_PASSWORD_FILE": str(secret)})
    assert settings.nats_password == "hunter2"
    with pytest.raises(BadSettings) as caught:
        load_settings(RoleSettings, {"SMTPFLEET_NATS_PASSWORD_FILE": str(tmp_path / "absent")})
    assert "cannot read" in str(caught.value)


def test_only_secrets_come_from_files() -> None:
    with pytest.raises(BadSettings, match="SMTPFLEET_NATS_URL_FILE: unknown"):
        load_settings(RoleSettings, {"SMTPFLEET_NATS_URL_FILE": "/x"})


def test_every_field_is_documented() -> None:
    rows = describe_settings(QueueSettings)
    assert len(rows) >= 10
    assert all(text.endswith(".") for _, _, text in rows)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("127.0.0.1:25", ("127.0.0.1", 25)), ("[::1]:0", ("::1", 0))],
    ids=["IPv4", "IPv6 in brackets"],
)
def test_addresses(text: str, expected: tuple[str, int]) -> None:
    assert split_address(text) == expected


@pytest.mark.parametrize("text", ["127.0.0.1", "host:port", ":70000", ""])
def test_bad_addresses(text: str) -> None:
    with pytest.raises(BadSettings):
        split_address(text)
