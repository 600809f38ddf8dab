"""Dot transparency and the content check: inverse of each other, strict about line ends."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpfleet.mail.dots import LINE_LIMIT_BYTES, content_fault, lf_lines, stuff, unstuff


@pytest.mark.parametrize(
    ("content", "wire"),
    [
        pytest.param(b"", b"", id="empty"),
        pytest.param(b"a\r\n", b"a\r\n", id="no dots"),
        pytest.param(b".\r\n", b"..\r\n", id="a lone dot on the first line"),
        pytest.param(b"a\r\n.\r\n.\r\n", b"a\r\n..\r\n..\r\n", id="lone dots in a row"),
        pytest.param(b"a\r\n..b\r\n", b"a\r\n...b\r\n", id="two dots become three"),
        pytest.param(b"a.b\r\nc.\r\n", b"a.b\r\nc.\r\n", id="dots inside lines"),
        pytest.param(b"\r\n.\r\n", b"\r\n..\r\n", id="after an empty line"),
    ],
)
def test_stuff_and_unstuff(content: bytes, wire: bytes) -> None:
    assert stuff(content) == wire
    assert unstuff(wire) == content


def test_a_single_leading_dot_is_removed_from_any_line() -> None:
    assert unstuff(b".a\r\n.b\r\n") == b"a\r\nb\r\n"


def test_a_piece_that_does_not_begin_a_line_keeps_its_first_dot() -> None:
    assert unstuff(b".a\r\n..b\r\n", is_at_line_start=False) == b".a\r\n.b\r\n"


def test_content_without_dots_is_not_copied() -> None:
    content = b"a\r\nb\r\n" * 100
    assert stuff(content) is content
    assert unstuff(content) is content


_LINES = st.lists(st.sampled_from([b"", b".", b"..", b".a", b"a.", b"x" * 100]) | st.binary(max_size=30), max_size=20)
_CONTENT = _LINES.map(lambda lines: b"".join(re.sub(rb"[\r\n\0]", b"", line) + b"\r\n" for line in lines))


@given(_CONTENT)
def test_stuffing_is_undone_and_hides_every_lone_dot(content: bytes) -> None:
    wire = stuff(content)
    assert unstuff(wire) == content
    assert b"\r\n.\r\n" not in b"\r\n" + wire


@given(_CONTENT, st.data())
def test_pieces_cut_after_line_ends_unstuff_to_the_same(content: bytes, data: st.DataObject) -> None:
    lines = stuff(content).splitlines(keepends=True)
    cut = data.draw(st.integers(0, len(lines)))
    assert unstuff(b"".join(lines[:cut])) + unstuff(b"".join(lines[cut:])) == content


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        pytest.param(b"", None, id="empty"),
        pytest.param(b"a\r\n\r\nb\r\n", None, id="CRLF lines"),
        pytest.param(b"a", None, id="a last line without its end"),
        pytest.param(bytes(range(128, 256)) + b"\r\n", None, id="8 bit"),
        pytest.param(b"a\nb\r\n", "bare LF", id="a bare LF"),
        pytest.param(b"a\r\n.\n", "bare LF", id="the smuggled dot LF"),
        pytest.param(b"a\n.\r\n", "bare LF", id="the smuggled LF dot CRLF"),
        pytest.param(b"a\rb\r\n", "bare CR", id="a bare CR"),
        pytest.param(b"a\r", "bare CR", id="a CR at the end"),
        pytest.param(b"a\r\n.\r", "bare CR", id="the smuggled dot CR"),
        pytest.param(b"a\r\r\n", "bare CR", id="two CRs"),
        pytest.param(b"a\n\r\n", "bare LF", id="LF before CRLF"),
        pytest.param(b"a\0b\r\n", "NUL", id="NUL"),
        pytest.param(b"x" * LINE_LIMIT_BYTES + b"\r\n", None, id="the longest line"),
        pytest.param(
            b"a\r\n" * 50000 + b"x" * LINE_LIMIT_BYTES + b"\r\nb\r\n", None, id="the longest line among others"
        ),
        pytest.param(b"x" * (LINE_LIMIT_BYTES + 1) + b"\r\n", "line too long", id="a line too long"),
        pytest.param(
            b"a\r\n" * 50000 + b"x" * (LINE_LIMIT_BYTES + 1) + b"\r\n", "line too long", id="a line too long, late"
        ),
        pytest.param(b"x" * (LINE_LIMIT_BYTES + 1), "line too long", id="a line too long without its end"),
    ],
)
def test_content_fault(data: bytes, fault: str | None) -> None:
    assert content_fault(data) == fault


@given(st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"a", b".", b"\0"]), max_size=12).map(b"".join))
def test_only_crlf_lines_pass(data: bytes) -> None:
    is_clean = re.fullmatch(rb"(?:[^\r\n\0]|\r\n)*", data) is not None
    assert (content_fault(data) is None) is is_clean


@given(st.lists(st.integers(0, 200), min_size=1, max_size=8), st.integers(1, 120))
def test_the_line_check_agrees_with_measuring_every_line(lengths: list[int], limit: int) -> None:
    scale = LINE_LIMIT_BYTES // limit
    data = b"\r\n".join(b"x" * (length * scale) for length in lengths)
    longest = max(len(line) for line in data.split(b"\r\n"))
    assert content_fault(data) == ("line too long" if longest > LINE_LIMIT_BYTES else None)


@given(_CONTENT, st.data())
def test_files_get_lf_wherever_a_piece_was_cut(content: bytes, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(content)))
    assert lf_lines(content[:cut]) + lf_lines(content[cut:]) == content.replace(b"\r\n", b"\n")


@given(st.text(alphabet="\r\na\xff", max_size=12).map(lambda text: text.encode("latin-1")))
def test_only_pairs_of_cr_and_lf_pass(data: bytes) -> None:
    alone = re.sub(rb"\r\n", b"", data)
    expected = "bare LF" if b"\n" in alone else "bare CR" if b"\r" in alone else None
    assert content_fault(data) == expected
