"""`make secrets`: random passwords of one's own, the public ones where the repository says so, and nothing overwritten."""

import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from deploy import passwords

DEPLOY = Path(passwords.__file__).parent


def test_own_passwords_are_random_and_only_the_owner_may_look_for_them(tmp_path: Path) -> None:
    folder = tmp_path / "own"
    assert passwords.write_secrets(folder, is_development=False) == list(passwords.NAMES)
    written = [(folder / name).read_text() for name in passwords.NAMES]
    assert all(re.fullmatch(r"[0-9a-f]{48}\n", text) for text in written)
    assert len(set(written)) == len(written)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    # a container's user reads the mounted file itself
    assert stat.S_IMODE((folder / "redis").stat().st_mode) == 0o644


def test_existing_passwords_are_kept(tmp_path: Path) -> None:
    (tmp_path / "redis").write_text("mine\n")
    written = passwords.write_secrets(tmp_path, is_development=False)
    assert "redis" not in written
    assert (tmp_path / "redis").read_text() == "mine\n"


def test_the_program_runs_from_anywhere_with_the_standard_library_alone(tmp_path: Path) -> None:
    copy = tmp_path / "deploy" / "passwords.py"
    copy.parent.mkdir()
    copy.write_bytes((DEPLOY / "passwords.py").read_bytes())
    done = subprocess.run([sys.executable, "-S", str(copy)], capture_output=True, text=True, cwd="/", check=False)
    assert done.returncode == 0, done.stderr
    assert "SMTPFLEET_SECRETS=./secrets/own" in done.stdout
    assert sorted(path.name for path in (copy.parent / "secrets" / "own").iterdir()) == sorted(passwords.NAMES)


@pytest.mark.parametrize("name", passwords.NAMES)
def test_the_committed_ones_say_that_they_protect_nothing(name: str) -> None:
    assert (DEPLOY / "secrets" / "dev" / name).read_text() == passwords.development_secret(name) + "\n"
    assert "insecure" in passwords.development_secret(name)


def test_compose_mounts_exactly_these() -> None:
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    assert sorted(compose["secrets"]) == sorted(passwords.NAMES)
