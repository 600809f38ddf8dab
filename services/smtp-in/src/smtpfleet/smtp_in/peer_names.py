"""What a peer's address is counted as: an IPv4 address or an IPv6 /64 (a home has one), and the network around it, /24 or /48.

Pure. Used by callers and failures; the names are those of contracts.callers.
"""

import ipaddress
from functools import lru_cache


@lru_cache(maxsize=4096)
def names_of(peer: str) -> tuple[str, str]:
    """The address's and the network's name; a peer without an IP address is its own network. IPv4 mapped into IPv6 is IPv4."""
    try:
        address = ipaddress.ip_address(peer.partition("%")[0])
    except ValueError:
        return peer, f"{peer}/"
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is None:
            number = int(address)
            return _ipv6(number >> 64 << 64, 64), _ipv6(number >> 80 << 80, 48)
        address = address.ipv4_mapped
    text = str(address)
    return text, f"{text.rpartition('.')[0]}.0/24"


def address_of(peer: str) -> str:
    """The address's name alone."""
    return names_of(peer)[0]


def _ipv6(number: int, bits: int) -> str:
    return f"{ipaddress.IPv6Address(number)}/{bits}"
