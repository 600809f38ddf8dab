"""Who may send as whom: the `senders` table of a listener, asked at MAIL for authenticated users.

Pure; the table says user to addresses (service mailaddrmap, reference 9.1), an address being `user@domain`, `@domain` or what else a
list of addresses may hold. The null sender is nobody's unless the table says so. Called by access. OpenSMTPD: lka.c lka_mailaddrmap.
"""

from smtpfleet.contracts.commands import TableService
from smtpfleet.mail.patterns import AddressPatterns
from smtpfleet.mail.tables import Tables


def may_send_as(tables: Tables, table: str, user: str, sender: str) -> bool:
    """Whether `user` may give `sender` as reverse-path. Raises TableError where the table cannot answer."""
    value = tables.lookup(table, TableService.MAILADDRMAP, user)
    if value is None:
        return False
    entries = [entry for each in value.lower().split(",") if (entry := each.strip())]
    return AddressPatterns(entries).matches(sender.lower())
