"""Small configurations for the tests of libs/mail: tables, rules and a snapshot, each in one line. No behaviour of its own."""

from smtpfleet.contracts.configuration import (
    ANY_DESTINATION,
    ANY_HOST,
    DEFAULT_LIMITS,
    Action,
    Condition,
    Configuration,
    ExpandAction,
    LocalAction,
    Location,
    RejectAction,
    RelayAction,
    Rule,
    Table,
)
from smtpfleet.mail.ruleset import SessionFacts

HOSTNAME = "mx.example.test"
ANYONE = Condition("source", ANY_HOST, False)
ANYWHERE = Condition("destination", ANY_DESTINATION, False)
OURS = Condition("destination", "ours", False)
REJECT = RejectAction()


def list_table(name: str, *entries: str) -> Table:
    return Table(name, "list", "static", "", {entry.lower(): "" for entry in entries})


def mapping_table(name: str, entries: dict[str, str]) -> Table:
    return Table(name, "mapping", "static", "", {key.lower(): value for key, value in entries.items()})


def local_action(*, alias: str = "", virtual: str = "", userbase: str = "users") -> LocalAction:
    return LocalAction("maildir", "~/Maildir", alias, virtual, userbase)


def expand_action(*, alias: str = "", virtual: str = "", is_forward_only: bool = False) -> ExpandAction:
    return ExpandAction(alias, virtual, "users", is_forward_only)


def relay_action(*, host: str = "", port: int = 0, mail_from: str = "") -> RelayAction:
    return RelayAction(host, port, "opportunistic", False, "", "", "", "", "", mail_from)


def rule(action: Action, *conditions: Condition, expire_s: int = 345600) -> Rule:
    return Rule(Location("smtpd.conf", 1, 1), conditions, action, expire_s)


def configuration(*rules: Rule, tables: tuple[Table, ...] = ()) -> Configuration:
    return Configuration(
        version="1-test",
        hostname=HOSTNAME,
        listeners=(),
        tables={table.name: table for table in tables},
        rules=rules,
        limits=DEFAULT_LIMITS,
        max_message_size_bytes=36700160,
        expire_s=345600,
        bounce_warn_s=(14400,),
    )


def facts(
    *, tag: str = "", peer: str = "192.0.2.9", is_local: bool = False, sender: str = "s@peer.test"
) -> SessionFacts:
    return SessionFacts(tag, peer, is_local, sender, "client.test")
