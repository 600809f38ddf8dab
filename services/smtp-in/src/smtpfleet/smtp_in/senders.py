"""Who may send as whom: what the `senders` table of a listener says of an authenticated user, against the sender he gives at MAIL.

Pure; the table says user to addresses (service mailaddrmap, reference 9.1), an address being `user@domain`, `@domain` or what else a
list of addresses may hold in the configuration's form. The null sender is nobody's unless the table says so. Called by mail. OpenSMTPD:
lka.c lka_mailaddrmap.
"""

from smtpfleet.mail.tables import Tables


def may_send_as(tables: Tables, value: str | None, sender: str) -> bool:
    """Whether a user of whom the table says `value`, None for nothing, may give `sender` as reverse-path."""
    entries = [entry for each in (value or "").lower().split(",") if (entry := each.strip())]
    return tables.is_address_among(entries, sender)
