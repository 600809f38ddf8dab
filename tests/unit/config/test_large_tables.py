"""Large tables on the way out of config: parts before the snapshot, no part lost that is named, none kept that is not."""

from pathlib import Path

import pytest

from smtpfleet.config.cut import Cut, Cutter, part_names
from smtpfleet.config.publisher import KeyValue, Publisher, digest_of
from smtpfleet.config.sweep import PartSweeper
from smtpfleet.contracts.subjects import CONFIGURATION_BUCKET, CONFIGURATION_KEY, TABLES_BUCKET
from smtpfleet.runtime.bus import BusUnavailable
from tests.support.fake_store import FakeStore
from tests.unit.config.stage import LISTENER, compile_text

TEXT = f"{LISTENER}table large file:large\naccept for domain <large> relay\n"


def cut_with(folder: Path, last: str) -> Cut:
    """A configuration with a large table, whose last entry is `last`."""
    (folder / "large").write_text("".join(f"d{number}.example.test\n" for number in range(40_000)) + f"{last}\n")
    compiled = compile_text(folder, TEXT)
    assert compiled.cut is not None and len(compiled.cut.parts) > 1
    return compiled.cut


@pytest.fixture
def one(tmp_path: Path) -> Cut:
    return cut_with(tmp_path, "one.test")


@pytest.fixture
def two(tmp_path: Path) -> Cut:
    return cut_with(tmp_path, "two.test")


async def stored(store: KeyValue) -> frozenset[str]:
    return (await store.kv_keys(TABLES_BUCKET))[0]


async def publish(publisher: Publisher, cut: Cut) -> str:
    return (await publisher.publish(cut.configuration, cut.parts)).version


def test_the_digest_is_of_the_entries_too(one: Cut, two: Cut, tmp_path: Path) -> None:
    assert digest_of(one.configuration) != digest_of(two.configuration)
    assert digest_of(one.configuration) == digest_of(cut_with(tmp_path, "one.test").configuration)
    assert part_names(one.configuration) == set(one.parts)


def test_a_table_that_is_the_very_same_is_not_cut_again(tmp_path: Path) -> None:
    (tmp_path / "large").write_text("".join(f"d{number}.example.test\n" for number in range(40_000)))
    compiled = compile_text(tmp_path, TEXT).configuration
    assert compiled is not None
    cutter = Cutter()
    first, second = cutter.cut(compiled), cutter.cut(compiled)
    assert all(second.parts[name] is value for name, value in first.parts.items())


async def test_what_is_published_is_whole_and_what_is_there_is_not_written_again(
    store: KeyValue, one: Cut, two: Cut
) -> None:
    publisher = Publisher(store)
    await publish(publisher, one)
    assert await stored(store) == set(one.parts)
    revision = (await store.kv_keys(TABLES_BUCKET))[1]
    await publish(publisher, two)
    assert await stored(store) == set(one.parts) | set(two.parts)
    new = set(two.parts) - set(one.parts)
    assert (await store.kv_keys(TABLES_BUCKET))[1] == revision + len(new) < revision + len(two.parts)


@pytest.mark.parametrize("written_count", [0, 1])
async def test_dying_before_the_snapshot_is_written_leaves_the_old_one_whole(
    one: Cut, two: Cut, written_count: int
) -> None:
    class Dying(FakeStore):
        left = 10**6

        async def kv_put(self, bucket: str, key: str, data: bytes, *, last: int | None = None) -> int:
            if self.left == 0:
                raise BusUnavailable("dead")
            self.left -= 1
            return await super().kv_put(bucket, key, data, last=last)

    store = Dying()
    first = await publish(Publisher(store), one)
    store.left = written_count
    with pytest.raises(BusUnavailable):
        await publish(Publisher(store), two)
    current = await Publisher(store).current()
    assert current is not None and current.version == first
    assert part_names(current) <= await stored(store)
    store.left = 10**6
    await publish(Publisher(store), two)  # the next start
    current = await Publisher(store).current()
    assert current is not None and part_names(current) == set(two.parts) <= await stored(store)


async def test_parts_go_when_no_kept_version_names_them_and_not_before(
    store: KeyValue, one: Cut, two: Cut, tmp_path: Path
) -> None:
    publisher = Publisher(store)
    sweeper = PartSweeper(store, publisher)
    await publish(publisher, one)
    for number in range(9):
        await publish(publisher, cut_with(tmp_path, f"n{number}.test"))
        assert await sweeper.look() == 0
    assert set(one.parts) <= await stored(store)
    await publish(publisher, two)  # the eleventh: the first is not kept any more
    only_one = set(one.parts) - {name for kept in await publisher.versions() for name in part_names(kept)}
    assert await sweeper.look() == 0, "one look is not enough"
    assert await sweeper.look() == len(only_one) == 1
    assert not only_one & await stored(store)
    for kept in await publisher.versions():
        assert part_names(kept) <= await stored(store)


async def test_a_part_that_is_written_anew_between_two_looks_stays(store: KeyValue, one: Cut) -> None:
    publisher = Publisher(store)
    sweeper = PartSweeper(store, publisher)
    for name, value in one.parts.items():  # somebody died before the snapshot
        await store.kv_put(TABLES_BUCKET, name, value)
    await sweeper.look()
    kept = min(one.parts)
    await store.kv_put(TABLES_BUCKET, kept, one.parts[kept])  # somebody is about to name it
    await sweeper.look()
    assert await stored(store) == {kept}


async def test_nothing_is_swept_beside_a_configuration_of_another_release(store: KeyValue, one: Cut) -> None:
    sweeper = PartSweeper(store, Publisher(store))
    await store.kv_put(TABLES_BUCKET, "0" * 32, b"of another release")
    await store.kv_put(CONFIGURATION_BUCKET, CONFIGURATION_KEY, b"\x02\x90")
    assert [await sweeper.look(), await sweeper.look()] == [0, 0]
    assert await stored(store) == {"0" * 32}


async def test_going_back_brings_the_tables_back(store: KeyValue, one: Cut, two: Cut) -> None:
    publisher = Publisher(store)
    first, _ = await publish(publisher, one), await publish(publisher, two)
    back = await publisher.go_back(first)
    assert back is not None and back.is_new
    current = await publisher.current()
    assert current is not None and part_names(current) == set(one.parts) <= await stored(store)


async def test_a_version_whose_tables_are_lost_is_not_kept(store: KeyValue, one: Cut, two: Cut) -> None:
    publisher = Publisher(store)
    first, second = await publish(publisher, one), await publish(publisher, two)
    (lost,) = set(one.parts) - set(two.parts)
    await store.kv_purge(TABLES_BUCKET, lost, up_to=10**6)
    assert await publisher.go_back(first) is None
    current = await publisher.current()
    assert current is not None and current.version == second


async def test_lost_parts_of_what_is_in_force_are_written_again(store: KeyValue, one: Cut, two: Cut) -> None:
    publisher = Publisher(store)
    await publish(publisher, one)
    await store.kv_purge(TABLES_BUCKET, min(one.parts), up_to=10**6)
    assert await publisher.mend(two.configuration, two.parts) == 0
    assert [await publisher.mend(one.configuration, one.parts) for _ in range(2)] == [1, 0]
    assert await stored(store) == set(one.parts)
