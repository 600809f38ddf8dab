"""Which tables may be asked for passwords, from the compiled configuration: a listener's or a relay's, and no other.

Pure. NATS decides which role may ask on which subject (contracts.subjects); this decides which tables the subject reaches, so that a
role that was taken over cannot read a table that its work does not need. Used by server.py.
"""

from collections.abc import Iterable

from smtpfleet.contracts.configuration import Configuration, RelayAction


def auth_tables(configuration: Configuration) -> frozenset[str]:
    """Tables that listeners check their clients' passwords with."""
    return frozenset(listener.auth_table for listener in configuration.listeners if listener.auth_table)


def credentials_tables(configuration: Configuration) -> frozenset[str]:
    """Tables with the passwords we log in to relays with."""
    auths = {rule.action.auth for rule in configuration.rules if isinstance(rule.action, RelayAction)}
    return frozenset(_table_of(auth, configuration.tables) for auth in auths if auth)


def _table_of(auth: str, names: Iterable[str]) -> str:
    """`table` or `table:label`; both may have colons, so the longest name of a table decides."""
    found = [name for name in names if auth == name or auth.startswith(f"{name}:")]
    return max(found, key=len, default=auth)
