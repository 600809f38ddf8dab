"""The dialogs that need a listener or limits of their own, against a running service: a fleet with a listener of each kind.

Limits are of the whole configuration, which changes while the fleet runs; tests that share them run one after the other. Each client comes
from an address of its own, so that the failures of one dialog slow nobody else down.
"""

import asyncio
import contextlib
import itertools
import os
import smtplib
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from smtpfleet.local.fleet import Fleet
from smtpfleet.local.ports import free_ports
from tests.path.ground import until
from tests.path.test_dialogs import DIALOGS, PLAYABLE
from tests.support.dialog import Dialog, Way, play_blindly_over_tcp, play_over_tcp
from tests.unit.smtp_in.test_dialogs import USER, hashed

pytestmark = [pytest.mark.path, pytest.mark.connected]

SIZE_BYTES = 1_000_000
"""max-message-size of the stage in process, where nothing else is said."""
TLS = "pki mx.example.test"
LISTENERS = {
    "": "",
    "over IPv6": "",
    "no-dsn": "no-dsn",
    "port=587": "",
    "mend-line-ends": "mend-line-ends",
    "tls-require": f"tls-require {TLS}",
    "auth-optional": f"tls {TLS} auth-optional <creds>",
    "smtps": f"smtps {TLS}",
    "smtps auth": f"smtps {TLS} auth <creds>",
    "smtps auth-optional": f"smtps {TLS} auth-optional <creds>",
    "smtps auth-optional, down": f"smtps {TLS} auth-optional <lost>",
}
"""Options of `listen` by what a dialog's settings ask for (kind_of)."""
CONFIG = """\
pki mx.example.test certificate "@ETC@/mx.pem"
pki mx.example.test key "@ETC@/mx.key"
table creds file:@ETC@/creds
table lost sqlite:@ETC@/lost.conf
table users file:@ETC@/users
table domains { "example.test", "mx.example.test" }
table aliases { "staff" = "alice, bob", "postmaster" = "alice", "later" = "error:451 Try later" }
limit session max-failures-per-address 0 max-auth-failures-per-address 0 max-auth-failures-per-user 0
@LISTENERS@
accept from any for domain <domains> alias <aliases> userbase <users> deliver to maildir
accept from local for any relay
"""
BUS_DOWN = "bus: down"


def kind_of(dialog: Dialog) -> str:
    """Which of LISTENERS a dialog is for."""
    listener = dialog.settings.get("listener", "")
    if ":" in dialog.settings.get("peer", ""):
        return "over IPv6"
    if dialog.settings.get("tls") == "yes" and listener != "tls-require":
        listener = f"smtps {listener}".rstrip()
    return listener + (", down" if dialog.settings.get("credentials") == "down" else "")


def limits_of(dialog: Dialog) -> str:
    """The lines of the configuration a dialog needs, or BUS_DOWN."""
    settings = dialog.settings
    if settings.get("bus") == "down":
        return BUS_DOWN
    size, rcpts, mails = (settings.get(key, value) for key, value in (("max-message-size", str(SIZE_BYTES)), ("max-rcpt", "1000"), ("max-mails", "100")))  # fmt: skip
    return f"max-message-size {size}\nlimit session max-rcpt {rcpts} max-mails {mails}\n"


NOT_HERE = {
    "bdat_commit_failed": "queue is told what to answer",
    "commit_failed": "queue is told what to answer",
    "msgid_taken": "queue is told what to answer",
    "store_full": "queue is told what to answer",
    "starttls_required": "a listener with mandatory TLS is not opened before it has a certificate",
}
OTHERS = [dialog for dialog in DIALOGS if dialog not in PLAYABLE and dialog.name not in NOT_HERE]


def as_offered_here(dialog: Dialog) -> Dialog:
    """STARTTLS is offered by a listener that has a certificate; the one in process has none."""
    if kind_of(dialog) == "auth-optional":
        for step in dialog.steps:
            at = [number for number, reply in enumerate(step.replies) if reply == "250 HELP"]
            for number in at:
                step.replies.insert(number, "250-STARTTLS")
    return dialog


CASES = [pytest.param(limits_of(dialog), as_offered_here(dialog), id=dialog.name) for dialog in OTHERS]


