"""Relays of a list: which ones have their turn when the one of the message fails, as the table is now."""

from msgspec.structs import replace

from smtpfleet.contracts.commands import TableReply
from smtpfleet.contracts.configuration import Condition, Configuration, Location, RelayAction, Rule, Table
from smtpfleet.contracts.envelope import RemoteDispatcher
from smtpfleet.contracts.subjects import CONFIG_TABLE_LOOKUP
from smtpfleet.mail.dispatch import relay_by_entry
from smtpfleet.mta.turns import turns_of
from smtpfleet.runtime.table_client import TableClient
from tests.support.fake_bus import FakeBus
from tests.unit.mta.building import CONFIGURATION

PLAIN = RelayAction("", 0, "opportunistic", True, "", "", "", "", "", "", hosts="hubs")
SECURE = replace(PLAIN, tls="require", auth="secrets")


def configured(*actions: RelayAction, urls: tuple[str, ...] = ("a.test", "b.test", "c.test")) -> Configuration:
    table = Table("hubs", "list", "static", "", dict.fromkeys(urls, ""))
    anywhere = (Condition("destination", "<anydestination>", negated=False),)
    rules = tuple(Rule(Location("smtpd.conf", 1, 1), anywhere, action, 60) for action in actions)
    return replace(CONFIGURATION, tables={"hubs": table}, rules=rules)


def relay(action: RelayAction, text: str) -> RemoteDispatcher:
    found = relay_by_entry(action, text)
    assert isinstance(found, RemoteDispatcher), found
    return found


async def turns(d: RemoteDispatcher, configuration: Configuration, bus: FakeBus | None = None) -> list[tuple[str, str]]:
    found = await turns_of(d, configuration, TableClient(bus or FakeBus()))
    return [(each.domain, each.tls) for each in found]


async def test_its_own_first_then_the_others() -> None:
    found = await turns(relay(PLAIN, "b.test"), configured(PLAIN))
    assert found == [(name, "opportunistic") for name in ("b.test", "c.test", "a.test")]


async def test_one_that_has_left_the_table() -> None:
    d = relay(PLAIN, "gone.test")
    assert [name for name, _ in await turns(d, configured(PLAIN))] == ["a.test", "b.test", "c.test"]
    assert [name for name, _ in await turns(d, configured())] == ["gone.test"], "nor is there the action any more"
    assert [name for name, _ in await turns(d, configured(PLAIN, urls=()))] == ["gone.test"]


async def test_of_two_actions_the_one_that_made_it() -> None:
    both = configured(PLAIN, SECURE, urls=("a.test", "smtp+tls://l@b.test", "smtp+notls://c.test"))
    assert await turns(relay(SECURE, "a.test"), both) == [("a.test", "require"), ("b.test", "require")]
    assert await turns(relay(PLAIN, "a.test"), both) == [("a.test", "opportunistic"), ("c.test", "none")]


async def test_no_other_where_no_list_was_asked() -> None:
    d = replace(relay(PLAIN, "a.test"), hosts="")
    assert await turns(d, configured(PLAIN)) == [("a.test", "opportunistic")]


async def test_a_list_of_a_program() -> None:
    far = Table("hubs", "dynamic", "proc", "/x", {}, is_inline=False)
    configuration = replace(configured(PLAIN), tables={"hubs": far})
    bus = FakeBus()
    bus.answer(CONFIG_TABLE_LOOKUP, TableReply("", ["z.test"], 0))
    assert [name for name, _ in await turns(relay(PLAIN, "a.test"), configuration, bus)] == ["z.test"]
    silent = await turns(relay(PLAIN, "a.test"), configuration)
    assert [name for name, _ in silent] == ["a.test"]
