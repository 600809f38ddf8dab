"""Looks at the entries of a table for what it is used for, and warns of those that can never answer.

Warnings only: OpenSMTPD finds such entries when mail arrives, and answers with a temporary failure. Called by compile_table.py for
every use; an entry that is wrong for two uses is reported for each.
"""

import ipaddress
import re
from collections.abc import Callable

from smtpfleet.config.language.diagnostics import Diagnostics
from smtpfleet.config.language.scope import DeclaredTable

_USERINFO = re.compile(r"[0-9]+:[0-9]+:/.*")


def check_entries(diagnostics: Diagnostics, declared: DeclaredTable, service: str) -> None:
    """Warns at every entry that is no use to `service`."""
    check = _CHECKS.get(service)
    if check is None:
        return
    for key, value in declared.table.entries.items():
        if (fault := check(key, value)) and (span := declared.entry_spans.get(key)):
            diagnostics.warning(span, f'"{key}" is no use as {service}: {fault}')


def _netaddr_fault(key: str, value: str) -> str:
    if key == "local":
        return ""
    try:
        ipaddress.ip_network(key.removeprefix("ipv6:"), strict=False)
    except ValueError:
        return "it is no address and no network such as 192.0.2.0/24"
    return ""


def _source_fault(key: str, value: str) -> str:
    try:
        ipaddress.ip_address(key.removeprefix("ipv6:"))
    except ValueError:
        return "it is no address"
    return ""


def _userinfo_fault(key: str, value: str) -> str:
    return "" if _USERINFO.fullmatch(value) else "a user is uid:gid:home, as in 10001:10001:/var/mail/alice"


def _domain_fault(key: str, value: str) -> str:
    return "a domain has no @" if "@" in key else ""


_CHECKS: dict[str, Callable[[str, str], str]] = {
    "source": _netaddr_fault,
    "relay source": _source_fault,
    "userbase": _userinfo_fault,
    "domain": _domain_fault,
}
