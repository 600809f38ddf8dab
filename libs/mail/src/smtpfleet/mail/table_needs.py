"""Which tables a role looks into, so that it fetches no other large one (runtime.large_tables).

Pure. What is left out is no loss: such a table is asked of config, like one of a database. That may happen where an envelope names a table
that no rule names any more. Each role passes its function to run_role.
"""

from collections.abc import Callable

from smtpfleet.contracts.configuration import Configuration, ExpandAction, LocalAction, RelayAction

TableNeeds = Callable[[Configuration], frozenset[str]]
"""Names of tables."""


def no_tables(configuration: Configuration) -> frozenset[str]:
    """scheduler, admin."""
    return frozenset()


def all_tables(configuration: Configuration) -> frozenset[str]:
    """Who expands recipients: smtp-in, queue for bounces, config for explain."""
    return frozenset(configuration.tables)


def userbases(configuration: Configuration) -> frozenset[str]:
    """mda: where users and their homes are."""
    actions = (rule.action for rule in configuration.rules)
    return frozenset(action.userbase for action in actions if isinstance(action, LocalAction | ExpandAction))


def relay_tables(configuration: Configuration) -> frozenset[str]:
    """mta: source addresses, names by source address, and relays that are used in turn."""
    actions = (rule.action for rule in configuration.rules)
    return frozenset(
        name
        for action in actions
        if isinstance(action, RelayAction)
        for name in (action.source, action.helo_source, action.hosts)
    )
