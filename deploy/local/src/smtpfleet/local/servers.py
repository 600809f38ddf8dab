"""The embedded NATS and Redis: configuration, start, restart, and the faults that tests put them through.

Both listen on loopback only and keep everything in a folder of their own, so a restart finds what was there. Owns these two processes
and never touches others. Production runs the official images with deploy/etc instead. Called by fleet.py, up.py and tests/support.
"""

import socket
from pathlib import Path

from smtpfleet.local.binaries import find_nats_server, find_redis_server
from smtpfleet.local.child import Child, await_answer
from smtpfleet.local.ports import free_port
from smtpfleet.local.resp import RedisError, Reply, redis_command

NATS_MAX_PAYLOAD = "8MB"
"""What NATS advises at most; contracts.commands.BATCH_BYTES stays far below. deploy/etc/nats.conf says the same."""
REDIS_MAXMEMORY = "1gb"
"""Chosen for a laptop; deploy/compose.yaml has its own."""
REDIS_DATABASES = 16
"""Redis's default; a test run takes more, one per test."""
_START_DEADLINE_S = 60.0
"""Redis answers only after it has replayed its AOF; a gigabyte takes some ten seconds."""


class Server(Child):
    """A process with one port and one folder."""

    def __init__(self, name: str, argv: list[str], folder: Path, port: int) -> None:
        super().__init__(name, argv, folder / f"{name}.log")
        self.folder = folder
        self.port = port

    def complaint(self) -> str:
        """Why it does not answer yet, or ""."""
        raise NotImplementedError(self.name)

    def start(self) -> None:
        """Start, and return when it answers. Raises ChildDied where it does not."""
        self.spawn()
        await_answer(self, self.complaint, _START_DEADLINE_S)

    def restart(self) -> None:
        """SIGTERM, then start again on the same port and data."""
        self.stop()
        self.start()


class NatsServer(Server):
    """nats-server with JetStream, without users: on one machine everyone on loopback is the operator."""

    def __init__(self, folder: Path, port: int = 0) -> None:
        port = port or free_port()
        folder.mkdir(parents=True, exist_ok=True)
        config = folder / "nats.conf"
        config.write_text(
            f'listen: "127.0.0.1:{port}"\n'
            f"max_payload: {NATS_MAX_PAYLOAD}\n"
            f'jetstream {{ store_dir: "{folder}", max_memory_store: 64MB, max_file_store: 2GB }}\n'
        )
        super().__init__("nats", [str(find_nats_server()), "-c", str(config)], folder, port)

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def complaint(self) -> str:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1.0) as connection:
                greeting = connection.recv(4096)
        except OSError as error:
            return str(error)
        return "" if greeting.startswith(b"INFO ") else f"greeting {greeting[:20]!r}"


class RedisServer(Server):
    """redis-server as the queue needs it: every write flushed before its reply, nothing ever evicted, no snapshots besides the AOF."""

    def __init__(
        self, folder: Path, port: int = 0, *, maxmemory: str = REDIS_MAXMEMORY, databases: int = REDIS_DATABASES
    ) -> None:
        port = port or free_port()
        folder.mkdir(parents=True, exist_ok=True)
        config = folder / "redis.conf"
        config.write_text(
            # a process title is written over the environment, and with it over leftover.py's mark
            "set-proc-title no\n"
            f"bind 127.0.0.1\nport {port}\nprotected-mode yes\n"
            f'dir "{folder}"\nsave ""\n'
            "appendonly yes\nappendfsync always\naof-use-rdb-preamble yes\nno-appendfsync-on-rewrite no\n"
            f"maxmemory {maxmemory}\nmaxmemory-policy noeviction\n"
            f"databases {databases}\ntcp-backlog 511\ndaemonize no\n"
        )
        super().__init__("redis", [str(find_redis_server()), str(config)], folder, port)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def complaint(self) -> str:
        try:
            return "" if self.command("PING", timeout_s=1.0) == "PONG" else "no PONG"
        except (OSError, RedisError) as error:
            return str(error)

    def command(self, *words: str | int, timeout_s: float = 5.0) -> Reply:
        """One command on a connection of its own."""
        return redis_command(self.port, *words, timeout_s=timeout_s)

    def config_set(self, name: str, value: str | int) -> None:
        """Change a setting until the next start."""
        self.command("CONFIG", "SET", name, value)

    def make_read_only(self) -> None:
        """Every write is refused (READONLY), as after a failover; reads go on. The master it follows does not exist."""
        self.command("REPLICAOF", "127.0.0.1", 1)

    def make_writable(self) -> None:
        self.command("REPLICAOF", "NO", "ONE")

    def used_memory_bytes(self) -> int:
        """What maxmemory is compared with."""
        info = str(self.command("INFO", "memory"))
        return next(int(line.split(":")[1]) for line in info.splitlines() if line.startswith("used_memory:"))
