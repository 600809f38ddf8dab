"""Delays, sizes, relay URLs, macro definitions, table files: text to value."""

from pathlib import Path

import pytest

from smtpfleet.config.language.diagnostics import SUGGESTIONS_MAX, Diagnostics, did_you_mean
from smtpfleet.config.language.duration import parse_delay_s, parse_size_bytes
from smtpfleet.config.language.macros import BadMacro, parse_definitions, split_definitions
from smtpfleet.config.language.relay_url import SCHEMES, BadUrl, RelayUrl, parse_relay_url
from smtpfleet.config.language.source import SourceText, Span
from smtpfleet.config.language.tablefile import LIST, MAPPING, parse_table_file
from smtpfleet.mail.tables import Tables
from tests.unit.config.stage import LISTENER, compile_text

DELAYS = {
    "1s": 1, "90m": 5400, "4h": 14400, "4d": 345600, "2147483647s": 2147483647,
    "0s": None, "4": None, "4w": None, "-1d": None, "1.5h": None, "1d2h": None, "d": None, "": None, "24856d": None, "9" * 400 + "s": None,
    "1٣s": None, "4D": None,
}  # fmt: skip
SIZES = {
    "35M": 36700160, "35m": 36700160, "36700160": 36700160, "1B": 1, "1K": 1024, "1.5M": 1572864, "1G": 1 << 30, "1T": 1 << 40, "7E": 7 << 60,
    "0": 0, "8E": None, "": None, "M": None, "-1": None, "1Q": None, "1 M": None, "1e6": None,
}  # fmt: skip


@pytest.mark.parametrize("text", DELAYS)
def test_delay(text: str) -> None:
    assert parse_delay_s(text) == DELAYS[text]


@pytest.mark.parametrize("text", SIZES)
def test_size(text: str) -> None:
    assert parse_size_bytes(text) == SIZES[text]


@pytest.mark.parametrize(
    ("text", "scheme", "label", "host", "port"),
    [
        ("h", "", "", "h", 0),
        ("mx.Example.TEST:2525", "", "", "mx.example.test", 2525),
        ("smtp://192.0.2.1", "smtp", "", "192.0.2.1", 0),
        ("SMTP+TLS://h:587", "smtp+tls", "", "h", 587),
        ("tls://h", "tls", "", "h", 0),
        ("smtps://h:65535", "smtps", "", "h", 65535),
        ("secure://h", "secure", "", "h", 0),
        ("tls+auth://me@h", "tls+auth", "me", "h", 0),
        ("smtps+auth://a@b@h:465", "smtps+auth", "a@b", "h", 465),
        ("secure+auth://l@h", "secure+auth", "l", "h", 0),
        ("lmtp://h:24", "lmtp", "", "h", 24),
        ("backup://h", "backup", "", "h", 0),
        ("smtp://[2001:db8::1]", "smtp", "", "[2001:db8::1]", 0),
        ("smtp://[2001:db8::1]:25", "smtp", "", "[2001:db8::1]", 25),
        ("smtp://my_service", "smtp", "", "my_service", 0),
    ],
)
def test_relay_url(text: str, scheme: str, label: str, host: str, port: int) -> None:
    assert parse_relay_url(text) == RelayUrl(SCHEMES[scheme], label, host, port)


@pytest.mark.parametrize(
    "text",
    [
        "", "smtp://", "://h", "x://h", "smtp://h:", "smtp://h:0", "smtp://h:65536", "smtp://h:x", "smtp://h: 25", "smtp://::1", "label@h",
        "smtp://label@h", "tls+auth://h", "tls+auth://@h", "lmtp://h", "smtp://h/path", "smtp://h h", "smtp://-h", "smtp://h\n", "smtp://h:٣",
    ],
)  # fmt: skip
def test_invalid_relay_url(text: str) -> None:
    assert isinstance(parse_relay_url(text), BadUrl)


def test_macro_definitions_are_split_at_the_last_equals_sign() -> None:
    assert parse_definitions(["a=1", "b=", "a=2 3"]) == {"a": "2 3", "b": ""}
    assert split_definitions("a=1, b=2 3,,") == ["a=1", "b=2 3"]
    assert parse_definitions(["z=1=2", "=1", "a b=c"]) == {"z=1": "2", "": "1", "a b": "c"}
    with pytest.raises(BadMacro, match="could not parse macro definition"):
        parse_definitions(["a"])


@pytest.mark.parametrize(
    ("word", "candidates", "answer"),
    [
        ("recieve", ["receive"], 'did you mean "receive"?'),
        ("form", ["for", "from"], 'did you mean "from"?'),
        ("fro", ["for", "from"], 'did you mean "for"?'),
        ("relya", ["real", "relay"], 'did you mean "relay"?'),
        ("ab", ["ab", "ba"], 'did you mean "ba"?'),
        ("LOCAL", ["local", "any"], 'did you mean "local"?'),
        ("port", ["for"], ""),
        ("x", [], ""),
    ],
)
def test_suggestions(word: str, candidates: list[str], answer: str) -> None:
    assert did_you_mean(word, candidates) == answer


