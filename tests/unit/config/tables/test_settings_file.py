"""Configuration files of OpenSMTPD's helpers: their form, and what each backend misses in them."""

import pytest

from smtpfleet.config.tables.bad_file import BadTableFile
from smtpfleet.config.tables.opening import check_settings_text
from smtpfleet.config.tables.settings_file import SettingsFile, parse_settings


def test_keys_end_at_a_blank_a_tab_or_a_colon() -> None:
    text = "# x\n\n  host: db\nport\t3306\nquery_alias  SELECT a: b\npassword : se:cret # is part of it\n"
    found = parse_settings(text, ("host", "port", "query_alias", "password"))
    assert isinstance(found, SettingsFile)
    assert found.values == {
        "host": "db",
        "port": "3306",
        "query_alias": "SELECT a: b",
        "password": "se:cret # is part of it",
    }
    assert found.lines["password"] == 6


def test_of_equal_keys_the_first_counts_and_unknown_ones_are_warned_of() -> None:
    found = parse_settings("a 1\na 2\nzzz 3\n", ("a",))
    assert isinstance(found, SettingsFile)
    assert found.values == {"a": "1"}
    assert [line for line, _ in found.warnings] == [2, 3]


@pytest.mark.parametrize("line", ["a", "a:", "a : ", ": x"])
def test_a_line_without_key_or_value_is_a_fault(line: str) -> None:
    fault = parse_settings(f"a 1\n{line}\n", ("a",))
    assert isinstance(fault, BadTableFile)
    assert fault.line == 2


@pytest.mark.parametrize(
    ("backend", "text", "what"),
    [
        ("sqlite", "query_alias SELECT ?\n", "dbpath"),
        ("sqlite", "dbpath /x\n", "query"),
        ("sqlite", "dbpath /x\nfetch_source SELECT 1\nfetch_source_expire soon\n", "fetch_source_expire"),
        ("mysql", "host h\nusername u\nquery_alias q\n", "database"),
        ("mysql", "host h\nport 0\nusername u\ndatabase d\nquery_alias q\n", "port"),
        ("postgres", "query_alias q\n", "conninfo"),
        ("postgres", "conninfo host=h password='se cret\nquery_alias q\n", "conninfo"),
        ("ldap", "url ldap://h\nalias_filter (a=%s)\nalias_attributes b\n", "basedn"),
        ("ldap", "url ldap://h\nbasedn x\nusername u\nalias_filter (a=%s)\nalias_attributes b\n", "password"),
        ("ldap", "url ldap://h\nbasedn x\n", "alias_filter"),
        ("ldap", "url ldap://h\nbasedn x\nalias_filter (a=%s)\n", "alias_attributes"),
        ("ldap", "url ldap://h\nbasedn x\ncredentials_filter (a=%s)\ncredentials_attributes b\n", "credentials_attr"),
        ("ldap", "url ldap://h\nbasedn x\nalias_filter (a=%d)\nalias_attributes b\n", "alias_filter"),
        ("redis", "master_port x\n", "master_port"),
        ("redis", "query_alias GET everybody\n", "query_alias"),
    ],
)
def test_what_a_backend_misses_is_said_without_its_password(backend: str, text: str, what: str) -> None:
    fault = check_settings_text(backend, text)
    assert isinstance(fault, BadTableFile)
    assert what in fault.reason
    assert "cret" not in fault.reason


@pytest.mark.parametrize(
    ("backend", "text"),
    [
        ("sqlite", "dbpath /x\nquery_domain SELECT d FROM t WHERE d = ?\n"),
        ("mysql", "host h\nusername u\npassword p\ndatabase d\nquery_alias SELECT a FROM t WHERE k = ?\n"),
        ("postgres", "conninfo host='h' user='u' password='p q'\nfetch_source SELECT ip FROM s\n"),
        ("ldap", "url: ldap.test\nusername: u\npassword: p\nbasedn: dc=x\nuserinfo_filter: (u=%u)\nuserinfo_attributes: a, b, c\n"),
        ("redis", "# all by default\n"),
    ],
)  # fmt: skip
def test_a_file_of_a_helper_is_taken_as_it_is(backend: str, text: str) -> None:
    found = check_settings_text(backend, text)
    assert isinstance(found, SettingsFile)
    assert found.warnings == []
