"""Hash files of Berkeley DB: those that real tools wrote (data/README.md), and those that an attacker or a broken disk did."""

import struct
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from smtpfleet.config.tables.bad_file import BadTableFile
from smtpfleet.config.tables.db import parse_db, read_db

DATA = Path(__file__).parent / "data"
ALIASES = (DATA / "aliases.db").read_bytes()
LARGE = (DATA / "large.db").read_bytes()
BIG_ENDIAN = (DATA / "big_endian.db").read_bytes()


def test_a_file_of_aliases_is_read_without_the_mark_that_it_is_complete() -> None:
    expected = {"root": "alice", "postmaster": "root", "@example.test": "bob, carol"}
    assert read_db(DATA / "aliases.db") == expected


def test_a_set_has_keys_only() -> None:
    assert read_db(DATA / "set.db") == {"example.test": "", "example.org": ""}


def test_an_empty_file_is_an_empty_table() -> None:
    assert read_db(DATA / "empty.db") == {}


def test_many_buckets_and_items_longer_than_a_page_are_read() -> None:
    entries = parse_db(LARGE)
    assert isinstance(entries, dict)
    assert {f"user{n}": f"mailbox{n}@example.test" for n in range(300)}.items() <= entries.items()
    assert entries["everybody"] == ", ".join(f"user{n}" for n in range(300))
    assert entries["k" * 900] == "long key"
    assert len(entries) == 302


def test_a_file_from_a_machine_of_the_other_byte_order_is_read() -> None:
    assert parse_db(BIG_ENDIAN) == {"a": "b", "long": "x" * 3000}


def test_a_tree_is_named_as_what_it_is() -> None:
    assert read_db(DATA / "tree.db") == BadTableFile("a Berkeley DB file, but no hash; make it with `makemap -d hash`")


def test_the_format_of_bsd_is_named_as_what_it_is() -> None:
    fault = parse_db(struct.pack(">II", 0x061561, 2).ljust(8192, b"\0"))
    assert isinstance(fault, BadTableFile)
    assert "1.85" in fault.reason


@pytest.mark.parametrize("data", [b"", b"root: alice\n", b"\0" * 512, b"root: alice\n" * 100], ids=len)
def test_what_is_no_database_is_refused(data: bytes) -> None:
    assert isinstance(parse_db(data), BadTableFile)


def test_a_file_that_is_not_there_is_a_fault() -> None:
    assert read_db(DATA / "nothing.db") == BadTableFile("No such file or directory")


@pytest.mark.parametrize(
    ("at", "form", "value"),
    [
        pytest.param(16, "I", 99, id="a version nobody has"),
        pytest.param(20, "I", 0, id="pages of no size"),
        pytest.param(20, "I", 513, id="pages of an odd size"),
        pytest.param(24, "B", 1, id="encrypted"),
        pytest.param(25, "B", 9, id="another access method"),
        pytest.param(26, "B", 1, id="checksums"),
        pytest.param(48, "I", 2, id="databases inside"),
        pytest.param(72, "I", 2**32 - 1, id="four thousand million buckets"),
        pytest.param(96, "I", 2**32 - 1, id="the first bucket outside the file"),
        pytest.param(96, "I", 0, id="the first bucket on the page that describes the file"),
        pytest.param(100, "I", 0, id="two buckets on one page"),
        pytest.param(512 + 16, "I", 1, id="a page that follows itself"),
        pytest.param(512 + 16, "I", 2**31, id="a page that follows outside the file"),
        pytest.param(512 + 20, "H", 3, id="a key without value"),
        pytest.param(512 + 20, "H", 65534, id="more items than fit"),
        pytest.param(512 + 25, "B", 7, id="another kind of page"),
        pytest.param(512 + 26, "H", 0, id="an item over the page's head"),
        pytest.param(512 + 26, "H", 65535, id="an item past the page's end"),
    ],
)
def test_a_damaged_file_is_refused(at: int, form: str, value: int) -> None:
    data = bytearray(ALIASES)
    struct.pack_into(f"<{form}", data, at, value)
    fault = parse_db(bytes(data))
    assert isinstance(fault, BadTableFile), fault


@pytest.mark.parametrize("size_bytes", range(0, len(LARGE), 509))
def test_a_file_cut_short_is_refused(size_bytes: int) -> None:
    assert isinstance(parse_db(LARGE[:size_bytes]), BadTableFile)


@given(st.lists(st.tuples(st.integers(0, len(BIG_ENDIAN) - 1), st.integers(0, 255)), min_size=1, max_size=8))
@example([(512 + 16, 255)])
def test_whatever_bytes_are_changed_the_reader_answers(changes: list[tuple[int, int]]) -> None:
    for whole in (ALIASES, BIG_ENDIAN):
        data = bytearray(whole)
        for at, value in changes:
            data[at % len(data)] = value
        assert isinstance(parse_db(bytes(data)), dict | BadTableFile)


@pytest.mark.parametrize("item", [b"\xff\0", b"a\0b\0"], ids=["not UTF-8", "a NUL inside"])
def test_keys_that_are_no_text_are_refused(item: bytes) -> None:
    data = ALIASES.replace(b"root\0", item.ljust(5, b"x"))
    assert data != ALIASES
    assert isinstance(parse_db(data), BadTableFile)
