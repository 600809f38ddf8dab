"""Where admin may listen, with a token and without."""

from pathlib import Path

import pytest

from smtpfleet.admin.settings import AdminSettings
from smtpfleet.runtime.settings import BadSettings, load_settings

TOKEN = "0123456789abcdef"


@pytest.mark.parametrize("listen", ["127.0.0.1:8025", "127.1.2.3:1", "[::1]:8025", "localhost:8025"])
def test_loopback_needs_no_token(listen: str) -> None:
    assert load_settings(AdminSettings, {"SMTPFLEET_ADMIN_LISTEN": listen}).admin_token == ""


def test_the_default_is_loopback() -> None:
    assert load_settings(AdminSettings, {}).admin_listen == "127.0.0.1:8025"


@pytest.mark.parametrize("listen", ["0.0.0.0:8025", "[::]:8025", ":8025", "192.0.2.1:8025", "admin.example.test:8025"])
def test_any_other_address_needs_a_token(listen: str) -> None:
    with pytest.raises(BadSettings, match="set SMTPFLEET_ADMIN_TOKEN or SMTPFLEET_ADMIN_TOKEN_FILE, or listen on"):
        load_settings(AdminSettings, {"SMTPFLEET_ADMIN_LISTEN": listen})
    settings = load_settings(AdminSettings, {"SMTPFLEET_ADMIN_LISTEN": listen, "SMTPFLEET_ADMIN_TOKEN": TOKEN})
    assert settings.admin_token == TOKEN


def test_the_token_may_be_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN + "\n")
    environ = {"SMTPFLEET_ADMIN_LISTEN": "0.0.0.0:8025", "SMTPFLEET_ADMIN_TOKEN_FILE": str(tmp_path / "token")}
    assert load_settings(AdminSettings, environ).admin_token == TOKEN


@pytest.mark.parametrize("token", ["short", "sixteen-and-\u00fcmlaut"])
def test_a_token_easily_guessed_is_refused_and_not_shown(token: str) -> None:
    with pytest.raises(BadSettings) as refused:
        load_settings(AdminSettings, {"SMTPFLEET_ADMIN_TOKEN": token})
    assert token not in str(refused.value)


def test_an_empty_token_is_none() -> None:
    with pytest.raises(BadSettings):
        load_settings(AdminSettings, {"SMTPFLEET_ADMIN_LISTEN": "0.0.0.0:8025", "SMTPFLEET_ADMIN_TOKEN": ""})
