"""The log's form: key first, name=value, nothing a peer says can forge a line."""

import io

import pytest

from smtpfleet.runtime.maillog import MailLog, quote


def test_a_fact_is_one_line_with_its_key_first() -> None:
    stream = io.StringIO()
    MailLog("smtp-in", stream=stream).fact("0011", "smtp message", msgid="ab", size=3, stat="250 2.0.0 Ok")
    assert stream.getvalue().endswith('Z smtp-in 0011 smtp message msgid=ab size=3 stat="250 2.0.0 Ok"\n')


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("plain", "plain"),
        ("", '""'),
        ("two words", '"two words"'),
        ("a=b", '"a=b"'),
        ('say "hi"', '"say \\"hi\\""'),
        ("x\r\n2026 forged", '"x\\x0d\\x0a2026 forged"'),
        ("nul\x00", '"nul\\x00"'),
        ("<a@b>", "<a@b>"),
    ],
)
def test_values_are_quoted_so_that_a_line_stays_a_line(value: str, written: str) -> None:
    assert quote(value) == written


def test_an_endless_value_is_cut() -> None:
    assert len(quote("x" * 100_000)) < 1100


def test_the_level_is_kept() -> None:
    stream = io.StringIO()
    log = MailLog("queue", level="warning", stream=stream)
    log.fact("k", "something")
    log.info("something")
    log.warning("look")
    assert stream.getvalue().count("\n") == 1
