"""The Received header and the date in it."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpfleet.mail.received import date_text, received_header

NOON = "Mon, 2 Nov 2026 12:00:00 +0000 (UTC)"
FACTS = {
    "helo": "client.test",
    "hostname": "ptr.client.test",
    "peer": "192.0.2.9",
    "smtpname": "mx.example.test",
    "protocol": "ESMTP",
    "msgid": "00000000deadbeef",
    "rcpt": "a@b.test",
    "date_text": NOON,
}


def test_the_whole_header() -> None:
    assert received_header(**FACTS) == (
        b"Received: from client.test (ptr.client.test [192.0.2.9])\r\n"
        b"\tby mx.example.test (smtpfleet) with ESMTP id 00000000deadbeef\r\n"
        b"\tfor <a@b.test>;\r\n"
        b"\tMon, 2 Nov 2026 12:00:00 +0000 (UTC)\r\n"
    )


def test_without_a_recipient_the_date_still_follows_a_semicolon() -> None:
    header = received_header(**FACTS | {"rcpt": ""})
    assert header.endswith(b"id 00000000deadbeef;\r\n\tMon, 2 Nov 2026 12:00:00 +0000 (UTC)\r\n")


@pytest.mark.parametrize(
    ("change", "clause"),
    [
        pytest.param({"peer": "2001:db8::1"}, b"[IPv6:2001:db8::1]", id="IPv6 gets its tag"),
        pytest.param({"peer": "IPv6:::1"}, b"[IPv6:::1]", id="IPv6 that has its tag"),
        pytest.param({"peer": "local"}, b"[local]", id="local"),
        pytest.param({"hostname": "<unknown>"}, b"(<unknown> [", id="no PTR name"),
        pytest.param({"hostname": "evil)\r\nX-A: b"}, b"(<unknown> [", id="DNS text with a line end"),
        pytest.param({"hostname": "my_host.test"}, b"(my_host.test [", id="DNS name with an underscore"),
        pytest.param({"helo": "a\nb"}, b"from <unknown> (", id="HELO with a line end"),
        pytest.param({"peer": "1.2.3.4]\r\nX: y"}, b"[unknown]", id="no address"),
    ],
)
def test_what_the_peer_says_of_itself(change: dict[str, str], clause: bytes) -> None:
    header = received_header(**FACTS | change)
    assert clause in header
    assert header.count(b"\r\n") == 4


@pytest.mark.parametrize(
    ("epoch_s", "offset_s", "zone", "text"),
    [
        pytest.param(0, 0, "UTC", "Thu, 1 Jan 1970 00:00:00 +0000 (UTC)", id="the epoch"),
        pytest.param(1793620800.9, 0, "UTC", "Mon, 2 Nov 2026 12:00:00 +0000 (UTC)", id="fractions are dropped"),
        pytest.param(1793620800, 3600, "CET", "Mon, 2 Nov 2026 13:00:00 +0100 (CET)", id="east"),
        pytest.param(1793620800, -12600, "NST", "Mon, 2 Nov 2026 08:30:00 -0330 (NST)", id="west, half an hour"),
    ],
)
def test_date_text(epoch_s: float, offset_s: int, zone: str, text: str) -> None:
    assert date_text(epoch_s, offset_s=offset_s, zone=zone) == text


@given(st.integers(0, 4102444800))
def test_a_date_is_read_back_by_others(epoch_s: int) -> None:
    assert parsedate_to_datetime(date_text(epoch_s)) == datetime.fromtimestamp(epoch_s, UTC)
