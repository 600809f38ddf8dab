"""The tables that exist without being declared (reference 1.4).

They become ordinary tables of the snapshot, so that matching has no special cases. The short host name belongs to <localnames>:
OpenSMTPD promises it and adds it to <anydestination> by mistake. OpenSMTPD: config.c.
"""

from smtpfleet.config.language.host import Host
from smtpfleet.config.language.tablefile import LIST, MAPPING
from smtpfleet.contracts.configuration import ANY_DESTINATION, ANY_HOST, GETPWNAM, LOCAL_HOST, LOCAL_NAMES, Table


def predefined_tables(host: Host) -> dict[str, Table]:
    """By name."""
    short_name = host.server_name.partition(".")[0]
    contents = {
        ANY_HOST: ("local", "0.0.0.0/0", "::/0"),
        LOCAL_HOST: ("local", *host.local_addresses),
        LOCAL_NAMES: ("localhost", host.server_name, short_name),
        ANY_DESTINATION: ("*",),
    }
    tables = {
        name: Table(name, LIST, "static", "", {entry: "" for entry in entries if entry})
        for name, entries in contents.items()
    }
    tables[GETPWNAM] = Table(GETPWNAM, MAPPING, "getpwnam", "", {})
    return tables
