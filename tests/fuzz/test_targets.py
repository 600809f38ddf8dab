"""Every target's seeds and kept corpus, replayed; and as many new inputs as hypothesis makes of its words in an ordinary run.

`make fuzz` looks for more by coverage, and writes what it finds to the corpus.
"""

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.mutation import mutate
from tests.fuzz.targets import CORPUS, NAMES, load_target

TARGETS = {name: load_target(name) for name in NAMES}
SEEDS = {name: tuple(target.seeds()) for name, target in TARGETS.items()}
FILES = [(name, path) for name, target in TARGETS.items() for path in target.corpus]


@pytest.mark.parametrize(("name", "path"), FILES, ids=[f"{name} {path.stem}" for name, path in FILES])
def test_the_corpus(name: str, path: Path) -> None:
    TARGETS[name].check(path.read_bytes())


@pytest.mark.parametrize("name", NAMES)
def test_the_seeds(name: str) -> None:
    assert len(SEEDS[name]) >= 3
    for seed in SEEDS[name]:
        TARGETS[name].check(seed)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=150)
@given(data=st.data())
def test_any_words(name: str, data: st.DataObject) -> None:
    """By themselves, or behind a good beginning."""
    target = TARGETS[name]
    words = st.one_of(st.sampled_from(list(target.words)), st.binary(max_size=8))
    begin = data.draw(st.sampled_from([b"", *SEEDS[name]]))
    target.check(begin + b"".join(data.draw(st.lists(words, max_size=25))))


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=150)
@given(data=st.data(), seed=st.integers(0, 2**32))
def test_damaged_seeds(name: str, data: st.DataObject, seed: int) -> None:
    target = TARGETS[name]
    target.check(mutate(data.draw(st.sampled_from(SEEDS[name])), target.words, 4096, seed))


def test_every_folder_of_the_corpus_belongs_to_a_target() -> None:
    assert {path.name for path in CORPUS.iterdir()} == set(NAMES)
    assert all(len(target.corpus) >= 5 for target in TARGETS.values())


def test_mutation_keeps_to_its_limit_and_its_seed() -> None:
    draw = random.Random(1)
    for _ in range(200):
        seed = draw.randrange(2**32)
        made = mutate(b"EHLO c\r\nQUIT\r\n", (b"x" * 50, b"\r\n"), 60, seed)
        assert len(made) <= 60 and made == mutate(b"EHLO c\r\nQUIT\r\n", (b"x" * 50, b"\r\n"), 60, seed)
