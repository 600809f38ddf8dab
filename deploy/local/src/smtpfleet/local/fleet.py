"""The fleet: NATS, Redis and any number of replicas of the seven roles, on free ports, with everything they keep under `root`.

The one way in which `make up`, tests, bench and fault runs start the roles. No event loop, no threads: processes and signals. It
decides nothing about mail; the mail configuration is a file in root/etc that the caller may give and change (write_config).
"""

import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from smtpfleet.contracts.subjects import ROLES
from smtpfleet.local.mailconf import MailConf
from smtpfleet.local.ports import free_ports
from smtpfleet.local.replica import START_DEADLINE_S, Replica, environment
from smtpfleet.local.servers import REDIS_MAXMEMORY, NatsServer, RedisServer

STOP_ORDER = (("smtp-in",), ("mta", "mda"), ("scheduler",), ("queue",), ("config",), ("admin",))
"""New mail ends first, then the workers hand in what they have (both at once: neither waits for the other), then those who take it."""
STOP_DEADLINE_S = 25.0
"""runtime.settings drain_s is 20 by default; a role that needs longer is killed, and its leases run out."""
STORE_ROLES = ("queue", "scheduler")

Settings = Mapping[str, Mapping[str, object]]


class Fleet:
    """A context manager: `with Fleet(tmp_path, replicas={"mta": 3}) as fleet: …`.

    replicas: how many of a role, 1 where it is not named, 0 for none. settings: by role, or "all"; names as in the services'
    settings.py. config_text: an smtpd.conf; `@SMTP_PORT@`, `@ETC@`, `@MAIL@`, `@UID@` and `@GID@` are filled in. Ports of 0 are free
    ones. exit_deadline_s: how long the end of the `with` block lets a role drain; a test that does not care says 0.5. A fleet started
    again on the same root finds queue and mail as they were.
    """

    def __init__(
        self,
        root: Path,
        *,
        replicas: Mapping[str, int] | None = None,
        settings: Settings | None = None,
        config_text: str = "",
        smtp_port: int = 0,
        admin_port: int = 0,
        nats_port: int = 0,
        redis_port: int = 0,
        maxmemory: str = REDIS_MAXMEMORY,
        exit_deadline_s: float = STOP_DEADLINE_S,
    ) -> None:
        unknown = (set(replicas or {}) | set(settings or {})) - {*ROLES, "all"}
        if unknown:
            raise ValueError(f"not a role: {', '.join(sorted(unknown))}")
        self.root = root.resolve()
        self._exit_deadline_s = exit_deadline_s
        free = iter(free_ports(2))
        self.smtp_port = smtp_port or next(free)
        self.admin_port = admin_port or next(free)
        self.conf = MailConf(self.root, self.smtp_port, config_text)
        self.nats = NatsServer(self.root / "nats", nats_port)
        self.redis = RedisServer(self.root / "redis", redis_port, maxmemory=maxmemory)
        self._settings = {role: dict(values) for role, values in (settings or {}).items()}
        self._counts = {role: 1 for role in ROLES} | dict(replicas or {})
        self.roles: dict[str, list[Replica]] = {role: [] for role in ROLES}
        for role in ROLES:
            for _ in range(self._counts[role]):
                self.add(role)

    # life

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop(deadline_s=1.0)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # nobody waits for a drain after a failed test
        self.stop(deadline_s=self._exit_deadline_s if kind is None else 1.0)

    def start(self) -> None:
        """Start servers and roles; return when every replica is ready. Raises ChildDied."""
        self.spawn()
        self.await_ready()

    def spawn(self) -> None:
        """Start the servers, then all roles at once: they wait for what they need."""
        self.conf.write()
        for server in (self.redis, self.nats):
            server.environ = environment(self.root)
            server.start()
        for replica in self.replicas():
            replica.spawn()

    def await_ready(self, deadline_s: float = START_DEADLINE_S) -> None:
        ends_at = time.monotonic() + deadline_s
        for replica in self.replicas():
            replica.await_ready(max(ends_at - time.monotonic(), 0.1))

    def stop(self, deadline_s: float = STOP_DEADLINE_S, *, on_stop: Callable[[str], None] = lambda name: None) -> bool:
        """Drain role after role, then NATS and Redis. Whether everything ended by itself."""
        clean = True
        for roles in STOP_ORDER:
            running = [replica for role in roles for replica in self.roles[role] if replica.is_running]
            if running:
                on_stop(" and ".join(role for role in roles if self.roles[role]))
            for replica in running:
                replica.term()
                replica.thaw()
            ends_at = time.monotonic() + deadline_s
            for replica in running:
                clean &= replica.stop(max(ends_at - time.monotonic(), 0.1))
        for server in (self.nats, self.redis):
            on_stop(server.name)
            clean &= server.stop()
        return clean

    # parts

    def add(self, role: str) -> Replica:
        """One more replica of `role`, not started yet."""
        replica = Replica(role, len(self.roles[role]), self.root, free_ports(1)[0], self._settings_of(role))
        self.roles[role].append(replica)
        return replica

    def replicas(self) -> Iterator[Replica]:
        """All of all roles, in the order of ROLES."""
        return itertools.chain.from_iterable(self.roles.values())

    def replica(self, role: str, index: int = 0) -> Replica:
        return self.roles[role][index]

    def write_config(self, text: str) -> None:
        """Another smtpd.conf; config follows the file."""
        self.conf.write(text)

    @property
    def smtp_address(self) -> tuple[str, int]:
        return "127.0.0.1", self.smtp_port

    @property
    def admin_url(self) -> str:
        return f"http://127.0.0.1:{self.admin_port}"

    @property
    def mail(self) -> Path:
        """Under it the homes: mail/<user>/Maildir."""
        return self.root / "mail"

    # what happened

    def log_text(self, role: str = "") -> str:
        """What the role's replicas have logged, or all roles; lines in order of time."""
        chosen = self.roles[role] if role else list(self.replicas())
        # every line begins with its time; what does not (a traceback) stays where it stood in its own file
        lines = itertools.chain.from_iterable(replica.log_text.splitlines() for replica in chosen)
        return "\n".join(sorted(lines, key=lambda line: line[:24]) if len(chosen) > 1 else lines)

    def trace(self, key: str) -> list[str]:
        """Every line of every role about a msgid, evpid or session."""
        return [line for line in self.log_text().splitlines() if key in line]

    def cpu_s(self) -> dict[str, float]:
        """CPU time so far by role, and of nats and redis."""
        used = {role: sum(replica.cpu_s() for replica in replicas) for role, replicas in self.roles.items()}
        return used | {server.name: server.cpu_s() for server in (self.nats, self.redis)}

    def _settings_of(self, role: str) -> dict[str, object]:
        settings: dict[str, object] = {"nats_url": self.nats.url}
        if role in STORE_ROLES:
            settings["redis_url"] = self.redis.url
        if role == "config":
            settings["config_file"] = self.conf.path
        if role == "admin":
            settings["admin_listen"] = f"127.0.0.1:{self.admin_port}"
        return settings | self._settings.get("all", {}) | self._settings.get(role, {})
