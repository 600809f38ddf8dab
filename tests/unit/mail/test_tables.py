"""Matching of domains, networks and addresses (reference 2.3, 13.2), and the lookups by service."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpfleet.contracts.configuration import ANY_DESTINATION, ANY_HOST, GETPWNAM, LOCAL_HOST, LOCAL_NAMES, Table
from smtpfleet.mail.patterns import DomainPatterns
from smtpfleet.mail.tables import KEY_LIMIT, TableError, Tables, UserInfo, system_userinfo
from tests.unit.mail.building import configuration, list_table, mapping_table


@pytest.mark.parametrize(
    ("domain", "pattern", "is_match"),
    [
        pytest.param("mail.example.com", "*.example.com", True, id="one label"),
        pytest.param("a.b.example.com", "*.example.com", False, id="two labels: no backtracking"),
        pytest.param("example.com", "*.example.com", False, id="no label"),
        pytest.param("x", "*", True, id="a star alone"),
        pytest.param("", "*", False, id="a star and nothing"),
        pytest.param("foo", "foo*", False, id="a star at the end needs a character"),
        pytest.param("foox", "foo*", True, id="a star at the end takes one"),
        pytest.param("example.com", "exam*", True, id="a star at the end takes many"),
        pytest.param("aab", "*ab", False, id="the first occurrence decides"),
        pytest.param("ab", "*ab", True, id="a star can stand for nothing"),
        pytest.param("ab", "a*b", True, id="a star inside can stand for nothing"),
        pytest.param("a.x.b", "a.**.b", True, id="stars in a row are one"),
        pytest.param("mail.x.example.com", "mail.*.example.*", True, id="several stars"),
        pytest.param("MAIL.Example.COM", "*.eXample.com", True, id="letter case"),
        pytest.param("example.com", "example.com", True, id="exact"),
        pytest.param("example.com", "example", False, id="no prefix match"),
        pytest.param("exampleXcom", "example.com", False, id="a dot is a dot"),
    ],
)
def test_domain(domain: str, pattern: str, is_match: bool) -> None:
    tables = Tables(configuration(tables=(list_table("t", pattern),)))
    assert tables.match_domain("t", domain) is is_match


def hostname_match(host: str, pattern: str) -> bool:
    """The walk that reference 2.3 describes, character by character: the oracle for the compiled form."""
    h = p = 0
    while p < len(pattern) and h < len(host):
        if pattern[p] == "*":
            while p < len(pattern) and pattern[p] == "*":
                p += 1
            while h < len(host) and (p == len(pattern) or host[h] != pattern[p]):
                h += 1
            continue
        if pattern[p] != host[h]:
            return False
        p, h = p + 1, h + 1
    return h == len(host) and p == len(pattern)


@given(
    st.text(alphabet="ab.-^]", max_size=8), st.lists(st.text(alphabet="ab.*-^]", min_size=1, max_size=6), max_size=4)
)
def test_compiled_patterns_agree_with_the_walk(host: str, patterns: list[str]) -> None:
    assert DomainPatterns(patterns).matches(host) is any(hostname_match(host, pattern) for pattern in patterns)


@pytest.mark.parametrize(
    ("address", "entry", "is_match"),
    [
        pytest.param("u@d.org", "@d.org", True, id="any user of a domain"),
        pytest.param("u@d.org", "@*.org", True, id="any user of a wildcard"),
        pytest.param("u@d.org", "u@*.org", True, id="a user of a wildcard"),
        pytest.param("v@d.org", "u@*.org", False, id="another user of a wildcard"),
        pytest.param("u@d.org", "u", True, id="a bare user matches any domain, as the manual says"),
        pytest.param("v@d.org", "u", False, id="another bare user"),
        pytest.param("@", "@", True, id="the null sender as OpenSMTPD writes it"),
        pytest.param("", "@", True, id="the null sender"),
        pytest.param("", "@*", False, id="the null sender has no domain"),
        pytest.param("u@d.org", "@", False, id="an at sign is the null sender alone"),
        pytest.param("U@D.ORG", "u@d.org", True, id="letter case"),
        pytest.param("u+t@d.org", "u@d.org", False, id="a subaddress is not stripped"),
        pytest.param("u@d.org", "u@e.org", False, id="another domain"),
        pytest.param('"a@d.org"@e.org', "@d.org", False, id="split at the last at sign"),
    ],
)
def test_mailaddr(address: str, entry: str, is_match: bool) -> None:
    tables = Tables(configuration(tables=(list_table("t", entry),)))
    assert tables.match_mailaddr("t", address) is is_match


@pytest.mark.parametrize(
    ("peer", "entry", "is_match"),
    [
        pytest.param("192.0.2.9", "192.0.2.9", True, id="an address"),
        pytest.param("192.0.2.9", "192.0.2.0/24", True, id="inside a network"),
        pytest.param("192.0.3.9", "192.0.2.0/24", False, id="outside a network"),
        pytest.param("192.0.2.9", "192.0.2.77/24", True, id="host bits in the entry"),
        pytest.param("192.0.2.9", "0.0.0.0/0", True, id="every IPv4 address"),
        pytest.param("2001:db8::1", "0.0.0.0/0", False, id="families do not mix"),
        pytest.param("192.0.2.9", "::/0", False, id="families do not mix the other way"),
        pytest.param("2001:db8::1", "2001:db8::/32", True, id="an IPv6 network"),
        pytest.param("2001:db8:0::1", "2001:DB8::1", True, id="another spelling of the address"),
        pytest.param("2001:db8::1", "IPv6:2001:db8::1", True, id="a prefix in the entry"),
        pytest.param("IPv6:2001:db8::1", "2001:db8::/32", True, id="a prefix in the peer"),
        pytest.param("2001:db8::1", "[2001:db8::]/32", True, id="brackets in the entry"),
        pytest.param("fe80::1%eth0", "fe80::/10", True, id="a scoped address"),
        pytest.param("::ffff:192.0.2.9", "192.0.2.0/24", True, id="IPv4 mapped into IPv6"),
        pytest.param("local", "local", True, id="the word local"),
        pytest.param("local", "0.0.0.0/0", False, id="local is no address"),
        pytest.param("nonsense", "192.0.2.0/24", False, id="nonsense is no address"),
    ],
)
def test_netaddr(peer: str, entry: str, is_match: bool) -> None:
    tables = Tables(configuration(tables=(list_table("t", entry),)))
    assert tables.match_netaddr("t", peer) is is_match


def test_predefined_tables() -> None:
    tables = Tables(configuration())
    assert all(tables.match_netaddr(ANY_HOST, peer) for peer in ("local", "192.0.2.9", "2001:db8::1"))
    assert all(tables.match_netaddr(LOCAL_HOST, peer) for peer in ("local", "127.0.0.1", "::1"))
    assert not tables.match_netaddr(LOCAL_HOST, "192.0.2.9")
    assert all(tables.match_domain(LOCAL_NAMES, name) for name in ("localhost", "mx.example.test", "MX"))
    assert not tables.match_domain(LOCAL_NAMES, "example.test")
    assert tables.match_domain(ANY_DESTINATION, "anything.test")


def test_the_snapshot_s_own_version_of_a_predefined_table_counts() -> None:
    tables = Tables(configuration(tables=(list_table(LOCAL_HOST, "local", "192.0.2.1"),)))
    assert tables.match_netaddr(LOCAL_HOST, "192.0.2.1")
    assert not tables.match_netaddr(LOCAL_HOST, "127.0.0.1")


def test_alias_keys_are_lower_cased() -> None:
    tables = Tables(configuration(tables=(mapping_table("t", {"root": "alice", "Web@X.test": "bob"}),)))
    assert tables.lookup_alias("t", "ROOT") == "alice"
    assert tables.lookup_alias("t", "web@x.test") == "bob"
    assert tables.lookup_alias("t", "nobody") is None


def test_a_key_that_is_too_long_is_a_table_error() -> None:
    tables = Tables(configuration(tables=(mapping_table("t", {"root": "alice"}),)))
    with pytest.raises(TableError, match="key too long"):
        tables.lookup_alias("t", "k" * (KEY_LIMIT + 1))


def test_userinfo_from_a_mapping() -> None:
    tables = Tables(configuration(tables=(mapping_table("t", {"alice": "1000:100:/home/a:b"}),)))
    assert tables.lookup_userinfo("t", "Alice") == UserInfo("alice", 1000, 100, "/home/a:b")
    assert tables.lookup_userinfo("t", "bob") is None


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("", id="empty"),
        pytest.param("1000:100", id="no home"),
        pytest.param("1000:100:home", id="a relative home"),
        pytest.param("-1:100:/home", id="a negative uid"),
        pytest.param("1000:users:/home", id="a group name"),
        pytest.param("٣:100:/home", id="digits of another script"),
        pytest.param("1000:100:/home\0/x", id="NUL"),
    ],
)
def test_a_malformed_userinfo_is_a_table_error(value: str) -> None:
    tables = Tables(configuration(tables=(mapping_table("t", {"alice": value}),)))
    with pytest.raises(TableError, match="not uid:gid:home"):
        tables.lookup_userinfo("t", "alice")


def test_an_unknown_table_is_a_table_error() -> None:
    with pytest.raises(TableError, match="no such table: t"):
        Tables(configuration()).match_domain("t", "x")


@pytest.mark.parametrize("name", [GETPWNAM, "system"])
def test_a_getpwnam_table_asks_the_system_with_a_lower_case_name(name: str) -> None:
    asked: list[str] = []

    def getpwnam(user: str) -> UserInfo | None:
        asked.append(user)
        return UserInfo(user, 1, 2, "/h") if user == "alice" else None

    table = Table("system", "mapping", "getpwnam", "", {})
    tables = Tables(configuration(tables=(table,)), getpwnam=getpwnam)
    assert tables.lookup_userinfo(name, "Alice") == UserInfo("alice", 1, 2, "/h")
    assert tables.lookup_userinfo(name, "bob") is None
    assert asked == ["alice", "bob"]


def test_the_system_s_users() -> None:
    root = system_userinfo("root")
    assert root is not None and (root.user, root.uid) == ("root", 0)
    assert system_userinfo("no-such-user-here") is None
