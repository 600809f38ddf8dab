"""What tables of 100,000 entries cost: compiling, publishing, taking them up, looking in them, and a change reaching every role.

`python -m bench.large_table [ENTRIES]` writes its section of RESULTS.md. The last figures are those of a running fleet: seconds from the
write of the table's file until every replica reports the new version, and the CPU time all of it took.
"""

import json
import os
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from bench import document, machine
from smtpfleet.config.language.compilation import Memory, compile_file
from smtpfleet.config.language.host_discovery import discover_host
from smtpfleet.contracts import wire
from smtpfleet.contracts.configuration import Configuration
from smtpfleet.contracts.table_parts import read_part
from smtpfleet.local.fleet import Fleet
from smtpfleet.mail.tables import Tables

ENTRIES = 100_000
LOOKUPS = 100_000
CHANGES = 3
DEADLINE_S = 60.0
SETTLE_S = 5.0
"""Between two changes: config looks once more at a file that was fresh when it was read (stamp.RACY_NS)."""
T = TypeVar("T")
TEXT = """\
table aliases file:@ETC@/large
table domains file:@ETC@/domains
table users file:@ETC@/users
listen on 127.0.0.1 port @SMTP_PORT@ hostname mx.example.test
accept from any for domain <domains> alias <aliases> userbase <users> deliver to maildir
"""


def write_tables(etc: Path, entries: int, last: str = "alice") -> None:
    """Aliases and domains, `entries` of each; `last` is where the last alias leads."""
    lines = [f"user{number} alice\n" for number in range(entries - 1)] + [f"user{entries - 1} {last}\n"]
    (etc / "large").write_text("".join(lines))
    (etc / "domains").write_text("".join(f"d{number}.example.test\n" for number in range(entries)))


def _timed_ms(work: Callable[[], T]) -> tuple[T, float]:
    started = time.perf_counter()
    result = work()
    return result, (time.perf_counter() - started) * 1000


def measure_alone(folder: Path, entries: int) -> list[str]:
    """In this process: compile twice, cut, join, look up."""
    write_tables(folder, entries)
    (folder / "users").write_text("alice 1:1:/home/alice\n")
    main = folder / "smtpd.conf"
    main.write_text(TEXT.replace("@ETC@", str(folder)).replace("@SMTP_PORT@", "2525"))
    host, memory = discover_host("mx.example.test", ""), Memory()
    compiled, compile_ms = _timed_ms(lambda: compile_file(main, host, memory=memory))
    write_tables(folder, entries, "bob")
    changed, again_ms = _timed_ms(lambda: compile_file(main, host, memory=memory))
    assert compiled.cut is not None and changed.cut is not None
    published, parts = changed.cut.configuration, changed.cut.parts
    new = parts.keys() - compiled.cut.parts.keys()
    entries_of, join_ms = _timed_ms(lambda: _join(published, parts, "aliases"))
    assert changed.configuration is not None and entries_of == changed.configuration.tables["aliases"].entries
    tables = Tables(changed.configuration)
    _, first_ms = _timed_ms(lambda: tables.match_domain("domains", "d1.example.test"))
    numbers = range(0, entries, max(1, entries // LOOKUPS))
    keys, names = [f"user{number}" for number in numbers], [f"d{number}.example.test" for number in numbers]
    _, alias_ms = _timed_ms(lambda: [tables.lookup_alias("aliases", key) for key in keys])
    _, domain_ms = _timed_ms(lambda: [tables.match_domain("domains", name) for name in names])
    sent_bytes = sum(len(parts[name]) for name in new)
    return [
        f"| compile and cut both tables, at the start | {compile_ms:,.0f} ms |",
        f"| the same when one of the files has changed | {again_ms:,.0f} ms |",
        f"| snapshot; both tables beside it, compressed | {len(wire.encode(published)) / 1e3:.1f} kB; "
        f"{sum(map(len, parts.values())) / 1e6:.2f} MB in {len(parts)} parts |",
        f"| written to the bus for the change | {len(new)} of them, {sent_bytes / 1e6:.2f} MB |",
        f"| join the changed table, in smtp-in and queue | {join_ms:,.0f} ms |",
        f"| first match of a domain after a change of that table | {first_ms:,.1f} ms |",
        f"| look up an alias | {alias_ms / len(keys) * 1000:.2f} µs, {len(keys) / alias_ms * 1000:,.0f} per second |",
        f"| match a domain | {domain_ms / len(names) * 1000:.2f} µs, {len(names) / domain_ms * 1000:,.0f} per second |",
    ]


def _join(configuration: Configuration, parts: dict[str, bytes], table: str) -> dict[str, str]:
    joined: dict[str, str] = {}
    for part in configuration.tables[table].parts:
        joined |= read_part(part, parts[part])
    return joined


def measure_fleet(root: Path, entries: int) -> list[str]:
    """A change of the table's file, from its write to the last replica."""
    etc = root / "etc"
    etc.mkdir(parents=True)
    write_tables(etc, entries)
    seconds = []
    with Fleet(root, config_text=TEXT) as fleet:
        time.sleep(SETTLE_S)
        cpu_s = sum(fleet.cpu_s().values())
        for change in range(CHANGES):
            before = _versions(fleet.admin_url)
            write_tables(etc, entries, f"alice, bob{change}")
            started = time.monotonic()
            while not (len(now := _versions(fleet.admin_url)) == 1 and now != before):
                if time.monotonic() - started > DEADLINE_S:
                    raise RuntimeError(f"after {DEADLINE_S:g} s replicas run {now}")
                time.sleep(0.02)
            seconds.append(time.monotonic() - started)
            time.sleep(SETTLE_S)
        cpu_s = (sum(fleet.cpu_s().values()) - cpu_s) / CHANGES
    return [
        f"| a change of a file until all seven roles run it, {CHANGES} times | {', '.join(f'{s:.1f} s' for s in seconds)} |",
        f"| CPU time of all processes for it, {SETTLE_S:g} s of idling included | {cpu_s:.2f} s |",
    ]


def _versions(admin_url: str) -> set[str]:
    with urllib.request.urlopen(f"{admin_url}/v1/fleet", timeout=10) as response:
        fleet = json.load(response)
    return {replica["configuration"] for role in fleet["roles"] for replica in role["replicas"]}


def main() -> None:
    """Writes the section."""
    entries = int(sys.argv[1]) if len(sys.argv) > 1 else ENTRIES
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        alone = measure_alone(Path(folder), entries)
    with tempfile.TemporaryDirectory() as folder:
        fleet = measure_fleet(Path(folder) / "fleet", entries)
    document.replace_part(
        "large tables",
        f"# Large tables\n\nWritten by `{document.command_line('bench.large_table', sys.argv[1:])}`: aliases and domains, {entries:,} entries "
        f"each, from files. Load of others when it began: {load:.1f}.\n\n{machine.describe([])}\n"
        + "\n".join(["| what | |", "| --- | --- |", *alone, *fleet]),
    )


if __name__ == "__main__":
    main()
