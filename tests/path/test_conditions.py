"""Conditions of rules through a whole fleet, where a session and `explain` could differ, or a session from what the file says: who is
local, a listener without a tag, the submission socket, tables that are asked of config."""

import json
import smtplib
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from smtpfleet.contracts.subjects import ROLES
from smtpfleet.local.fleet import Fleet
from smtpfleet.local.ports import free_ports
from tests.path.ground import LOCAL, STRANGER
from tests.path.table_ways import TableWays

pytestmark = [pytest.mark.path, pytest.mark.connected]

NAME = "mx.example.test"


class Ground:
    """A fleet without mta under these rules, with a listener that has the tag MSA and one that has none."""

    def __init__(self, root: Path, rules: list[str]) -> None:
        self.tagged_port = free_ports(1)[0]
        self.socket_path = root / "smtp.sock"
        listeners = [
            "listen on 127.0.0.1 port @SMTP_PORT@",
            f"listen on 127.0.0.1 port {self.tagged_port} tag MSA",
            "listen on socket tag here",
        ]
        self.fleet = Fleet(
            root,
            replicas=dict.fromkeys(ROLES, 0) | {"config": 1, "smtp-in": 1, "queue": 1, "mda": 1, "admin": 1},
            config_text="\n".join(["table users file:@ETC@/users", *listeners, *rules, ""]),
            settings={"config": {"server_name": NAME}, "smtp-in": {"submission_socket": self.socket_path}},
            exit_deadline_s=0.5,
        )

    def reply_to(self, rcpt: str, peer: str = STRANGER, *, tag: str = "") -> int:
        """To RCPT of a session; peer: an address, or `local` for the socket."""
        client = smtplib.SMTP(source_address=(peer, 0), timeout=20)
        if peer == "local":
            client.sock = socket.socket(socket.AF_UNIX)
            client.sock.connect(str(self.socket_path))
            client.getreply()
        else:
            client.connect("127.0.0.1", self.tagged_port if tag else self.fleet.smtp_port)
        with client:
            client.ehlo("client.test")
            client.mail("carol@abroad.test")
            return client.rcpt(rcpt)[0]

    def is_explained(self, rcpt: str, peer: str = STRANGER, *, tag: str = "") -> bool:
        """Whether `explain` says it would be accepted."""
        query = {"rcpt": rcpt, "sender": "carol@abroad.test", "helo": "client.test", "peer": peer, "tag": tag}
        request = urllib.request.Request(
            f"{self.fleet.admin_url}/v1/config/explain",
            json.dumps(query).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=20) as response:
            return bool(json.load(response)["accepted"])


@pytest.fixture(scope="module")
def classic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    rules = [
        f"accept {condition} for domain {domain} userbase <users> deliver to maildir"
        for condition, domain in (
            ('from source { "127.0.0.1" }', "here.test"),
            ('from ! source { "127.0.0.1" }', "elsewhere.test"),
            ("from local", "local.test"),
            ("from ! local", "foreign.test"),
            ("authenticated from any", "known.test"),
            ("tagged here", "submitted.test"),
        )
    ]
    ground = Ground(tmp_path_factory.mktemp("classic"), rules)
    with ground.fleet:
        yield ground


@pytest.mark.parametrize(
    ("peer", "domains"),
    [
        pytest.param(LOCAL, {"here", "local"}, id="one of our addresses"),
        pytest.param(STRANGER, {"elsewhere", "foreign"}, id="another address"),
        pytest.param("local", {"elsewhere", "local", "known", "submitted"}, id="the socket"),
    ],
)
def test_only_who_has_authenticated_has_no_address(classic: Ground, peer: str, domains: set[str]) -> None:
    names = ("here", "elsewhere", "local", "foreign", "known", "submitted")
    assert {name for name in names if classic.reply_to(f"alice@{name}.test", peer) == 250} == domains
    assert {name for name in names if classic.is_explained(f"alice@{name}.test", peer)} == domains


@pytest.fixture(scope="module")
def modern(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    root = tmp_path_factory.mktemp("modern")
    (root / "etc").mkdir()
    tables = TableWays(root / "etc")
    rules = ['action "in" maildir userbase <users>']
    for way in ("in-place", "static", "file", "sqlite", "proc-exec"):
        table = tables.use(way, "string", {"msa": "yes"}, is_list=True)
        for negation, domain in (("", "tagged"), ("! ", "other")):
            rules.append(f'match {negation}tag {table} from any for domain "{domain}-{way}.test" action "in"')
    rules += [
        'match from rdns for domain "named.test" action "in"',
        'match ! from rdns for domain "nameless.test" action "in"',
        'match ! from rdns "else.test" for domain "other-name.test" action "in"',
        'match tag here for domain "submitted.test" action "in"',
        f"match ! tag {tables.use('down', 'string', {'msa': 'yes'}, is_list=True)} from any for any reject",
    ]
    ground = Ground(root, [*tables.statements, *rules])
    with ground.fleet:
        yield ground


@pytest.mark.parametrize("way", ["in-place", "static", "file", "sqlite", "proc-exec"])
def test_a_listener_without_a_tag_has_none_of_the_table(modern: Ground, way: str) -> None:
    for tag in ("MSA", ""):
        for domain, is_taken in ((f"tagged-{way}.test", bool(tag)), (f"other-{way}.test", not tag)):
            # what no rule takes meets the last one, whose table is down
            assert modern.reply_to(f"alice@{domain}", tag=tag) == (250 if is_taken else 451), (domain, tag)
            assert modern.is_explained(f"alice@{domain}", tag=tag) == is_taken


def test_whoever_submits_on_the_socket_has_no_verified_name(modern: Ground) -> None:
    taken = {"nameless", "submitted"}
    for name in ("named", "nameless", "other-name", "submitted"):
        assert modern.reply_to(f"alice@{name}.test", "local") == (250 if name in taken else 451), name
        assert modern.is_explained(f"alice@{name}.test", "local") == (name in taken), name
