"""Publication: versions grow, the same content is written once, and replicas do not fight. On a fake store and on the real NATS."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from smtpfleet.config.publisher import KeyValue, Publisher, digest_of, number_in
from smtpfleet.contracts import wire
from smtpfleet.contracts.configuration import Configuration
from smtpfleet.contracts.subjects import CONFIGURATION_BUCKET, CONFIGURATION_KEY
from smtpfleet.runtime.bus import BusUnavailable, KvConflict
from tests.support.fake_store import FakeStore
from tests.unit.config.stage import LISTENER, compile_text


@pytest.fixture
def one(tmp_path: Path) -> Configuration:
    return configuration(tmp_path, "one.test")


@pytest.fixture
def two(tmp_path: Path) -> Configuration:
    return configuration(tmp_path, "two.test")


def configuration(folder: Path, domain: str) -> Configuration:
    compiled = compile_text(folder, f"{LISTENER}accept for domain {domain} relay\n").configuration
    assert compiled is not None
    return compiled


async def test_versions_grow_with_every_change_and_only_then(
    store: KeyValue, one: Configuration, two: Configuration
) -> None:
    publisher = Publisher(store)
    versions = [await publisher.publish(each) for each in (one, one, two, two, one)]
    assert [each.is_new for each in versions] == [True, False, True, False, True]
    digests = [digest_of(one), digest_of(one), digest_of(two), digest_of(two), digest_of(one)]
    assert [each.version for each in versions] == [
        f"{n}-{digest}" for n, digest in zip((1, 1, 2, 2, 3), digests, strict=True)
    ]
    assert await publisher.current() == msgspec.structs.replace(one, version=versions[-1].version)


async def test_nothing_is_published_before_the_first(store: KeyValue) -> None:
    assert await Publisher(store).current() is None
    assert not await Publisher(store).is_published()


async def test_replicas_with_the_same_files_publish_once(store: KeyValue, one: Configuration) -> None:
    done = await asyncio.gather(*(Publisher(store).publish(one) for _ in range(4)))
    assert sum(each.is_new for each in done) == 1
    assert len({each.version for each in done}) == 1


async def test_two_writers_at_once_both_count(store: KeyValue, one: Configuration, two: Configuration) -> None:
    done = await asyncio.gather(Publisher(store).publish(one), Publisher(store).publish(two))
    assert sorted(number_in(each.version) for each in done) == [1, 2]


@pytest.mark.parametrize(
    "data",
    [b"\x02\x90", b"\x01\x90", b"\x00fault", b"rubbish"],
    ids=["another wire version", "another shape", "a fault", "rubbish"],
)
async def test_what_cannot_be_read_is_replaced_under_a_higher_number(
    store: KeyValue, one: Configuration, data: bytes
) -> None:
    for _ in range(3):
        await store.kv_put(CONFIGURATION_BUCKET, CONFIGURATION_KEY, data)
    assert await Publisher(store).current() is None
    assert await Publisher(store).is_published()
    assert (await Publisher(store).publish(one)).version == f"4-{digest_of(one)}"


async def test_a_deleted_key_is_written_again(one: Configuration) -> None:
    store = FakeStore()
    await Publisher(store).publish(one)
    store.delete()
    assert (await Publisher(store).publish(one)).is_new
    assert await Publisher(store).is_published()


async def test_endless_conflicts_are_given_up_for_now(one: Configuration, two: Configuration) -> None:
    class Busy(FakeStore):
        async def kv_put(self, bucket: str, key: str, data: bytes, *, last: int | None = None) -> int:
            raise KvConflict("somebody was faster")

    store = Busy()
    await FakeStore.kv_put(store, CONFIGURATION_BUCKET, CONFIGURATION_KEY, wire.encode(two))
    with pytest.raises(BusUnavailable, match="at the same time"):
        await Publisher(store).publish(one)


def test_the_digest_is_of_the_content_and_not_of_the_version(one: Configuration, two: Configuration) -> None:
    assert digest_of(one) == digest_of(msgspec.structs.replace(one, version="7-abc"))
    assert digest_of(one) != digest_of(two)
    assert len(digest_of(one)) == 8


async def test_going_back_holds_until_something_else_is_published(
    store: KeyValue, one: Configuration, two: Configuration, tmp_path: Path
) -> None:
    publisher = Publisher(store)
    first, second = await publisher.publish(one), await publisher.publish(two)
    assert [kept.version for kept in await publisher.versions()] == [second.version, first.version]
    back = await publisher.go_back(first.version)
    assert back is not None and back.is_new and number_in(back.version) == number_in(second.version) + 1
    current = await publisher.current()
    assert current is not None and digest_of(current) == digest_of(one)
    # A replica that starts again with the same files does not undo it; changed files do.
    held = await Publisher(store).publish(two)
    assert held.is_held and not held.is_new and held.version == back.version
    three = configuration(tmp_path, "three.test")
    assert (await publisher.publish(three)).is_new
    assert (await publisher.publish(two)).is_new
    assert len(await publisher.versions()) == 5


async def test_going_back_to_what_is_not_kept_or_in_force(store: KeyValue, one: Configuration) -> None:
    publisher = Publisher(store)
    only = await publisher.publish(one)
    assert await publisher.go_back("9-deadbeef") is None
    again = await publisher.go_back(only.version)
    assert again is not None and not again.is_new and again.version == only.version


async def test_going_back_again_still_holds_what_the_files_say(
    store: KeyValue, one: Configuration, two: Configuration, tmp_path: Path
) -> None:
    publisher = Publisher(store)
    first, second = await publisher.publish(one), await publisher.publish(two)
    files = configuration(tmp_path, "three.test")
    third = await publisher.publish(files)
    await publisher.go_back(second.version)
    await publisher.go_back(first.version)
    assert (await publisher.publish(files)).is_held
    forward = await publisher.go_back(third.version)
    assert forward is not None and forward.is_new
    current = await publisher.current()
    assert current is not None and current.rolled_back_from == ""
