"""Keys in LDAP filters: whatever a key is, the filter around it stays what the operator wrote."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpfleet.config.tables.ldap import escape_value, fill_filter


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("alice@example.test", "alice@example.test"),
        ("*", r"\2a"),
        ("a)(uid=*", r"a\29\28uid=\2a"),
        ("\\", r"\5c"),
        ("\0", r"\00"),
        ("ä", r"\c3\a4"),
        ("a&b|c!d", r"a\26b\7cc\21d"),
    ],
)
def test_special_characters_are_escaped(text: str, escaped: str) -> None:
    assert escape_value(text) == escaped


@given(st.text())
def test_an_escaped_value_has_no_character_of_filter_syntax_and_means_the_key(text: str) -> None:
    escaped = escape_value(text)
    assert re.fullmatch(r"(?:[^()*\x00\\&|!<>~]|\\[0-9a-f]{2})*", escaped)
    raw = re.sub(rb"\\([0-9a-f]{2})", lambda found: bytes([int(found[1], 16)]), escaped.encode())
    assert raw.decode() == text


def test_specifiers_are_filled_once() -> None:
    assert fill_filter("(&(mail=%u)(o=%h)(d=100%%)(x=%s))", "t", "%u") == r"(&(mail=\25u)(o=t)(d=100%)(x=\25u))"
