"""The mark survives the way through a message and a log."""

from pathlib import Path

import pytest

from bench.mark import HEADER, SINK_LINE_LENGTH, UNMARKED, Mark, count_sink_log, find_mark, parse_mark, read_sink_log

MARK = Mark("0123abcd", 7, 2, 1_795_000_000_123_456_789)


def test_a_mark_reads_back_from_its_text() -> None:
    assert parse_mark(MARK.text) == MARK


@pytest.mark.parametrize("text", ["", UNMARKED, MARK.text[:-1], MARK.text.replace(".", "-")], ids=repr)
def test_what_is_no_mark_is_none(text: str) -> None:
    assert parse_mark(text) is None


def test_the_mark_is_found_behind_trace_headers() -> None:
    content = (
        b"Return-Path: <a@b>\r\nReceived: from c\r\n\tby d\r\n" + HEADER + MARK.text.encode() + b"\r\n\r\nbody\r\n"
    )
    assert find_mark(content) == MARK.text


def test_a_message_without_a_mark_says_so() -> None:
    assert find_mark(b"Subject: x\r\n\r\nbody\r\n") == UNMARKED


def test_the_log_is_counted_by_its_size_and_an_unfinished_line_left_out(tmp_path: Path) -> None:
    log = tmp_path / "sink.log"
    line = f"{MARK.text} {5:016x}\n"
    assert len(line) == SINK_LINE_LENGTH
    log.write_text(line + f"{UNMARKED} {6:016x}\n" + line[:20])
    assert count_sink_log(log) == 2
    assert [(arrival.mark, arrival.at_ns) for arrival in read_sink_log(log)] == [(MARK, 5), (None, 6)]
