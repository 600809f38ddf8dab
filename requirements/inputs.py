"""Writes requirements/<service>.in: the foreign dependencies of a service and of our libraries below it, from their pyproject.toml.

Run by `make lock` before uv turns each into <service>.txt with hashes; tests/unit/deploy compares what is committed with what this
would write. dev.in and build.in are written by hand: the tools, and what builds our distributions.
"""

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
SERVICES = ("config", "smtp-in", "queue", "scheduler", "mta", "mda", "admin")
"""contracts.subjects.ROLES; this file runs before anything of ours is installed."""

_NAME = re.compile(r"[A-Za-z0-9._-]+")


def folder_of(distribution: str) -> Path:
    """Where one of our distributions lives."""
    name = distribution.removeprefix("smtpfleet-")
    if name == "local":
        return ROOT / "deploy" / "local"
    return ROOT / ("services" if name in SERVICES else "libs") / name


def foreign_dependencies(distribution: str) -> set[str]:
    """Requirements of the distribution and of ours below it that are not ours."""
    project = tomllib.loads((folder_of(distribution) / "pyproject.toml").read_text())["project"]
    found: set[str] = set()
    for requirement in project.get("dependencies", []):
        name = _NAME.match(requirement)
        if name is not None and name.group().startswith("smtpfleet-"):
            found |= foreign_dependencies(name.group())
        else:
            found.add(requirement)
    return found


def input_text(name: str) -> str:
    """Content of requirements/<name>.in."""
    rows = sorted(foreign_dependencies(f"smtpfleet-{name}"), key=str.lower)
    return "# written by requirements/inputs.py from pyproject.toml\n" + "".join(f"{row}\n" for row in rows)


def main() -> None:
    for name in (*SERVICES, "local"):
        path = ROOT / "requirements" / f"{name}.in"
        path.write_text(input_text(name))
        sys.stdout.write(f"{path.relative_to(ROOT)}\n")


if __name__ == "__main__":
    main()
