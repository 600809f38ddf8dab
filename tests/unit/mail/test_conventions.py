"""Statuses of libs/mail say in their names what they are."""

import pytest

from smtpfleet.contracts.status import Status
from smtpfleet.mail import expand, grammar

NAMED = sorted(
    (name, status)
    for module in (grammar, expand)
    for name, status in vars(module).items()
    if isinstance(status, Status) and name.startswith("S")
)


def test_there_are_statuses() -> None:
    assert len(NAMED) >= 8


@pytest.mark.parametrize(("name", "status"), NAMED, ids=[name for name, _ in NAMED])
def test_the_name_begins_with_the_code_and_classes_agree(name: str, status: Status) -> None:
    assert name.startswith(f"S{status.code}_")
    assert status.esc.startswith(f"{status.code // 100}.")
    assert status.text.isascii() and status.text.isprintable() and len(status.line) <= 512
