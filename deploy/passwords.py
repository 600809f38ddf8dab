"""Writes passwords into a folder that deploy/compose.yaml mounts as secrets: one file each, in the form the containers read.

`make secrets` makes random ones of your own; `--development` makes those committed in deploy/secrets/dev, which are public and protect
nothing. Needs only the standard library. Existing files are kept: changing a password is deleting its file.
"""

import argparse
import secrets
import sys
from pathlib import Path

FOLDER = Path(__file__).parent / "secrets"
NAMES = (
    *(f"nats-{role}" for role in ("config", "smtp-in", "queue", "scheduler", "mta", "mda", "admin")),
    "redis",
    "admin-token",
)
_RANDOM_BYTES = 24
"""192 bits, more than any search can try."""


def development_secret(name: str) -> str:
    """A value that says what it is to everyone who meets it in a log or a dump."""
    return f"insecure-development-only-{name}"


def write_secrets(folder: Path, *, is_development: bool) -> list[str]:
    """Write what is missing; the names written. Readable for the containers' users, in a folder only its owner may enter."""
    folder.mkdir(parents=True, exist_ok=True)
    if not is_development:
        folder.chmod(0o700)
    written = []
    for name in NAMES:
        path = folder / name
        if path.exists():
            continue
        path.write_text((development_secret(name) if is_development else secrets.token_hex(_RANDOM_BYTES)) + "\n")
        path.chmod(0o644)
        written.append(name)
    return written


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the passwords of deploy/compose.yaml.")
    parser.add_argument("--development", action="store_true", help="the public ones, into deploy/secrets/dev")
    is_development = parser.parse_args().development
    folder = FOLDER / ("dev" if is_development else "own")
    written = write_secrets(folder, is_development=is_development)
    sys.stdout.write(
        f"{folder.relative_to(FOLDER.parent.parent)}: wrote {', '.join(written) or 'nothing, all are there'}\n"
    )
    if not is_development:
        sys.stdout.write("use them: SMTPFLEET_SECRETS=./secrets/own docker compose -f deploy/compose.yaml up --build\n")


if __name__ == "__main__":
    main()
