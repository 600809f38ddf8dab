"""Tables written where they are used, as queued mail knows them: an edit of the file never gives it the table of another rule."""

from pathlib import Path

import pytest

from smtpfleet.contracts.configuration import Configuration, LocalAction, RelayAction
from tests.unit.config.stage import LISTENER, RULE, compile_text

LOGIN = 'accept for domain a.test relay via tls+auth://me@h.test auth { me = "me:one" }\n'
USERS = 'accept for domain b.test userbase { bob = "1:1:/home/bob" } deliver to mbox\n'
ABOVE = 'accept for domain c.test userbase { bob = "2:2:/home/other" } deliver to mbox\n'
OTHER_LOGIN = 'accept for domain a.test relay via tls+auth://me@other.test auth { me = "me:two" }\n'


def compiled(folder: Path, text: str) -> Configuration:
    found = compile_text(folder, LISTENER + text + RULE)
    assert found.configuration is not None, found.render()
    return found.configuration


def known_as(configuration: Configuration) -> list[str]:
    """What envelopes of each rule will name, in order."""
    names = []
    for rule in configuration.rules[:-1]:
        assert isinstance(rule.action, LocalAction | RelayAction)
        names.append(rule.action.userbase if isinstance(rule.action, LocalAction) else rule.action.auth)
    return names


def test_statements_above_change_no_name(tmp_path: Path) -> None:
    before = known_as(compiled(tmp_path, LOGIN + USERS))
    after = known_as(compiled(tmp_path, ABOVE + OTHER_LOGIN + LOGIN + USERS))
    assert after[2:] == before
    assert len(set(after)) == 4


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(USERS, USERS.replace("}", ', al = "3:3:/home/al" }'), id="a user more"),
        pytest.param(LOGIN, LOGIN.replace("one", "two"), id="another password"),
    ],
)
def test_entries_change_no_name(before: str, after: str, tmp_path: Path) -> None:
    assert known_as(compiled(tmp_path, before)) == known_as(compiled(tmp_path, after))


def test_two_in_one_place_are_known_by_their_entries(tmp_path: Path) -> None:
    twin = USERS.replace("/home/bob", "/home/robert")
    first, second = known_as(compiled(tmp_path, USERS + twin))
    assert known_as(compiled(tmp_path, twin + USERS)) == [second, first]
    assert first != second


def test_passwords_give_no_name_away(tmp_path: Path) -> None:
    text = LOGIN + LOGIN.replace("one", "two")
    first, second = known_as(compiled(tmp_path, text))
    assert second == first.replace(">:me", ".2>:me")
    assert known_as(compiled(tmp_path, text.replace("one", "three"))) == [first, second]


def test_the_same_twice_is_one(tmp_path: Path) -> None:
    first, second = known_as(compiled(tmp_path, USERS + USERS))
    assert first == second


def test_an_action_is_known_by_its_name(tmp_path: Path) -> None:
    def userbase(options: str) -> str:
        text = f'action "here" mbox {options} userbase {{ bob = "1:1:/home/bob" }}\nmatch for any action "here"\n'
        found = compile_text(tmp_path, LISTENER + text)
        assert found.configuration is not None, found.render()
        (rule,) = found.configuration.rules
        assert isinstance(rule.action, LocalAction)
        return rule.action.userbase

    assert userbase("") == userbase("virtual { bob = bob }") == userbase("alias { bob = bob }")
