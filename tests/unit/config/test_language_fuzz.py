"""Whatever a file holds, it ends in a configuration or in errors with a place: both forms, and the recorded examples as a corpus."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smtpfleet.config.language.compilation import compile_file
from smtpfleet.config.language.diagnostics import LINE_SHOWN_MAX
from smtpfleet.config.language.modern.keywords import KEYWORDS
from smtpfleet.config.language.tokens import KEYWORDS_5_4
from tests.unit.config.stage import HOST

HERE = Path(__file__).parent
CORPUS = {
    folder: tuple(path.read_bytes() for path in sorted((HERE / folder).glob("*/smtpd.conf")))
    for folder in ("good", "bad", "modern/good", "modern/bad")
}

_COMMON = [
    "{", "}", "<", ">", "=", "=>", "!", ",", "\n", " ", "\t", '"', "'", "\\", "#", "$", "$m", "m", "1", "-", "25", "1d", "a.test", "<t>",
    "table t { a = b }\n", "smtp://h", "listen on lo0", "socket", "auth", "senders", "masquerade", "pki p", "'proc:/x'", "(", ")", "/",
    "é", "\x00", "\r", "1e9", "9" * 20, 'include "x"\n',
]  # fmt: skip
PIECES = {
    "classic": [
        *sorted(KEYWORDS_5_4), *_COMMON, "accept", "no-dsn", "filter f '/f'\n", "limit session", "ciphers", "subaddressing-delimiter", "queue",
        "proxy-v2", "authenticated", "rcpt-to", "deliver to", "relay via", "dhe", "tls+auth://l@h:25", "accept for any relay\n",
    ],
    "modern": [
        *sorted(KEYWORDS), *_COMMON, "action a relay\n", "match", "match from any", "for domain regex", "action a\n", "reject\n",
        "filter f phase connect match", "filter f chain {", "proc p '/p'\n", "smtp+tls://l@h:25", "mta limit", "srs key k\n", "ttl 1d",
    ],
}  # fmt: skip


def check_text(data: bytes, folder: Path) -> None:
    main = folder / "fuzz.conf"
    main.write_bytes(data)
    compiled = compile_file(main, HOST)
    assert (compiled.configuration is None) == (compiled.error_count > 0)
    for item in compiled.diagnostics:
        assert 1 <= item.span.line <= len(item.span.source.lines)
        shown = item.render().splitlines()
        assert len(shown) <= 6
        assert all(char.isprintable() or char == "\t" for line in shown for char in line if ord(char) < 0xA0)
        assert all(len(line) < 4 * LINE_SHOWN_MAX for line in shown[1:3])


@pytest.mark.parametrize("form", PIECES)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_words_end_in_a_configuration_or_in_errors(
    form: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    words = st.one_of(st.sampled_from(PIECES[form]), st.text(max_size=4))
    text = data.draw(st.sampled_from(["", " "])).join(data.draw(st.lists(words, max_size=40)))
    check_text(text.encode("utf-8", "surrogatepass"), tmp_path_factory.getbasetemp())


@pytest.mark.parametrize("folder", CORPUS)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_damaged_example_ends_in_a_configuration_or_in_errors(
    folder: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """An example of either form with a piece cut out, put in, or brought from another example."""
    text = data.draw(st.sampled_from(CORPUS[folder]))
    begin = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(begin, min(len(text), begin + 30)))
    other = data.draw(st.sampled_from([example for examples in CORPUS.values() for example in examples]))
    start = data.draw(st.integers(0, len(other)))
    piece = data.draw(st.one_of(st.binary(max_size=4), st.just(other[start : start + 60])))
    check_text(text[:begin] + piece + text[end:], tmp_path_factory.getbasetemp())


@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=200))
def test_any_bytes_end_in_errors_or_not_at_all(data: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    main = tmp_path_factory.getbasetemp() / "bytes.conf"
    main.write_bytes(data)
    assert compile_file(main, HOST).configuration is None
