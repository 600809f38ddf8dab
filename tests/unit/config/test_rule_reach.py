"""Rules that are never reached and relays open to all, beyond the folders covered_rules and open_relays."""

import time
from pathlib import Path

import pytest

from tests.unit.config.stage import LISTENER, compile_text

PAIRS = {
    "the same again": ("for domain a.test", "for domain a.test", True),
    "the same in another order": ("for domain { a.test, b.test }", "for domain { b.test, a.test }", True),
    "fewer domains": ("for domain { a.test, b.test }", "for domain b.test", True),
    "more domains": ("for domain b.test", "for domain { a.test, b.test }", False),
    "a domain under a wildcard": ("for domain '*.a.test'", "for domain x.a.test", True),
    "a wildcard holds for one label": ("for domain '*.a.test'", "for domain x.y.a.test", False),
    "a wildcard in a wildcard is not decided": ("for domain '*.a.test'", "for domain 'x*.a.test'", False),
    "everything": ("for any", "for domain a.test", True),
    "local names are named by all": ("for domain '*'", "for local", True),
    "a network in a network": ("from source '10.0.0.0/8' for any", "from source '10.9.0.0/16' for any", True),
    "a network around a network": ("from source '10.9.0.0/16' for any", "from source '10.0.0.0/8' for any", False),
    "families are apart": ("from source '::/0' for any", "from source '10.0.0.0/8' for any", False),
    "this host is among all": ("from any for any", "from local for any", True),
    "all are not this host": ("from local for any", "from any for any", False),
    "one of ours": ("from local for any", "from source 127.0.0.1 for any", True),
    "fewer left out": ("for ! domain { a.test, b.test }", "for ! domain a.test", False),
    "more left out": ("for ! domain a.test", "for ! domain { a.test, b.test }", True),
    "one and its opposite": ("for domain a.test", "for ! domain a.test", False),
    "a sender more": ("for any", "sender '@a.test' for any", True),
    "a sender less": ("sender '@a.test' for any", "for any", False),
    "a sender of a domain": ("sender '@a.test' for any", "sender 'x@a.test' for any", True),
    "a user is no domain": ("sender '@a.test' for any", "sender a.test for any", False),
    "the null sender": ("sender '@a.test' for any", "sender '@' for any", False),
    "another tag": ("tagged A for any", "tagged B for any", False),
    "the same tag": ("tagged A for any", "tagged A sender '@a.test' for any", True),
    "authenticated": ("authenticated for any", "authenticated recipient '@a.test' for any", True),
    "sender is not recipient": ("sender '@a.test' for any", "recipient '@a.test' for any", False),
}


@pytest.mark.parametrize(("first", "second", "is_covered"), PAIRS.values(), ids=PAIRS)
def test_a_covered_rule_is_told_of(first: str, second: str, is_covered: bool, tmp_path: Path) -> None:
    compiled = compile_text(tmp_path, f"{LISTENER}reject {first}\nreject {second}\n")
    assert compiled.configuration is not None, compiled.render()
    assert ("this rule is never reached" in compiled.render()) == is_covered


def test_nothing_is_said_of_reach_while_there_are_errors(tmp_path: Path) -> None:
    compiled = compile_text(
        tmp_path, f"{LISTENER}reject for domain <a>\nreject for domain <b>\nreject for any\nreject\n"
    )
    assert compiled.error_count == 2
    assert compiled.warning_count == 0


def test_many_rules_take_time_in_proportion(tmp_path: Path) -> None:
    """Twice the rules, about twice the time; quadratic would be four times."""

    def seconds(count: int) -> float:
        rules = "".join(f"accept from any sender x{n}@a.test for domain d{n}.test relay\n" for n in range(count))
        begun = time.process_time()
        assert compile_text(tmp_path, LISTENER + rules).configuration is not None
        return time.process_time() - begun

    seconds(300)
    assert seconds(3000) < 3 * seconds(1500) + 0.5
