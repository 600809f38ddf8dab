"""docs/settings.md is made from the settings' own descriptions; SMTPFLEET_REWRITE_GOLDENS=1 writes it anew."""

import os
from pathlib import Path

from smtpfleet.admin.settings import AdminSettings
from smtpfleet.config.settings import ConfigSettings
from smtpfleet.mda.settings import MdaSettings
from smtpfleet.mta.settings import MtaSettings
from smtpfleet.queue.settings import QueueSettings
from smtpfleet.runtime.settings import RoleSettings, describe_settings
from smtpfleet.runtime.store import StoreSettings
from smtpfleet.scheduler.settings import SchedulerSettings
from smtpfleet.smtp_in.settings import SmtpInSettings

PAGE = Path(__file__).resolve().parents[2] / "docs" / "settings.md"
HEAD = """# Settings

What belongs to mail is in `smtpd.conf`; these say where things are and how much of them. They are environment variables of a role's
process; one that a role does not know is refused at start. A password may come from a file: append `_FILE` to its name.
"""


def _table(rows: list[tuple[str, str, str]]) -> str:
    lines = [f"| `{name}` | {f'`{default}`' if default else ''} | {text} |" for name, default, text in rows]
    return "\n".join(["| name | default | what |", "|---|---|---|", *lines]) + "\n"


def page() -> str:
    common, store = describe_settings(RoleSettings), describe_settings(StoreSettings)
    parts = [HEAD, "\n## Every role\n\n", _table(common)]
    parts += [
        "\n## Roles that reach the store: queue, scheduler\n\n",
        _table([row for row in store if row not in common]),
    ]
    for role, kind in (
        ("config", ConfigSettings), ("smtp-in", SmtpInSettings), ("queue", QueueSettings), ("scheduler", SchedulerSettings),
        ("mta", MtaSettings), ("mda", MdaSettings), ("admin", AdminSettings),
    ):  # fmt: skip
        own = [row for row in describe_settings(kind) if row not in store and row not in common]
        parts += [f"\n## {role}\n\n", _table(own) if own else "None of its own.\n"]
    return "".join(parts)


def test_the_page_is_current() -> None:
    if os.environ.get("SMTPFLEET_REWRITE_GOLDENS"):
        PAGE.write_text(page())
    assert PAGE.read_text() == page()


def test_every_setting_has_a_sentence() -> None:
    assert all(line.rstrip(" |").endswith((".", ")")) for line in page().splitlines() if line.startswith("| `"))
