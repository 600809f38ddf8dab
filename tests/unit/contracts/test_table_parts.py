"""A table cut into parts: joined again it is the same in the same order, and a part is what its name says."""

import zlib

import pytest

from smtpfleet.contracts import wire
from smtpfleet.contracts.table_parts import INLINE_BYTES, PART_BYTES, cut_entries, read_part

TABLES = {
    "many": {f"user{number}": f"alice, bob{number}" for number in range(60_000)},
    "long entries among short ones": {f"{number}": "x" * (40_000 if number < 200 else 1) for number in range(20_000)},
    "one long entry": {"all": "a, " * PART_BYTES},
    "just too large": {f"{number:04}": "x" * 100 for number in range(INLINE_BYTES // 100)},
}


@pytest.mark.parametrize("name", TABLES)
def test_joined_it_is_the_same_in_the_same_order(name: str) -> None:
    parts = cut_entries(TABLES[name])
    joined: dict[str, str] = {}
    for part, value in parts.items():
        joined |= read_part(part, value)
    assert list(joined.items()) == list(TABLES[name].items())


@pytest.mark.parametrize("name", TABLES)
def test_no_part_is_large_but_for_an_entry_that_is(name: str) -> None:
    for part, value in cut_entries(TABLES[name]).items():
        size_bytes = len(wire.encode(entries := read_part(part, value)))
        assert size_bytes <= PART_BYTES or len(entries) == 1


def test_a_small_table_is_not_cut() -> None:
    assert cut_entries({}) == {}
    assert cut_entries({f"user{number}@example.test": "alice" for number in range(500)}) == {}


def test_the_same_entries_have_the_same_names_and_others_have_others() -> None:
    entries = TABLES["many"]
    assert list(cut_entries(entries)) == list(cut_entries(dict(entries)))
    changed = entries | {"user59999": "carol"}
    assert len(set(cut_entries(entries)) & set(cut_entries(changed))) == len(cut_entries(entries)) - 1


def test_what_is_not_what_its_name_says_is_refused() -> None:
    name, value = next(iter(cut_entries(TABLES["many"]).items()))
    other = zlib.compress(wire.encode({"user0": "mallory"}))
    for damaged in (other, value[:-1], b"", b"rubbish"):
        with pytest.raises(wire.Malformed, match=name):
            read_part(name, damaged)


def test_a_part_that_was_stored_by_an_earlier_release_is_read() -> None:
    """`{"a": "b"}` as it lies in the bucket; whatever zlib writes today, this is read for as long as the wire version is 1."""
    stored = bytes.fromhex("7801636c5c98b830090007dc0288")
    assert read_part("c5a10cf1d232c5248a7134b698573448", stored) == {"a": "b"}
