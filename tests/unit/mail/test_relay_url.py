"""Relay URLs of the modern form (reference 11.2)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpfleet.mail.relay_url import BadRelayUrl, RelayUrl, parse_modern_relay


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        pytest.param("mx.test", ("opportunistic", "", "mx.test", 0, False), id="a host"),
        pytest.param("smtp://MX.test:25", ("opportunistic", "", "mx.test", 25, False), id="with port, in lower case"),
        pytest.param(
            "SMTP+TLS://l@mx.test:587", ("require", "l", "mx.test", 587, False), id="certain TLS, with a label"
        ),
        pytest.param("smtp+notls://mx.test", ("none", "", "mx.test", 0, False), id="no TLS"),
        pytest.param("smtps://l@[2001:db8::1]:465", ("smtps", "l", "[2001:db8::1]", 465, False), id="IPv6"),
        pytest.param("lmtp://127.0.0.1:24", ("none", "", "127.0.0.1", 24, True), id="LMTP"),
    ],
)
def test_parts(text: str, parts: tuple[str, str, str, int, bool]) -> None:
    url = parse_modern_relay(text)
    assert isinstance(url, RelayUrl)
    assert (url.scheme.tls, url.label, url.host, url.port, url.scheme.is_lmtp) == parts


@pytest.mark.parametrize(
    "text",
    [
        "tls://h",
        "smtps+auth://l@h",
        "smtp://l@h",
        "smtps://@h",
        "h:0",
        "h:65536",
        "h:x",
        "lmtp://h",
        "smtp://",
        "a b",
        "::1",
    ],
)
def test_refused(text: str) -> None:
    url = parse_modern_relay(text)
    assert isinstance(url, BadRelayUrl) and url.reason


@given(st.text(alphabet="smtp+ls:/@[]0.a1-_", max_size=30))
def test_nothing_breaks_it(text: str) -> None:
    url = parse_modern_relay(text)
    assert isinstance(url, BadRelayUrl) or (url.host and 0 <= url.port <= 65535)
