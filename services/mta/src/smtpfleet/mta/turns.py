"""Which relays of a list have their turn for a message when the one it was given fails: `relay host <table>`.

Owns the order: the relay the message was given at RCPT, then the others in the order of the table, as the table is now. One that has
left the table is no longer tried where others are in it. Never connects. Used by opening.py. OpenSMTPD asks the table anew at each
attempt (lka.c, IMSG_MTA_LOOKUP_SMARTHOST).
"""

from smtpfleet.contracts.commands import TableService
from smtpfleet.contracts.configuration import Configuration, RelayAction
from smtpfleet.contracts.envelope import RemoteDispatcher
from smtpfleet.mail.dispatch import may_be_of, relay_by_entry
from smtpfleet.mail.tables import TableError
from smtpfleet.runtime.table_client import TableClient

TURNS_MAX = 10
"""Relays tried for one session; chosen, as of our addresses (opening.SOURCES_MAX)."""


async def turns_of(d: RemoteDispatcher, configuration: Configuration, tables: TableClient) -> list[RemoteDispatcher]:
    """The relays to try, at least one."""
    actions = _actions_of(d, configuration) if d.hosts else []
    if not actions:
        return [d]
    entries = await _entries(d.hosts, configuration, tables)
    for action in actions:
        relays = _relays_of(action, entries)
        if d in relays:
            at = relays.index(d)
            return (relays[at:] + relays[:at])[:TURNS_MAX]
    return _relays_of(actions[0], entries)[:TURNS_MAX] or [d]


def _actions_of(d: RemoteDispatcher, configuration: Configuration) -> list[RelayAction]:
    """The actions in force that the message may have been accepted by; first the one that demands most of TLS."""
    actions = [rule.action for rule in configuration.rules if isinstance(rule.action, RelayAction)]
    found = [action for action in actions if may_be_of(action, d)]
    return sorted(found, key=lambda action: (action.tls != "opportunistic", action.verify, action.auth), reverse=True)


def _relays_of(action: RelayAction, entries: list[str]) -> list[RemoteDispatcher]:
    return [relay for entry in entries if isinstance(relay := relay_by_entry(action, entry), RemoteDispatcher)]


async def _entries(name: str, configuration: Configuration, tables: TableClient) -> list[str]:
    """All of the table that the snapshot has; of another as many as it gives until one comes again."""
    table = configuration.tables.get(name)
    if table is not None and table.is_inline:
        return list(table.entries)
    found: dict[str, None] = {}
    try:
        while len(found) < TURNS_MAX and (entry := await tables.fetch(name, TableService.RELAYHOST)) not in found:
            if entry is None:
                break
            found[entry] = None
    except TableError:
        return []  # the relay that the message was given is known all the same
    return list(found)
