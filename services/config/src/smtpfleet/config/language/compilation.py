"""The way into the language: a file to a configuration or to what is wrong with it.

Ties files, parser and compiler together for the service and the command line, and knows how large a snapshot may be. Reads files and
asks the system for its name and addresses, so it may wait: call it off the event loop. OpenSMTPD: parse_config (parse.y).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from smtpfleet.config.cut import Cut, Cutter
from smtpfleet.config.language.compiler import CompiledTree, compile_tree
from smtpfleet.config.language.diagnostics import Diagnostic, Diagnostics, Severity
from smtpfleet.config.language.files import ConfigFiles, Unreadable
from smtpfleet.config.language.host import Host
from smtpfleet.config.language.kept import KeptFiles
from smtpfleet.config.language.macros import Macros
from smtpfleet.config.language.parser import parse
from smtpfleet.config.language.source import SourceText, Span
from smtpfleet.config.language.stamp import Stamp
from smtpfleet.contracts import wire
from smtpfleet.contracts.configuration import Configuration, Table

SNAPSHOT_LIMIT_BYTES = 7 * 1024 * 1024
"""A snapshot is one message on the bus, and so is a part of a large table. The bus carries 8 MiB (deploy/etc/nats.conf); the rest is room
for headers and growth."""


@dataclass(slots=True)
class Memory:
    """What a compilation leaves for the next one of the same files; nobody else's."""

    files: KeptFiles = field(default_factory=KeptFiles)
    cutter: Cutter = field(default_factory=Cutter)


@dataclass(frozen=True, slots=True)
class Compilation:
    """configuration: without version, None where there are errors. cut: the same as it is published. stamps: every file read or looked
    for, as it was then.

    withheld: by name, the tables of which the configuration has no entries because they are passwords. They never cross the bus whole.
    srs_keys: that which signs first, then the other one that is believed; they never cross the bus at all.
    """

    configuration: Configuration | None
    cut: Cut | None
    diagnostics: tuple[Diagnostic, ...]
    stamps: dict[Path, Stamp | None]
    withheld: dict[str, Table] = field(default_factory=dict, repr=False)
    srs_keys: tuple[str, ...] = field(default=(), repr=False)

    @property
    def error_count(self) -> int:
        """How many errors."""
        return sum(item.severity is Severity.ERROR for item in self.diagnostics)

    @property
    def warning_count(self) -> int:
        """How many warnings."""
        return len(self.diagnostics) - self.error_count

    def render(self) -> str:
        """All diagnostics as the operator reads them."""
        return "".join(item.render() for item in self.diagnostics)


def compile_file(
    main: Path, host: Host, *, root: str = "", macros: Mapping[str, str] | None = None, memory: Memory | None = None
) -> Compilation:
    """Compiles a file with everything it includes and every table file it names. memory: of the compilation before, if there was one."""
    memory = memory or Memory()
    files = ConfigFiles(main, root, memory.files)
    diagnostics = Diagnostics()
    compiled: CompiledTree | None = None
    cut: Cut | None = None
    got = files.read(main)
    if isinstance(got, Unreadable):
        diagnostics.error(_nowhere(main), f"cannot read the configuration: {got.reason}")
    else:
        tree = parse(got, files, Macros(macros or {}), diagnostics)
        compiled = compile_tree(tree, host, files, diagnostics)
        cut = memory.cutter.cut(compiled.configuration) if compiled else None
        if cut is not None and (message := _too_large(cut)):
            diagnostics.error(tree.main, message, f"the bus carries {SNAPSHOT_LIMIT_BYTES} bytes at a time")
            compiled = cut = None
    memory.files.forget_unused()
    if compiled is None:
        return Compilation(None, None, diagnostics.in_order(), dict(files.stamps))
    configuration, withheld, srs_keys = compiled.configuration, compiled.withheld, compiled.srs_keys
    return Compilation(configuration, cut, diagnostics.in_order(), dict(files.stamps), withheld, srs_keys)


def _too_large(cut: Cut) -> str:
    """What the bus cannot carry, "" where it can carry everything."""
    if (size_bytes := len(wire.encode(cut.configuration))) > SNAPSHOT_LIMIT_BYTES:
        return f"the compiled configuration has {size_bytes} bytes, large tables aside"
    for name, table in cut.configuration.tables.items():
        if any(len(cut.parts[part]) > SNAPSHOT_LIMIT_BYTES for part in table.parts):
            return f"table {name} has an entry of more than {SNAPSHOT_LIMIT_BYTES} bytes"
    return ""


def _nowhere(main: Path) -> Span:
    """The start of a file of which there is no text."""
    return Span(SourceText(str(main), "", 0), 1, 1, 1)
