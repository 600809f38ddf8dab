"""The key of a local address in a table of names (service addrname), however an operator has spelled it.

Owns the one spelling that everybody looks up, OpenSMTPD's: IPv4 plain, IPv6 as `ipv6:ADDR` (reference 9.1, ss_to_text in util.c). config
gives the entries it reads these keys, and asks backends for every spelling; smtp-in and mta look up the one.
"""

import ipaddress

_PREFIX = "ipv6:"


def addrname_key(text: str) -> str:
    """The key for an address written `ADDR`, `[ADDR]`, `IPv6:ADDR` or `[IPv6:ADDR]`; "" where it is no address.

    A scope is dropped, and an IPv4 address mapped into IPv6 counts as IPv4: that is what the peer connected to.
    """
    bare = text.strip().lower()
    if bare.startswith("[") and bare.endswith("]"):
        bare = bare[1:-1]
    try:
        address = ipaddress.ip_address(bare.removeprefix(_PREFIX).partition("%")[0])
    except ValueError:
        return ""
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    return str(address.ipv4_mapped) if address.ipv4_mapped is not None else f"{_PREFIX}{address}"


def addrname_spellings(key: str) -> tuple[str, ...]:
    """What a database may call the address of an addrname_key, the most usual first."""
    bare = key.removeprefix(_PREFIX)
    return (key, f"[{bare}]") if bare == key else (key, bare, f"[{bare}]")
