"""Real database servers for tests of tables: MariaDB, PostgreSQL, OpenLDAP, each on a free port in a folder of its own.

Started from the system's packages and stopped with the test; no service of the system is touched. Where a program is absent, starting
raises Absent with the reason, and the test is skipped with it. Used by test_table_servers.py.
"""

import glob
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from smtpfleet.local.ports import free_port

START_S = 60.0
"""A first start makes the database's files; on a busy machine with two cores that takes a while."""


class Absent(Exception):
    """The program is not installed here."""


def find_program(name: str, *folders: str) -> str:
    """The path of a program, which Debian often keeps outside of PATH."""
    found = shutil.which(name) or next(
        (path for folder in folders for path in sorted(glob.glob(f"{folder}/{name}"), reverse=True)), None
    )
    if found is None:
        raise Absent(f"{name} is not installed")
    return found


class ServerProcess:
    """One server."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, *command: str, user: str = "", data: str | None = None) -> None:
        """Runs a program to its end; fails with what it printed."""
        done = subprocess.run(
            [*self._as(user), *command], input=(data or "").encode(), capture_output=True, cwd=self.folder, check=False
        )
        assert done.returncode == 0, (command, done.stdout.decode(), done.stderr.decode())

    def launch(self, *command: str, user: str = "") -> None:
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen([*self._as(user), *command], stdout=log, stderr=log, cwd=self.folder)

    def await_start(self, is_up: Callable[[], bool]) -> None:
        """Until the server answers."""
        deadline = time.monotonic() + START_S
        while not is_up():
            assert self._process is not None and self._process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < deadline, (self.folder / "log").read_text()
            time.sleep(0.05)

    def listens(self) -> bool:
        """Whether something answers on the port."""
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self) -> None:
        """Ends it at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    @staticmethod
    def _as(user: str) -> list[str]:
        """Programs that refuse to be root run as the user their package made."""
        return ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"] if user and os.getuid() == 0 else []


class MariaDb(ServerProcess):
    """MariaDB with a database `mail` and a user smtpd; the SQL runs as root over the socket."""

    def start(self, sql: str) -> None:
        install, server = find_program("mariadb-install-db"), find_program("mariadbd", "/usr/sbin")
        self._client = find_program("mariadb")
        data = self.folder / "data"
        self.run(install, "--no-defaults", f"--datadir={data}", "--auth-root-authentication-method=normal",
                 "--skip-test-db", f"--user={_me()}")  # fmt: skip
        self._arguments = (
            server, "--no-defaults", f"--datadir={data}", f"--port={self.port}", "--bind-address=127.0.0.1",
            f"--socket={self.folder}/sock", f"--pid-file={self.folder}/pid", f"--user={_me()}", "--innodb-buffer-pool-size=8M",
        )  # fmt: skip
        self.again()
        self.query(f"CREATE DATABASE mail CHARACTER SET utf8mb4; USE mail; {sql}")
        self.query("CREATE USER smtpd@'%' IDENTIFIED BY 'db secret'; GRANT SELECT ON mail.* TO smtpd@'%'")

    def again(self) -> None:
        """Starts it, or starts it again."""
        self.launch(*self._arguments)
        self.await_start(lambda: self._ping() == 0)

    def query(self, sql: str) -> None:
        """Runs statements as root."""
        self.run(self._client, "--no-defaults", f"--socket={self.folder}/sock", "-uroot", data=sql)

    def _ping(self) -> int:
        command = [self._client, "--no-defaults", f"--socket={self.folder}/sock", "-uroot", "-e", "SELECT 1"]
        return subprocess.run(command, capture_output=True, check=False).returncode


class Postgres(ServerProcess):
    """PostgreSQL with a database `mail` and a user smtpd who gives a password."""

    def start(self, sql: str) -> None:
        folders = ("/usr/lib/postgresql/*/bin",)
        init, server = find_program("initdb", *folders), find_program("postgres", *folders)
        self._client = find_program("psql", *folders)
        self._user = "postgres" if os.getuid() == 0 else ""
        if self._user:
            shutil.chown(self.folder, self._user)
        (self.folder / "password").write_text("root secret")
        (self.folder / "password").chmod(0o644)
        self.run(init, "-D", f"{self.folder}/data", "-U", "root", "-A", "scram-sha-256", "-E", "UTF8", "--no-sync",
                 f"--pwfile={self.folder}/password", user=self._user)  # fmt: skip
        self._arguments = (
            server, "-D", f"{self.folder}/data", "-p", str(self.port), "-h", "127.0.0.1", "-k", "",
        )  # fmt: skip
        self.again()
        self.query("postgres", "CREATE DATABASE mail")
        self.query("mail", sql)
        grant = "CREATE USER smtpd PASSWORD 'db secret'; GRANT SELECT ON ALL TABLES IN SCHEMA public TO smtpd"
        self.query("mail", grant)

    def again(self) -> None:
        """Starts it, or starts it again."""
        self.launch(*self._arguments, user=self._user)
        self.await_start(lambda: self._ping() == 0)

    def stop(self) -> None:
        """Ends it and its children, which after SIGKILL would answer for a while."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait()
            self._process = None

    def query(self, database: str, sql: str) -> None:
        """Runs statements as the owner."""
        self.run(self._client, "-v", "ON_ERROR_STOP=1", "-q", "-f", "-", self._where(database), data=sql)

    def _ping(self) -> int:
        command = [self._client, "-c", "SELECT 1", self._where("postgres")]
        return subprocess.run(command, capture_output=True, check=False).returncode

    def _where(self, database: str) -> str:
        return f"host=127.0.0.1 port={self.port} user=root password='root secret' dbname={database}"


SLAPD = """\
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/nis.schema
include /etc/ldap/schema/inetorgperson.schema
pidfile {folder}/pid
modulepath /usr/lib/ldap
moduleload back_mdb
database mdb
suffix "dc=example,dc=test"
rootdn "cn=root,dc=example,dc=test"
rootpw "root secret"
directory {folder}/data
maxsize 16777216
access to * by dn.exact="cn=root,dc=example,dc=test" write by * none
"""


class Slapd(ServerProcess):
    """OpenLDAP with the suffix dc=example,dc=test, where only cn=root may read."""

    def start(self, ldif: str) -> None:
        server, add = find_program("slapd", "/usr/sbin"), find_program("slapadd", "/usr/sbin")
        (self.folder / "data").mkdir()
        (self.folder / "slapd.conf").write_text(SLAPD.format(folder=self.folder))
        self.run(add, "-f", f"{self.folder}/slapd.conf", data=ldif)
        self._arguments = (server, "-d", "0", "-f", f"{self.folder}/slapd.conf", "-h", f"ldap://127.0.0.1:{self.port}")
        self.again()

    def again(self) -> None:
        """Starts it, or starts it again."""
        self.launch(*self._arguments)
        self.await_start(self.listens)


def _me() -> str:
    return "root" if os.getuid() == 0 else str(os.getuid())
