"""The systems that are measured, behind one interface: smtpfleet, Postfix, OpenSMTPD.

Each takes mail for one local recipient into a Maildir and relays for another to the same sink. Owns starting and stopping them and
naming their processes; never measures. The peers are those of the peers-lab script: Debian's packages in chroots, loopback only.
"""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bench import cpu
from bench.processes import ROOT
from smtpfleet.local.fleet import Fleet

LOCAL_RCPT = "bench@local.test"
RELAY_RCPT = "bench@relay.test"
SINK_PORT = 2602
"""Where the peers relay to (peers-lab's default)."""
PEERS_LAB = "shared/tools/peers-lab"


@dataclass(frozen=True, slots=True)
class Case:
    """What is measured. rate 0: as fast as it goes; otherwise messages a second, open loop."""

    is_local: bool
    size_bytes: int
    is_per_message: bool
    rate: float = 0.0

    @property
    def title(self) -> str:
        kind = "local" if self.is_local else "relay"
        how = "a connection per message" if self.is_per_message else "open connections"
        pace = f", {self.rate:.0f}/s" if self.rate else ""
        return f"{kind}, {self.size_bytes // 1024} KiB, {how}{pace}"

    @property
    def rcpt(self) -> str:
        return LOCAL_RCPT if self.is_local else RELAY_RCPT


class System(Protocol):
    """A mail system on this machine."""

    name: str

    def start(self) -> None:
        """Running and ready when it returns."""

    def stop(self) -> None:
        """Nothing of it runs any more."""

    @property
    def address(self) -> tuple[str, int]:
        """Where it takes mail."""

    @property
    def maildir(self) -> Path:
        """`new` of the local recipient."""

    def cpu_s(self) -> dict[str, float]:
        """CPU seconds so far, by role."""

    def messages_per_connection(self) -> int:
        """How many messages it takes on one connection; 0: no limit."""

    def why_not(self, case: Case) -> str:
        """Why this case is not measured for this system, or ""."""

    def version(self) -> str:
        """For the report."""


class Peers:
    """The peers-lab script: both peers are up or down together, idle they use no CPU."""

    def __init__(self, script: Path) -> None:
        self._script = script
        self.maildirs: dict[str, Path] = {}
        self.ports: dict[str, int] = {}

    def up(self) -> None:
        """Start both, installing what is missing. Raises CalledProcessError."""
        done = subprocess.run(["bash", str(self._script), "up"], capture_output=True, text=True, check=True)
        for line in done.stdout.splitlines():
            name, address, new = line.split()
            self.ports[name] = int(address.rpartition(":")[2])
            self.maildirs[name] = Path(new)

    def down(self) -> None:
        subprocess.run(["bash", str(self._script), "down"], capture_output=True, check=True)
        subprocess.run(["bash", str(self._script), "clean"], capture_output=True, check=True)


def find_peers_lab() -> Path | None:
    """The script, from PEERS_LAB_SCRIPT or beside the repository; None where there is none or we may not run it."""
    given = os.environ.get("PEERS_LAB_SCRIPT")
    script = Path(given) if given else ROOT.parent / PEERS_LAB
    return script if script.exists() and os.geteuid() == 0 else None


class Peer:
    """What Postfix and OpenSMTPD have in common."""

    def __init__(self, name: str, peers: Peers, package: str) -> None:
        self.name = name
        self._key = name.lower()
        self._peers = peers
        self._package = package

    def start(self) -> None:
        """Nothing to do: peers-lab has started it."""

    def stop(self) -> None:
        """Nothing to do: peers-lab stops it."""

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self._peers.ports[self._key]

    @property
    def maildir(self) -> Path:
        return self._peers.maildirs[self._key]

    @property
    def root(self) -> Path:
        """Its chroot: the Maildir is its /home/bench/Maildir/new."""
        return self.maildir.parents[3]

    def messages_per_connection(self) -> int:
        return 0

    def version(self) -> str:
        done = subprocess.run(
            ["chroot", str(self.root), "dpkg-query", "-W", "-f", "${Version}", self._package],
            capture_output=True,
            text=True,
            check=True,
        )
        return f"{self.name} {done.stdout}"


class Postfix(Peer):
    """Postfix, one master and its children."""

    def __init__(self, peers: Peers) -> None:
        super().__init__("Postfix", peers, "postfix")

    def cpu_s(self) -> dict[str, float]:
        master = int((self.root / "var/spool/postfix/pid/master.pid").read_text())
        return cpu.cpu_of_trees_s({"all": [master]})

    def why_not(self, case: Case) -> str:
        return ""


class OpenSMTPD(Peer):
    """OpenSMTPD, one parent and its children."""

    def __init__(self, peers: Peers) -> None:
        super().__init__("OpenSMTPD", peers, "opensmtpd")

    def cpu_s(self) -> dict[str, float]:
        parent = int((self.root.parent / "opensmtpd.pid").read_text())
        return cpu.cpu_of_trees_s({"all": [parent]})

    def why_not(self, case: Case) -> str:
        if not case.is_local:
            return "it relays to one host at about 14/s by design (one connection, pauses)"
        if case.is_per_message:
            return "it listens with a backlog of 5, so 20 sessions that connect anew wait for TCP retransmissions"
        return ""


def conf_for(sink_port: int) -> str:
    """The smtpd.conf of a measured fleet: what the peers are set up for, and a great many relays for bench.deep_queue."""
    return f"""\
limit session max-mails 1000000
table users {{ "bench" = "@UID@:@GID@:@MAIL@/bench" }}
listen on 127.0.0.1 port @SMTP_PORT@ hostname mx.bench.test
accept from any for domain "local.test" userbase <users> deliver to maildir "~/Maildir"
accept from any for domain "relay.test" relay via "smtp://127.0.0.1:{sink_port}"
accept from any for domain "*.bulk.test" relay
"""


class Smtpfleet:
    """The fleet of this repository as real processes, with its own NATS and Redis (`appendfsync always`)."""

    name = "smtpfleet"

    def __init__(self, folder: Path, replicas: dict[str, int], maxmemory: str = "4gb") -> None:
        self._folder = folder
        self._replicas = replicas
        self._maxmemory = maxmemory
        self._starts = 0
        self._fleet: Fleet | None = None

    @property
    def fleet(self) -> Fleet:
        if self._fleet is None:
            raise RuntimeError("the fleet is not running")
        return self._fleet

    def start(self) -> None:
        self._starts += 1
        root = self._folder / f"fleet-{self._starts}"
        (root / "mail" / "bench").mkdir(parents=True)
        self._fleet = Fleet(root, replicas=self._replicas, config_text=conf_for(SINK_PORT), maxmemory=self._maxmemory)
        self._fleet.start()

    def stop(self) -> None:
        if self._fleet is not None:
            self._fleet.stop()  # its files stay until the run is over (bench.maildir.empty)
            self._fleet = None

    @property
    def address(self) -> tuple[str, int]:
        return self.fleet.smtp_address

    @property
    def maildir(self) -> Path:
        return self.fleet.mail / "bench" / "Maildir" / "new"

    def cpu_s(self) -> dict[str, float]:
        pids = {role: [replica.pid for replica in replicas] for role, replicas in self.fleet.roles.items()}
        return cpu.cpu_of_trees_s(pids | {server.name: [server.pid] for server in (self.fleet.nats, self.fleet.redis)})

    def messages_per_connection(self) -> int:
        return 0  # conf_for lifts the limit, as peers-lab does for the others

    def why_not(self, case: Case) -> str:
        return ""

    def version(self) -> str:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=True
        )
        return f"smtpfleet {done.stdout.strip()}"
