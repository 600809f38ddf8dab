"""Large tables on the way into a role: only what it needs, only what changed, whole or not at all."""

import msgspec
import pytest

from smtpfleet.contracts import wire
from smtpfleet.contracts.configuration import Configuration, Table
from smtpfleet.contracts.subjects import TABLES_BUCKET
from smtpfleet.contracts.table_parts import cut_entries
from smtpfleet.mail.table_needs import all_tables, no_tables, relay_tables, userbases
from smtpfleet.mail.tables import NotInline, Tables
from smtpfleet.runtime.bus import BusUnavailable
from smtpfleet.runtime.large_tables import LargeTables, PartMissing
from tests.unit.mail.building import configuration, local_action, rule

ALIASES = {f"user{number}": "alice" for number in range(30_000)}
USERS = {f"user{number}": "1:1:/home/x" for number in range(30_000)}


class Bucket:
    """The bucket of tables; counts what is fetched, and can be away or lose a part."""

    def __init__(self) -> None:
        self.parts: dict[str, bytes] = {}
        self.fetched: list[str] = []
        self.fails_at = 0

    def publish(self, **tables: dict[str, str]) -> Configuration:
        """A published configuration with these tables, large ones cut."""
        published = []
        for name, entries in tables.items():
            parts = cut_entries(entries)
            self.parts |= parts
            table = Table(name, "mapping", "file", f"/{name}", entries)
            published.append(
                msgspec.structs.replace(table, entries={}, is_inline=False, parts=tuple(parts)) if parts else table
            )
        return configuration(rule(local_action(alias="aliases", userbase="users")), tables=tuple(published))

    async def kv_get(self, bucket: str, key: str) -> tuple[bytes, int] | None:
        assert bucket == TABLES_BUCKET
        self.fetched.append(key)
        if len(self.fetched) == self.fails_at:
            raise BusUnavailable("gone")
        return (self.parts[key], 1) if key in self.parts else None


async def test_a_role_gets_every_table_it_needs() -> None:
    bucket = Bucket()
    joined = await LargeTables(bucket, all_tables).join(bucket.publish(aliases=ALIASES, users=USERS, small={"a": "b"}))
    assert joined.tables["aliases"].entries == ALIASES
    assert joined.tables["users"].entries == USERS and joined.tables["users"].is_inline
    assert Tables(joined).lookup_alias("aliases", "user29999") == "alice"


async def test_a_role_fetches_no_table_it_does_not_look_into_and_asks_config_where_it_has_to() -> None:
    bucket = Bucket()
    published = bucket.publish(aliases=ALIASES, users=USERS, small={"a": "b"})
    joined = await LargeTables(bucket, userbases).join(published)
    assert set(bucket.fetched) == set(published.tables["users"].parts)
    # Never "not found": what is not here is asked for.
    with pytest.raises(NotInline):
        Tables(joined).lookup_alias("aliases", "user1")
    assert Tables(joined).lookup_alias("small", "a") == "b"
    for needs in (no_tables, relay_tables):
        bucket.fetched.clear()
        assert await LargeTables(bucket, needs).join(published) is published
        assert bucket.fetched == []


async def test_only_what_changed_is_fetched_and_the_rest_is_the_very_same() -> None:
    bucket = Bucket()
    large = LargeTables(bucket, all_tables)
    first = await large.join(bucket.publish(aliases=ALIASES, users=USERS))
    bucket.fetched.clear()
    changed = bucket.publish(aliases=ALIASES | {"root": "alice"}, users=USERS)
    second = await large.join(changed)
    assert set(bucket.fetched) == set(changed.tables["aliases"].parts)
    assert second.tables["users"].entries is first.tables["users"].entries
    assert second.tables["aliases"].entries["root"] == "alice"


async def test_what_is_held_already_is_not_fetched() -> None:
    bucket = Bucket()
    large = LargeTables(bucket, all_tables)
    published = bucket.publish(aliases=ALIASES)
    large.hold(published.tables["aliases"].parts, ALIASES)
    assert (await large.join(published)).tables["aliases"].entries is ALIASES
    assert bucket.fetched == []


async def test_a_failure_leaves_what_is_held_and_the_next_try_goes_on_from_there() -> None:
    bucket = Bucket()
    large = LargeTables(bucket, all_tables)
    await large.join(bucket.publish(aliases=ALIASES, users=USERS))
    changed = bucket.publish(aliases=ALIASES | {"root": "alice"}, users=USERS | {"root": "0:0:/"})
    first, last = changed.tables["aliases"].parts, changed.tables["users"].parts
    bucket.fetched.clear()
    bucket.fails_at = len(first) + 1
    with pytest.raises(BusUnavailable):
        await large.join(changed)
    bucket.fails_at = 0
    bucket.fetched.clear()
    lost = bucket.parts.pop(last[-1])
    with pytest.raises(PartMissing, match="table users"):
        await large.join(changed)
    assert set(bucket.fetched) == set(last)
    bucket.parts[last[-1]] = lost
    assert (await large.join(changed)).tables["users"].entries["root"] == "0:0:/"


async def test_a_part_that_is_something_else_is_refused() -> None:
    bucket = Bucket()
    published = bucket.publish(aliases=ALIASES)
    bucket.parts[published.tables["aliases"].parts[0]] = next(iter(cut_entries(USERS).values()))
    with pytest.raises(wire.Malformed):
        await LargeTables(bucket, all_tables).join(published)


def test_an_earlier_release_sees_a_table_to_ask_config_for() -> None:
    """It knows no parts. What it must never see is an empty table, because then it would refuse everybody."""

    class EarlierTable(msgspec.Struct, frozen=True, array_like=True):
        name: str
        kind: str
        backend: str
        path: str
        entries: dict[str, str]
        is_inline: bool = True

    published = Bucket().publish(aliases=ALIASES).tables["aliases"]
    seen = wire.decode(wire.encode(published), EarlierTable)
    assert (seen.entries, seen.is_inline) == ({}, False)
