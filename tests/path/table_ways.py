"""One table in each of the ways smtpd.conf has for it: in place, in a statement, a file, SQLite, a helper; and one that is down."""

import sqlite3
import sys
from dataclasses import dataclass, field
from pathlib import Path

WAYS = ("in-place", "static", "file", "sqlite", "proc-exec", "down")
HELPER = """\
import sys

entries = dict(line.rstrip("\\n").split("\\t", 1) for line in open(sys.argv[1]))
while sys.stdin.readline().rstrip() != "config|ready":
    pass
print(f"register|{sys.argv[2]}\\nregister|ready", flush=True)
for line in sys.stdin:
    *_, operation, service, identifier, key = line.rstrip("\\n").split("|")
    found = f"found|{entries[key]}" if key in entries else "not-found"
    print(f"{operation}-result|{identifier}|{found if operation == 'lookup' else found.partition('|')[0]}", flush=True)
"""


@dataclass
class TableWays:
    """Writes the files of tables into `etc` and collects their statements."""

    etc: Path
    statements: list[str] = field(default_factory=list)

    def use(self, way: str, service: str, entries: dict[str, str], *, is_list: bool = False) -> str:
        """The table as a statement of smtpd.conf names it. is_list: keys alone."""
        pairs = ", ".join(f'"{key}"' if is_list else f'"{key}" = "{value}"' for key, value in entries.items())
        if way == "in-place":
            return f"{{ {pairs} }}"
        name = f"{service}-{way}"
        path = self.etc / name
        match way:
            case "static":
                value = f"{{ {pairs} }}"
            case "file":
                lines = (key if is_list else f"{key} {value}" for key, value in entries.items())
                path.write_text("\n".join([*lines, ""]))
                value = f'"{path}"'
            case "proc-exec":
                (self.etc / "helper.py").write_text(HELPER)
                path.write_text("".join(f"{key}\t{value}\n" for key, value in entries.items()))
                value = f'"proc-exec:{sys.executable} {self.etc}/helper.py {path} {service}"'
            case _:
                value = f"sqlite:{self._settings(path, service, entries if way == 'sqlite' else None)}"
        if (statement := f"table {name} {value}") not in self.statements:
            self.statements.append(statement)
        return f"<{name}>"

    def _settings(self, path: Path, service: str, entries: dict[str, str] | None) -> Path:
        """Of a table in SQLite; without entries there is no database."""
        database = path.with_suffix(".sqlite")
        if entries is not None and not database.exists():
            with sqlite3.connect(database) as connection:
                connection.execute("CREATE TABLE entries (name TEXT, value TEXT)")
                connection.executemany("INSERT INTO entries VALUES (?, ?)", entries.items())
            connection.close()
        columns = "name, value" if service == "credentials" else "value"
        settings = path.with_suffix(".conf")
        settings.write_text(f"dbpath {database}\nquery_{service} SELECT {columns} FROM entries WHERE name = ?\n")
        return settings
