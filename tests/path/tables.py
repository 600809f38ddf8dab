"""A fleet with a small table and a large one, and what tests ask of it: which version runs, and whether a recipient is taken."""

import json
import urllib.request
from pathlib import Path

from smtpfleet.contracts.subjects import ROLES
from smtpfleet.local.fleet import Fleet
from tests.path.ground import STRANGER, Client, until

LARGE = 100_000
CONFIG = """\
table small file:@ETC@/small
table aliases file:@ETC@/aliases
table users file:@ETC@/users
listen on 127.0.0.1 port @SMTP_PORT@ hostname mx.example.test
accept from any for domain <small> alias <aliases> userbase <users> deliver to maildir
"""


def write_small(etc: Path, *domains: str) -> None:
    (etc / "small").write_text("".join(f"{domain}\n" for domain in ("example.test", *domains)))


def write_large(etc: Path, last: str) -> None:
    (etc / "aliases").write_text("".join(f"user{number}: alice\n" for number in range(LARGE)) + f"{last}: alice\n")


def running(fleet: Fleet) -> set[str]:
    """The versions that all roles report; "" for a role that does not."""
    with urllib.request.urlopen(f"{fleet.admin_url}/v1/fleet", timeout=10) as response:
        roles = json.load(response)["roles"]
    missing = {""} if {role["role"] for role in roles if role["replicas"]} != set(ROLES) else set()
    return missing | {replica["configuration"] or "" for role in roles for replica in role["replicas"]}


def await_all(fleet: Fleet, before: set[str]) -> str:
    """The one version that all replicas run after `before`."""
    until(lambda: len(now := running(fleet)) == 1 and now != before and "" not in now, f"a version after {before}")
    return running(fleet).pop()


def is_accepted(fleet: Fleet, rcpt: str) -> bool:
    with Client(fleet.smtp_address, STRANGER) as client:
        client.mail("carol@abroad.test")
        return client.rcpt(rcpt)[0] == 250
