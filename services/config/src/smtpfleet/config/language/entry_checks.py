"""Looks at the entries of a table for what it is used for, and warns of those that can never answer.

Warnings only: OpenSMTPD finds such entries when mail arrives, and answers with a temporary failure. Called by compile_table.py once for
each kind of use; an entry that is wrong for two kinds is reported for each.
"""

import ipaddress
import re
from collections.abc import Callable

from smtpfleet.config.language.diagnostics import Diagnostics
from smtpfleet.config.language.scope import DeclaredTable
from smtpfleet.mail.addrname import addrname_key
from smtpfleet.mail.patterns import bare_address

CREDENTIALS_MIN = 3
CREDENTIALS_MAX = 2047
"""Bytes of a credentials value (table_parse_lookup in OpenSMTPD's table.c; reference 9.1)."""
_HOST_NAME = re.compile(r"[A-Za-z0-9_.-]{1,255}|\[[0-9A-Za-z:.]+\]")
_USERINFO = re.compile(r"[0-9]+:[0-9]+:/.*")


def check_entries(diagnostics: Diagnostics, declared: DeclaredTable, service: str) -> None:
    """Warns at every entry that is no use to `service`."""
    check = _CHECKS.get(service)
    if check is None or service in declared.clean_for:
        return
    is_clean = True
    for key, value in declared.table.entries.items():
        if fault := check(key, value):
            is_clean = False
            if span := declared.entry_spans.get(key):
                diagnostics.warning(span, f'"{key}" is no use as {service}: {fault}')
    if is_clean:
        declared.clean_for.add(service)


def _netaddr_fault(key: str, value: str) -> str:
    if key == "local":
        return ""
    try:
        ipaddress.ip_network(bare_address(key), strict=False)
    except ValueError:
        return "it is no address and no network such as 192.0.2.0/24"
    return ""


def _source_fault(key: str, value: str) -> str:
    return "" if addrname_key(key) else "it is no address"


def _userinfo_fault(key: str, value: str) -> str:
    return "" if _USERINFO.fullmatch(value) else "a user is uid:gid:home, as in 10001:10001:/var/mail/alice"


def _addrname_fault(key: str, value: str) -> str:
    if _source_fault(key, value):
        return "it is no address"
    return "" if is_host_name(value) else "its value is no host name"


def _credentials_fault(key: str, value: str) -> str:
    """Never shows the value: it is a password."""
    if not CREDENTIALS_MIN <= len(value.encode()) <= CREDENTIALS_MAX:
        return f"a value has {CREDENTIALS_MIN} to {CREDENTIALS_MAX} bytes"
    return "a value neither begins nor ends with a colon" if value.startswith(":") or value.endswith(":") else ""


def is_host_name(text: str) -> bool:
    """Whether we may call ourselves this: a name or an address in brackets."""
    return _HOST_NAME.fullmatch(text) is not None


def _domain_fault(key: str, value: str) -> str:
    return "a domain has no @" if "@" in key else ""


_CHECKS: dict[str, Callable[[str, str], str]] = {
    "source": _netaddr_fault,
    "relay source": _source_fault,
    "userbase": _userinfo_fault,
    "domain": _domain_fault,
    "hostnames": _addrname_fault,
    "auth": _credentials_fault,
}
