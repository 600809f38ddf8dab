"""Lists of targets in files: `.forward` and included files (reference 3.4)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpfleet.mail.aliases import AliasFault, TargetKind, include_path, parse_targets, split_items
from smtpfleet.mail.targetfile import parse_forward, read_included


@pytest.mark.parametrize(
    ("content", "values"),
    [
        pytest.param("", [], id="empty"),
        pytest.param("# only\n  # comments\n\n", [], id="comments"),
        pytest.param("bob # and so on\nalice\r\n", ["bob", "alice"], id="a comment behind, and CRLF"),
        pytest.param("bob,\\\nalice", ["bob", "alice"], id="a line that goes on"),
        pytest.param('"|/bin/x \\#1"', ["/bin/x #1"], id="a guarded #"),
        pytest.param("bob\n:include:/etc/passwd\n", ["bob"], id="an include is passed over"),
        pytest.param("no@newline.test", ["no@newline.test"], id="no newline at the end"),
    ],
)
def test_a_forward(content: str, values: list[str]) -> None:
    assert [target.value for target in parse_forward(content, is_modern=False)] == values


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        pytest.param("bob\na b\n", "line 2 is no list of targets", id="a bad line"),
        pytest.param('"|/bin/x # y"', "line 1 is no list of targets", id="a comment inside quotes cuts them"),
        pytest.param("bob\\", "line 1 is no list of targets", id="a backslash at the very end"),
        pytest.param("a,\\\nb c", "line 1 is no list of targets", id="the line where it begins"),
        pytest.param("bob," * 101, "more than 100 targets", id="too many"),
    ],
)
def test_a_fault_names_the_line_and_nothing_in_it(content: str, fault: str) -> None:
    with pytest.raises(AliasFault) as raised:
        parse_forward(content, is_modern=False)
    assert str(raised.value) == fault


def test_included_lines_keep_their_text_and_bad_ones_are_told() -> None:
    found = read_included('# staff\nbob, alice,\n"|/bin/x a, b"\n\na b\n:include:/etc/more\nc\\,d\n', is_modern=False)
    assert found.lines == ("bob, alice", '"|/bin/x a, b"')
    assert [number for number, _ in found.bad] == [5, 6, 7]
    assert len(parse_targets(", ".join(found.lines))) == 3


@pytest.mark.parametrize("line", ["/\\,", "/a\\,,,", "\\,/b, bob,", "|/bin/x\\,"])
def test_a_guarded_comma_at_the_end_of_an_included_line_stays_guarded(line: str) -> None:
    """Found by fuzzing: the comma went, the backslash stayed, and the whole entry could not be read any more."""
    found = read_included(line, is_modern=False)
    entry = ", ".join(["joe", *found.lines])
    assert len(parse_targets(entry)) == 1 + len(split_items(line)) * (not found.bad)


def test_a_user_with_a_subaddress_is_a_target_of_the_modern_form_only() -> None:
    assert read_included("bob+x", is_modern=True).lines == ("bob+x",)
    assert read_included("bob+x", is_modern=False).bad
    assert parse_targets("Bob+X", True)[0].value == "bob+x"


@given(st.text(alphabet='ab,@."\\|/: \n\r#\0errorinclude5', max_size=60), st.booleans())
def test_no_forward_breaks_the_reader(content: str, is_modern: bool) -> None:
    try:
        targets = parse_forward(content, is_modern=is_modern)
    except AliasFault as fault:
        assert str(fault)
    else:
        assert all(target.value and target.kind is not TargetKind.INCLUDE for target in targets)


@given(st.text(alphabet='ab,@."\\|/: includ', max_size=40))
def test_items_put_together_again_are_the_same_items(value: str) -> None:
    try:
        items = split_items(value)
    except AliasFault:
        items = []
    assert split_items(", ".join(items)) == items
    assert all(not include_path(item) or "include:/" in item.lower().replace("\\", "") for item in items)
