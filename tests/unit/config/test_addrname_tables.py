"""Tables of names by local address: the snapshot has one key for an address, in whatever way the operator spelled it."""

from pathlib import Path

import pytest

from tests.unit.config.stage import compile_text, headlines

USES = {
    "hostnames of a listener": "listen on 192.0.2.1 hostnames {0}\naccept for any relay\n",
    "hostnames of a relay": "listen on 192.0.2.1\naccept for any relay source 192.0.2.1 hostnames {0}\n",
    "helo-src": 'listen on 192.0.2.1\naction "a" relay src 192.0.2.1 helo-src {0}\nmatch for any action "a"\n',
}
SPELLINGS = ("2001:db8::1", "IPv6:2001:db8::1", "[2001:db8::1]", "2001:DB8:0::1")


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("use", USES)
def test_every_spelling_is_the_same_key(use: str, spelling: str, tmp_path: Path) -> None:
    text = f'table names {{ "{spelling}" = six.test, "[192.0.2.1]" = four.test }}\n{USES[use].format("<names>")}'
    compiled = compile_text(tmp_path, text)
    assert compiled.configuration is not None, compiled.render()
    assert compiled.configuration.tables["names"].entries == {
        "ipv6:2001:db8::1": "six.test",
        "192.0.2.1": "four.test",
    }
    assert headlines(compiled) == []


def test_a_table_written_where_it_is_used(tmp_path: Path) -> None:
    compiled = compile_text(tmp_path, USES["hostnames of a relay"].format('{ "::1" = six.test }'))
    assert compiled.configuration is not None, compiled.render()
    tables = compiled.configuration.tables
    (written,) = [table for name, table in tables.items() if name.startswith("<dynamic:") and table.kind == "mapping"]
    assert written.entries == {"ipv6:::1": "six.test"}


def test_what_is_no_address_is_warned_of(tmp_path: Path) -> None:
    text = f"table names {{ mx.test = a.test }}\n{USES['hostnames of a listener'].format('<names>')}"
    assert headlines(compile_text(tmp_path, text)) == [
        '1:15: warning: "mx.test" is no use as hostnames: it is no address'
    ]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_sources_and_networks_have_the_same_spellings(spelling: str, tmp_path: Path) -> None:
    text = f'listen on ::1\naccept from source "{spelling}" for any relay source "{spelling}"\n'
    compiled = compile_text(tmp_path, text)
    assert headlines(compiled) == []