def test_suggestions_among_many_names_take_bounded_time() -> None:
    """A file of a megabyte has room for 20,000 names and as many slips; each would be compared with all."""
    diagnostics = Diagnostics()
    names = [f"name{number}" for number in range(20_000)]
    span = Span(SourceText("t", "x", 1), 1, 1, 1)
    suggested = 0
    for number in range(1000):
        diagnostics.error(span, hint := diagnostics.suggest(f"nam{number}", names))
        suggested += bool(hint)
    assert 0 < suggested <= SUGGESTIONS_MAX
    assert did_you_mean("nam7", names) == 'did you mean "name7"?'


TABLE_FILES = {
    "a\nb\n": (LIST, {"a": "", "b": ""}),
    "  A  \n\n# c\n\tb # no comment": (LIST, {"a": ""}),
    "a b\nc: d, e\nf\t:g\nh : i\nj:k:l\n": (MAPPING, {"a": "b", "c": "d, e", "f": ":g", "h": "i", "j": "k:l"}),
    "root: |/bin/cmd x\nerr: error:550 go away\n": (MAPPING, {"root": "|/bin/cmd x", "err": "error:550 go away"}),
    "a: \r\nb:\r\n": (LIST, {"a": "", "b": ""}),
    "@: all\n@x.test: b\n": (MAPPING, {"@": "all", "@x.test": "b"}),
    "a: b\nA: c\n": (MAPPING, {"a": "c"}),
    "": (MAPPING, {}),
    "[2001:DB8::1] a\n[::1]:\tb\n[::2]: c\n": (MAPPING, {"[2001:db8::1]": "a", "[::1]": "b", "[::2]": "c"}),
    "[2001:db8::]/32\n[2001:db8::1]\n::1\n": (LIST, {"[2001:db8::]/32": "", "[2001:db8::1]": "", "::1": ""}),
    "# networks\n#  @list\n2001:db8::/32\n192.0.2.1\na b:c\n": (
        LIST,
        {"2001:db8::/32": "", "192.0.2.1": "", "a b:c": ""},
    ),
    "# @list of users\na b\n": (MAPPING, {"a": "b"}),
    "a b\n# @list\nc d\n": (MAPPING, {"a": "b", "c": "d"}),
    "# @list\n": (LIST, {}),
}


@pytest.mark.parametrize("text", TABLE_FILES)
def test_table_file(text: str) -> None:
    found = parse_table_file(SourceText("t", text, 1), Diagnostics())
    assert (found.kind, found.entries) == TABLE_FILES[text]


def test_every_table_is_published_with_its_keys_in_lower_case(tmp_path: Path) -> None:
    """mail.tables relies on it: it looks a key up as it is."""
    (tmp_path / "file").write_text("ROOT: Alice\n")
    (tmp_path / "lines").write_text("ROOT:x:y Alice\n")
    (tmp_path / "passwd").write_text("Bob:x:1:1::/home/Bob:/bin/sh\n")
    text = (
        f"{LISTENER}table a file:file\ntable b file:lines\ntable c passwd:/passwd\ntable d {{ Carol = Dave }}\ntable e {{ X.Test }}\n"
        "accept for domain <e> alias <a> userbase <c> deliver to maildir\naccept for domain { Y.Test } virtual <b> deliver to maildir\n"
        "accept for local virtual <d> deliver to maildir\n"
    )
    compiled = compile_text(tmp_path, text, root=str(tmp_path))
    assert compiled.configuration is not None, compiled.render()
    keys = [key for table in compiled.configuration.tables.values() for key in table.entries]
    assert {"root", "bob", "carol", "x.test", "y.test"} <= set(keys)
    assert keys == [key.lower() for key in keys]


@pytest.mark.parametrize(
    "form", ["accept from source <t> for any relay\n", "action a relay\nmatch from src <t> for any action a\n"]
)
def test_addresses_and_networks_of_a_file_match_in_both_forms(form: str, tmp_path: Path) -> None:
    (tmp_path / "t").write_text("# @list\n2001:db8::/32\n[2001:db9::]/32\n[::1]\nIPv6:::2\n")
    compiled = compile_text(tmp_path, f"table t file:t\nlisten on ::1\n{form}")
    assert compiled.configuration is not None and not compiled.diagnostics, compiled.render()
    tables = Tables(compiled.configuration)
    assert all(tables.match_netaddr("t", peer) for peer in ("2001:db8::7", "2001:db9::7", "::1", "::2"))
    assert not tables.match_netaddr("t", "2001:dba::1")
