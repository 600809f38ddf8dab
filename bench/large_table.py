"""What a table of 100,000 entries costs: compiling, publishing, taking it up, looking in it, and a change reaching every role.

`python -m bench.large_table [ENTRIES]` writes its section of RESULTS.md. The last figures are those of a running fleet: seconds from the
write of the table's file until every replica reports the new version.
"""

import json
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from bench import document, machine
from smtpfleet.config.language.compilation import compile_file
from smtpfleet.config.language.host_discovery import discover_host
from smtpfleet.contracts import wire
from smtpfleet.contracts.configuration import Configuration
from smtpfleet.local.fleet import Fleet
from smtpfleet.mail.tables import Tables

ENTRIES = 100_000
LOOKUPS = 100_000
CHANGES = 3
DEADLINE_S = 60.0
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


def _timed_ms(work: object) -> tuple[object, float]:
    started = time.perf_counter()
    assert callable(work)
    result = work()
    return result, (time.perf_counter() - started) * 1000


def measure_alone(folder: Path, entries: int) -> list[str]:
    """In this process: compile, encode, decode, build, look up."""
    write_tables(folder, entries)
    (folder / "users").write_text("alice 1:1:/home/alice\n")
    main = folder / "smtpd.conf"
    main.write_text(TEXT.replace("@ETC@", str(folder)).replace("@SMTP_PORT@", "2525"))
    compiled, compile_ms = _timed_ms(lambda: compile_file(main, discover_host("mx.example.test", "")))
    configuration = compiled.configuration  # type: ignore[attr-defined]
    assert configuration is not None
    data, encode_ms = _timed_ms(lambda: wire.encode(configuration))
    assert isinstance(data, bytes)
    decoded, decode_ms = _timed_ms(lambda: wire.decode(data, Configuration))
    assert isinstance(decoded, Configuration)
    tables = Tables(decoded)
    _, first_ms = _timed_ms(lambda: tables.match_domain("domains", "d1.example.test"))
    step = max(1, entries // LOOKUPS)
    keys = [f"user{number}" for number in range(0, entries, step)]
    _, alias_ms = _timed_ms(lambda: [tables.lookup_alias("aliases", key) for key in keys])
    names = [f"d{number}.example.test" for number in range(0, entries, step)]
    _, domain_ms = _timed_ms(lambda: [tables.match_domain("domains", name) for name in names])
    return [
        f"| compile both tables | {compile_ms:,.0f} ms |",
        f"| encode, {len(data) / 1e6:.1f} MB | {encode_ms:,.0f} ms |",
        f"| decode, in every role | {decode_ms:,.0f} ms |",
        f"| first match of a domain after that | {first_ms:,.1f} ms |",
        f"| look up an alias | {alias_ms / len(keys) * 1000:.2f} µs |",
        f"| match a domain | {domain_ms / len(names) * 1000:.2f} µs |",
    ]


def measure_fleet(root: Path, entries: int) -> list[str]:
    """A change of the table's file, from its write to the last replica."""
    etc = root / "etc"
    etc.mkdir(parents=True)
    write_tables(etc, entries)
    seconds = []
    with Fleet(root, config_text=TEXT) as fleet:
        for change in range(CHANGES):
            before = _versions(fleet.admin_url)
            write_tables(etc, entries, f"alice, bob{change}")
            started = time.monotonic()
            while not (len(now := _versions(fleet.admin_url)) == 1 and now != before):
                if time.monotonic() - started > DEADLINE_S:
                    raise RuntimeError(f"after {DEADLINE_S:g} s replicas run {now}")
                time.sleep(0.02)
            seconds.append(time.monotonic() - started)
    return [
        f"| a change of a file until all seven roles run it, {CHANGES} times | {', '.join(f'{s:.1f} s' for s in seconds)} |"
    ]


def _versions(admin_url: str) -> set[str]:
    with urllib.request.urlopen(f"{admin_url}/v1/fleet", timeout=10) as response:
        fleet = json.load(response)
    return {replica["configuration"] for role in fleet["roles"] for replica in role["replicas"]}


def main() -> None:
    """Writes the section."""
    entries = int(sys.argv[1]) if len(sys.argv) > 1 else ENTRIES
    with tempfile.TemporaryDirectory() as folder:
        alone = measure_alone(Path(folder), entries)
    with tempfile.TemporaryDirectory() as folder:
        fleet = measure_fleet(Path(folder) / "fleet", entries)
    document.replace_part(
        "large tables",
        f"# Large tables\n\nWritten by `{document.command_line('bench.large_table', sys.argv[1:])}`: aliases and domains, {entries:,} entries "
        f"each, from files.\n\n{machine.describe([])}\n" + "\n".join(["| what | |", "| --- | --- |", *alone, *fleet]),
    )


if __name__ == "__main__":
    main()
