"""Writes deploy/etc/nats.conf: one NATS user per role, with the subjects that contracts.subjects gives it and nothing more.

Run as `python deploy/nats_permissions.py` after a change of the table; a test compares the committed file with what this writes. Passwords
are not in the file: nats-server takes them from its environment, where deploy/compose.yaml puts them from secrets.
"""

import sys
from pathlib import Path

from smtpfleet.contracts.subjects import (
    CONFIGURATION_BUCKET,
    CONFIGURATION_KEY,
    EVENT_STREAM,
    QUEUE_ENVELOPE_LOAD,
    ROLES,
    SUBJECTS,
    TABLES_BUCKET,
    TABLES_READERS,
    Kind,
    Subject,
)

PREFIX = "smtpfleet"
"""runtime.settings.RoleSettings.nats_prefix by default; another prefix needs another file."""
PATH = Path(__file__).parent / "etc" / "nats.conf"

DIRECT = (QUEUE_ENVELOPE_LOAD,)
"""Subjects that are also served per replica, with the replica's name as one more token (runtime.bus.serve, direct=True)."""

_BUCKET = f"{PREFIX}-{CONFIGURATION_BUCKET}"
_BUCKET_STREAM = f"KV_{_BUCKET}"
_BUCKET_SUBJECT = f"$KV.{_BUCKET}.{CONFIGURATION_KEY}"
_TABLES = f"{PREFIX}-{TABLES_BUCKET}"
_TABLES_STREAM = f"KV_{_TABLES}"
_TABLES_SUBJECTS = f"$KV.{_TABLES}.*"
_EVENT_STREAM = f"{PREFIX}-{EVENT_STREAM}"

_HEAD = """\
# NATS of the fleet. Written by deploy/nats_permissions.py from contracts/subjects.py; change those and run it.
#
# One user per role, publishing and subscribing exactly its rows of the subject table. A role answers requests by allow_responses
# alone, so nobody can write into another's inbox. The passwords come from the environment as NATS_PASSWORD_<ROLE>.

port: 4222
http: "127.0.0.1:8222"

# contracts.commands.BATCH_BYTES is 2 MiB; 8 MB is what NATS advises at most
max_payload: 8MB

jetstream {
  store_dir: "/data"
  # streams count with their max_bytes: the event stream's 256 MiB; the rest is for the configurations and large tables that are kept
  max_file_store: 1GB
  max_memory_store: 64MB
}

authorization {
  # nats-server waits this long for a client's credentials
  timeout: 5
  users: [
"""
_TAIL = """\
  ]
}
"""


def publishes(role: str) -> list[str]:
    """What the role may publish, replies aside."""
    subjects = []
    for row in SUBJECTS:
        if role in row.senders:
            subjects.append(_full(row))
            if row in DIRECT:
                subjects.append(f"{_full(row)}.*")
    return subjects + _jetstream(role)


def subscribes(role: str) -> list[str]:
    """What the role may subscribe to. `SUBJECT QUEUE` allows it as a member of that queue group only."""
    subjects = [f"_INBOX_{role}.>", _BUCKET_SUBJECT]
    for row in SUBJECTS:
        if role in row.receivers:
            subjects.append(f"{_full(row)} {role}" if row.kind is Kind.REQUEST else _full(row))
            if row in DIRECT:
                subjects.append(f"{_full(row)}.*")
    return subjects


def _full(row: Subject) -> str:
    return f"{PREFIX}.{row.name}"


def _jetstream(role: str) -> list[str]:
    """Everyone reads the configuration, who looks into tables the large ones; config alone makes and writes both, and the event stream."""
    allowed = [
        f"$JS.API.STREAM.INFO.{_BUCKET_STREAM}",
        f"$JS.API.STREAM.MSG.GET.{_BUCKET_STREAM}",
        f"$JS.API.DIRECT.GET.{_BUCKET_STREAM}.{_BUCKET_SUBJECT}",
    ]
    if role in TABLES_READERS:
        allowed += [
            f"$JS.API.STREAM.INFO.{_TABLES_STREAM}",
            f"$JS.API.STREAM.MSG.GET.{_TABLES_STREAM}",
            f"$JS.API.DIRECT.GET.{_TABLES_STREAM}.{_TABLES_SUBJECTS}",
        ]
    if role == "config":
        allowed += [
            f"$JS.API.STREAM.CREATE.{_BUCKET_STREAM}",
            # earlier versions, by revision
            f"$JS.API.DIRECT.GET.{_BUCKET_STREAM}",
            _BUCKET_SUBJECT,
            f"$JS.API.STREAM.CREATE.{_TABLES_STREAM}",
            # parts of tables that no kept configuration names
            f"$JS.API.STREAM.PURGE.{_TABLES_STREAM}",
            _TABLES_SUBJECTS,
            f"$JS.API.STREAM.INFO.{_EVENT_STREAM}",
            f"$JS.API.STREAM.CREATE.{_EVENT_STREAM}",
        ]
    return allowed


def _rows(name: str, subjects: list[str]) -> list[str]:
    return [f"        {name}: {{ allow: [", *(f'          "{subject}"' for subject in subjects), "        ] }"]


def configuration_text() -> str:
    """The whole file."""
    lines = []
    for role in ROLES:
        variable = "NATS_PASSWORD_" + role.upper().replace("-", "_")
        lines += [
            "    {",
            f'      user: "{role}"',
            f"      password: ${variable}",
            "      permissions: {",
            *_rows("publish", publishes(role)),
            *_rows("subscribe", subscribes(role)),
            # a parked scheduler.work.next is answered after its wait; two minutes is the server's default, said aloud
            '        allow_responses: { max: 1, expires: "2m" }',
            "      }",
            "    }",
        ]
    return _HEAD + "\n".join(lines) + "\n" + _TAIL


if __name__ == "__main__":
    PATH.write_text(configuration_text())
    sys.stdout.write(f"{PATH.name}: {len(ROLES)} users\n")
