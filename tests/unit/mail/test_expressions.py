"""POSIX extended expressions: what they match, what is none, and that no text makes them slow."""

import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpfleet.mail.expressions import STEP_CACHE_COUNT, BadExpression, Expression


@pytest.mark.parametrize(
    ("pattern", "text", "is_match"),
    [
        pytest.param("b", "abc", True, id="anywhere in the text"),
        pytest.param("^b", "abc", False, id="at the beginning"),
        pytest.param("^a.*c$", "abc", True, id="from beginning to end"),
        pytest.param("b$", "b\n", False, id="the end is the end, not the line before it"),
        pytest.param("a^b|$c", "a^b", False, id="an anchor in the middle never holds"),
        pytest.param("", "", True, id="nothing is everywhere"),
        pytest.param("^$", "", True, id="the empty text"),
        pytest.param("^$", "a", False, id="not the empty text"),
        pytest.param("a|b|", "x", True, id="an empty alternative"),
        pytest.param("^(a|b)+$", "abba", True, id="a repeated group"),
        pytest.param("^(ab)*$", "aba", False, id="half a group"),
        pytest.param("^a?b$", "b", True, id="an optional character"),
        pytest.param("^a{2}$", "aaa", False, id="an exact count"),
        pytest.param("^a{2,}$", "aaaa", True, id="a least count"),
        pytest.param("^a{2,3}$", "aaaa", False, id="a bounded count"),
        pytest.param("^a{0,2}b$", "b", True, id="a count of none"),
        pytest.param("^(a{1,2}){2}$", "aaaa", True, id="counts of counts"),
        pytest.param(r"a\.b", "axb", False, id="a quoted dot"),
        pytest.param(r"a\.b", "a.b", True, id="a quoted dot as itself"),
        pytest.param("[a-c]", "B", True, id="letter case does not count"),
        pytest.param("(?i)ABC", "xabcx", True, id="the prefix of 7.x changes nothing"),
        pytest.param("^[^a-c]$", "b", False, id="a negated bracket"),
        pytest.param("^[]a]$", "]", True, id="a bracket first in brackets"),
        pytest.param("^[^]a]$", "]", False, id="a bracket first in negated brackets"),
        pytest.param(r"^[\.]$", "\\", True, id="a backslash in brackets is itself"),
        pytest.param("^[a-]$", "-", True, id="a dash at the end of brackets"),
        pytest.param("^[[:digit:]x]+$", "1x2", True, id="a class"),
        pytest.param("^[^[:space:]]+$", "a b", False, id="a negated class"),
        pytest.param("^[[:upper:]]$", "a", True, id="upper is lower"),
        pytest.param("@.*\\.example\\.org$", "u@a.b.example.org", True, id="an address"),
        pytest.param("^192\\.0\\.2\\.", "192.0.20.1", False, id="a network as text"),
    ],
)
def test_match(pattern: str, text: str, is_match: bool) -> None:
    assert Expression(pattern).matches(text) is is_match


@pytest.mark.parametrize(
    "pattern",
    ["(", ")", "a)", "(a", "[a", "[[:moon:]]", "[[.a.]]", "*a", "a|*b", "+", "?", "{2}", "a{", "a{x}", "a{3,2}", "a{256}", "[z-a]",
     "\\", r"a\1", r"\ba", "(((a{255}){255}){255})", "(" * 100 + "a" + ")" * 100, "(?=a)"],
)  # fmt: skip
def test_what_is_no_expression(pattern: str) -> None:
    with pytest.raises(BadExpression):
        Expression(pattern)


_ATOMS = st.sampled_from(["a", "b", ".", "[ab]", "[^a]", "(a|b)", "(ab|c)", "c"])
_PARTS = st.builds(lambda atom, repeat: atom + repeat, _ATOMS, st.sampled_from(["", "*", "+", "?", "{1,2}", "{2}"]))
_SEQUENCES = st.lists(_PARTS, max_size=5).map("".join)
_ANCHORED = st.builds(lambda begin, middle, end: begin + middle + end, st.sampled_from(["", "^"]), _SEQUENCES, st.sampled_from(["", "$"]))  # fmt: skip
_PATTERNS = st.lists(_ANCHORED, min_size=1, max_size=3).map("|".join)


@given(_PATTERNS, st.text(alphabet="abcd", max_size=12))
def test_it_agrees_with_the_engine_of_python_where_both_know_the_syntax(pattern: str, text: str) -> None:
    assert Expression(pattern).matches(text) is (re.search(pattern.replace("$", r"\Z"), text) is not None)


@given(st.text(alphabet=string.printable, max_size=20), st.text(max_size=20))
def test_any_text_is_an_expression_or_said_to_be_none(pattern: str, text: str) -> None:
    try:
        found = Expression(pattern).matches(text)
    except BadExpression as error:
        assert str(error)
    else:
        assert found in (True, False)


@pytest.mark.parametrize("pattern", ["^(a+)+$", "^(a|a)*$", "(.*a){12}", "(a*)*b"])
def test_no_text_makes_it_slow(pattern: str) -> None:
    """Each of these takes a backtracking engine longer than the age of the universe, so this test ends or it does not."""
    expression = Expression(pattern)
    assert expression.matches("a" * 2000 + "!") is bool(pattern.startswith("(.*a)"))
    assert len(expression._steps) <= STEP_CACHE_COUNT
