"""The fuzzed parts, by name: each a module of this folder with three things.

`check(data)` gives octets that nobody meant well to a part of the product and raises AssertionError where a promise is broken; any other
exception is a finding, too. `WORDS` is what its language is made of, for whoever makes such octets. `seeds()` are good inputs to begin
with. What was found, and what one would forget, is kept in tests/corpus/<name>.
"""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

NAMES = (
    "smtpd_conf", "targets_of_mail", "expansion", "format_string", "header",
    "smtp", "command", "content", "chunks", "proxy", "auth",
)  # fmt: skip
"""In the order of issues 3 and 4."""
CORPUS = Path(__file__).parents[1] / "corpus"


@dataclass(frozen=True, slots=True)
class Target:
    """One fuzzed part. corpus: its kept inputs."""

    name: str
    check: Callable[[bytes], None]
    words: Sequence[bytes]
    seeds: Callable[[], Sequence[bytes]]

    @property
    def corpus(self) -> list[Path]:
        """The files of tests/corpus/<name>."""
        return sorted(path for path in (CORPUS / self.name).glob("*") if path.is_file())


def load_target(name: str) -> Target:
    """The target called `name`, imported now: coverage is counted for what is imported under the fuzzer's eyes."""
    module = importlib.import_module(f"tests.fuzz.{name}")
    return Target(name, module.check, module.WORDS, module.seeds)