class Stand:
    """A context manager: the fleet, and the ways to its listeners."""

    def __init__(self, root: Path) -> None:
        self._limits = limits_of(Dialog("", {}, []))
        self._authority = trustme.CA()
        self._sources = itertools.count(1)
        etc = root / "etc"
        etc.mkdir(parents=True)
        issued = self._authority.issue_cert("mx.example.test")
        (etc / "mx.key").write_bytes(issued.private_key_pem.bytes())
        (etc / "mx.pem").write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        (etc / "creds").write_text(f"{USER} {hashed()}\n")
        (etc / "lost.conf").write_text(f"dbpath {etc}/nowhere/lost.sqlite\nquery_credentials SELECT 1 WHERE 1 = ?\n")
        ports = free_ports(len(LISTENERS))
        self._ends = {kind: ("127.0.0.1", port) for kind, port in zip(LISTENERS, ports, strict=True)}
        self._ends["over IPv6"] = ("::1", ports[0])
        # An address of our own: other fleets on this machine may have the port, too.
        self._ends["port=587"] = (f"127.87.{os.getpid() // 250 % 250}.{1 + os.getpid() % 250}", 587)
        self._missing = {kind for kind, end in self._ends.items() if not _may_bind(end)}
        settings = {"config": {"config_poll_s": 0.1, "server_name": "mx.example.test"}}
        replicas = {"scheduler": 0, "mta": 0, "admin": 0}
        self.fleet = Fleet(root, replicas=replicas, settings=settings, config_text=self._config(), exit_deadline_s=0.5)

    def _config(self) -> str:
        lines = [
            f"listen on {address} port {port} {LISTENERS[kind]} hostname mx.example.test\n"
            for kind, (address, port) in self._ends.items()
            if kind not in self._missing
        ]
        return CONFIG.replace("@LISTENERS@", "".join(lines) + self._limits)

    def way_for(self, dialog: Dialog) -> Way:
        kind = kind_of(dialog)
        if kind in self._missing:
            pytest.skip(f"nobody may listen on {self._ends[kind]} here")
        number = next(self._sources)
        source = f"127.3.{number // 250}.{1 + number % 250}" if kind != "over IPv6" else ""
        context = None
        if dialog.settings.get("tls") == "yes":
            context = ssl.create_default_context()
            self._authority.configure_trust(context)
            context.check_hostname = False  # the name is not what is tried here
        # Up to three failures of one address: 1, 2 and 4 s.
        return Way(*self._ends[kind], source, context, kind == "tls-require", within_s=20.0)

    @contextlib.contextmanager
    def under(self, limits: str) -> Iterator[None]:
        """With these limits, or without a bus."""
        if limits == BUS_DOWN:
            self.fleet.nats.stop()
            until(lambda: not self._may_send(), "MAIL refused")
            yield
            self.fleet.nats.start()
            until(self._may_send, "MAIL taken again")
            until(lambda: all(replica.is_ready for replica in self.fleet.replicas()), "every role back on the bus")
            return
        if limits != self._limits:
            self._limits = limits
            self.fleet.write_config(self._config())
        size, rcpts, mails = (word for word in limits.split() if word.isdecimal())
        # a limit of nothing at all cannot be announced (RFC 9422: at least 1)
        announced = [f"{name}={count}" for name, count in (("MAILMAX", mails), ("RCPTMAX", rcpts)) if count != "0"]
        offered = {f"SIZE {size}", " ".join(["LIMITS", *announced])}
        until(lambda: offered <= set(self._offered()), f"{offered} offered")
        yield

    def _offered(self) -> list[str]:
        with smtplib.SMTP(*self._ends[""], timeout=10) as client:
            return client.ehlo("client.test")[1].decode().split("\n")

    def _may_send(self) -> bool:
        with contextlib.suppress(smtplib.SMTPServerDisconnected), smtplib.SMTP(*self._ends[""], timeout=10) as client:
            client.ehlo("client.test")
            return client.mail("a@example.net")[0] == 250
        return False


def _may_bind(end: tuple[str, int]) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in end[0] else socket.AF_INET) as probe:
        try:
            probe.bind(end)
        except OSError:
            return False
    return True


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    stand = Stand(tmp_path_factory.mktemp("stand"))
    with stand.fleet:
        yield stand
        for replica in stand.fleet.replicas():
            assert replica.is_ready and replica.start_count == 1, replica.log_tail()
        assert "Traceback" not in stand.fleet.log_text()


@pytest.fixture(scope="module")
def limits(request: pytest.FixtureRequest, stand: Stand) -> Iterator[None]:
    with stand.under(request.param):
        yield


def test_what_is_not_played_says_why() -> None:
    assert NOT_HERE.keys() <= {dialog.name for dialog in DIALOGS}
    assert len(PLAYABLE) + len(OTHERS) == len(DIALOGS) - len(NOT_HERE)
    assert {kind_of(dialog) for dialog in OTHERS} | {""} == LISTENERS.keys()


@pytest.mark.parametrize(("limits", "dialog"), CASES, indirect=["limits"], scope="module")
async def test_dialog_against_the_service(stand: Stand, limits: None, dialog: Dialog) -> None:
    await asyncio.wait_for(play_over_tcp(dialog, stand.way_for(dialog)), 60)


@pytest.mark.parametrize(("limits", "dialog"), CASES, indirect=["limits"], scope="module")
async def test_dialog_in_one_write(stand: Stand, limits: None, dialog: Dialog) -> None:
    await play_blindly_over_tcp(dialog, stand.way_for(dialog), piece_bytes=max(1, len(dialog.sent)))


@pytest.mark.parametrize(("limits", "dialog"), CASES, indirect=["limits"], scope="module")
async def test_dialog_byte_by_byte(stand: Stand, limits: None, dialog: Dialog) -> None:
    await play_blindly_over_tcp(dialog, stand.way_for(dialog), piece_bytes=1)
