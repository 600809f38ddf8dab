"""How much work users' files and peers' messages can make: a megabyte takes about twice as long as half of it."""

import itertools
from collections.abc import Callable

import pytest

from smtpfleet.contracts.commands import ForwardQuery
from smtpfleet.contracts.configuration import Configuration
from smtpfleet.mail.aliases import AliasFault
from smtpfleet.mail.expand import NODE_LIMIT, Expander, Expansion
from smtpfleet.mail.headers import count_received, has_delivered_to
from smtpfleet.mail.submission import complete_message, replace_from
from smtpfleet.mail.tables import Tables
from smtpfleet.mail.targetfile import parse_forward, read_included
from tests.support.proportion import grows_in_proportion
from tests.unit.mail.building import facts, local_action
from tests.unit.mail.test_forwarding import expanded, snapshot_of

MEGABYTE = 1_000_000


def repeated(unit: str) -> Callable[[int], str]:
    return lambda size: unit * (size // len(unit))


def read_lists(text: str) -> None:
    read_included(text, is_modern=True)
    try:
        parse_forward(text, is_modern=True)
    except AliasFault as fault:
        assert len(str(fault)) < 100


@pytest.mark.parametrize(
    "unit", [",", "joe@d.org, ", '"', "\\", "\\\n", "\\#", "#x\n", " ", "joe\n", '"a b"@d.org,', "a.", "@", "/", "\n", "joe\\\n,"]
)  # fmt: skip
def test_lists_of_targets(unit: str) -> None:
    assert grows_in_proportion(read_lists, repeated(unit), MEGABYTE // 4)
    assert grows_in_proportion(read_lists, lambda size: f"joe{repeated(unit)(size)}x", MEGABYTE // 4)


def read_header(content: bytes) -> None:
    complete_message(content, hostname="mx.test", date_text="DATE", message_id="ID")
    replace_from(content, "joe@d.org")
    count_received(content)
    assert not has_delivered_to(content, "joe@d.org")


@pytest.mark.parametrize("unit", ["joe, ", "(", "(a) ", '"a" ', "<", "a:b;", "\r\n a", "\\", ">", "a,\r\n "])
@pytest.mark.parametrize("name", ["From", "To"])
def test_one_field_of_a_message(unit: str, name: str) -> None:
    """Found by measuring: half a megabyte of addresses without a domain held the event loop for eight seconds."""
    given = repeated(unit)
    assert grows_in_proportion(
        read_header, lambda size: f"{name}: {given(size)}\r\n\r\nx\r\n".encode(), MEGABYTE // 4
    )  # fmt: skip


@pytest.mark.parametrize(
    "unit", ["a: b\r\n", "Delivered-To: x\r\n", "From: joe\r\n", "a", "a:\r\n \r\n", "Received: x\r\n", " \r\n"]
)
def test_a_header_of_a_message(unit: str) -> None:
    given = repeated(unit)
    assert grows_in_proportion(read_header, lambda size: f"{given(size)}\r\n\r\nx\r\n".encode(), MEGABYTE // 2)


def expand_joe(snapshot: Configuration) -> Expansion:
    opened = Expander(snapshot, Tables(snapshot)).open(facts(), "joe@d.org")
    outcome = opened.proceed()
    assert not isinstance(outcome, ForwardQuery)
    assert isinstance(outcome, Expansion)
    return outcome


def far_list(count: int) -> Configuration:
    return snapshot_of(local_action(virtual="t"), {"joe": ", ".join(f"u{number}@far.test" for number in range(count))})


def nested_lists(count: int) -> Configuration:
    """Eight deep, and as many lists on each level, each of which names all of the next: few lines and very many ways."""
    width = count // 8
    names = [[f"l{depth}x{number}@d.org" for number in range(width)] for depth in range(8)]
    entries = {name: ", ".join(below) for here, below in itertools.pairwise(names) for name in here}
    return snapshot_of(local_action(virtual="t"), entries | {"joe": ", ".join(names[0])})


@pytest.mark.parametrize(("make", "size"), [(far_list, 8000), (nested_lists, 600)], ids=["a long list", "nested lists"])
def test_an_expansion(make: Callable[[int], Configuration], size: int) -> None:
    assert grows_in_proportion(expand_joe, make, size)


def test_lists_that_multiply_end_at_the_limit_of_nodes() -> None:
    refusal = expand_joe(nested_lists(80)).refusal
    assert refusal is not None and refusal.code == 451
    assert f"{NODE_LIMIT}" in expand_joe(nested_lists(80)).detail


def test_a_forward_of_a_megabyte_of_users_is_too_long() -> None:
    found = expanded(snapshot_of(local_action()), "joe@d.org", {"joe": "bob, " * (MEGABYTE // 5)})
    assert found.refusal is not None and "more than 100 targets" in found.detail
