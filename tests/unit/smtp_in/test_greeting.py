"""What EHLO announces of the limits: what RFC 9422 can say, and nothing else."""

import msgspec
import pytest

from smtpfleet.contracts.configuration import Configuration, Listener
from smtpfleet.smtp_in.greeting import extension_lines
from tests.unit.mta.building import CONFIGURATION

LISTENER = Listener(address="127.0.0.1", port=25, hostname="mx.example.test", tag="")


def limits_line(max_mails: int, max_rcpt: int) -> list[str]:
    limits = msgspec.structs.replace(CONFIGURATION.limits, max_mails=max_mails, max_rcpt=max_rcpt)
    configuration: Configuration = msgspec.structs.replace(CONFIGURATION, limits=limits)
    return [line.text for line in extension_lines(configuration, LISTENER) if line.text.startswith("LIMITS")]


@pytest.mark.parametrize(
    ("max_mails", "max_rcpt", "lines"),
    [
        (100, 1000, ["LIMITS MAILMAX=100 RCPTMAX=1000"]),
        (0, 1000, ["LIMITS RCPTMAX=1000"]),
        (100, 0, ["LIMITS MAILMAX=100"]),
        (0, 0, []),
        (2**31 - 1, 1_000_000, ["LIMITS MAILMAX=999999 RCPTMAX=999999"]),
    ],
)
def test_a_limit_is_announced_where_it_can_be(max_mails: int, max_rcpt: int, lines: list[str]) -> None:
    assert limits_line(max_mails, max_rcpt) == lines
