"""Finds the Host of this machine: name from mailname or the system, addresses from the kernel.

The only part of the language package that asks the system for anything but files. May wait for a resolver: call it off the event
loop. OpenSMTPD: getmailname (util.c), getifaddrs in config.c.
"""

import array
import fcntl
import ipaddress
import socket
import struct
import sys
from pathlib import Path

from smtpfleet.config.language.host import Host

MAILNAME = Path("/etc/mail/mailname")
LOOPBACK = ("127.0.0.1", "::1")
_IF_INET6 = Path("/proc/net/if_inet6")
_SIOCGIFCONF = 0x8912
"""linux/sockios.h: all IPv4 addresses, with the names of their interfaces."""
_IFREQ_BYTES = 40 if struct.calcsize("P") == 8 else 32
"""sizeof(struct ifreq): 16 of name and the union."""
_INTERFACES_MAX = 1024


def discover_host(server_name: str = "", local_addresses: str = "auto") -> Host:
    """This machine, with the operator's own server name and local addresses ("auto": all interfaces) where given."""
    interfaces = _interfaces()
    name, fault = (server_name, "") if server_name else _server_name()
    if local_addresses == "auto":
        addresses = sorted({address for _, address in interfaces} | set(LOOPBACK))
    else:
        addresses = sorted({*LOOPBACK, *local_addresses.replace(",", " ").split()})
    return Host(name.lower(), fault, tuple(addresses), interfaces, resolve_addresses)


def resolve_addresses(name: str) -> tuple[str, ...]:
    """IPv4 and IPv6 addresses of a host name, in a stable order; () where it does not resolve."""
    try:
        answers = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return ()
    return tuple(sorted({str(answer[4][0]) for answer in answers}, key=lambda text: (":" in text, text)))


def _server_name() -> tuple[str, str]:
    try:
        first = next(iter(MAILNAME.read_text().splitlines()), "").strip()
    except (OSError, UnicodeDecodeError):
        first = ""
    name = first or socket.gethostname()
    if "." in name:
        return name, ""
    try:
        answers = socket.getaddrinfo(name, None, flags=socket.AI_CANONNAME)
    except (OSError, UnicodeError) as error:
        return "", f'the host name "{name}" has no domain and does not resolve ({error})'
    return next((answer[3] for answer in answers if answer[3]), name), ""


def _interfaces() -> tuple[tuple[str, str], ...]:
    """(interface, address) of every address of this machine but IPv6 link-local ones, which are no use without their scope."""
    if not sys.platform.startswith("linux"):  # a developer's machine: the names are not known, the addresses mostly are
        return tuple(("", address) for address in resolve_addresses(socket.gethostname()))
    return tuple(sorted({*_ipv4_interfaces(), *_ipv6_interfaces()}))


def _ipv4_interfaces() -> list[tuple[str, str]]:
    buffer = array.array("B", bytes(_INTERFACES_MAX * _IFREQ_BYTES))
    address, length = buffer.buffer_info()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        answer = fcntl.ioctl(probe.fileno(), _SIOCGIFCONF, struct.pack("iP", length, address))
    used = struct.unpack("iP", answer)[0]
    found = []
    for start in range(0, used, _IFREQ_BYTES):
        request = buffer[start : start + _IFREQ_BYTES].tobytes()
        # An address added under a label has it instead of the interface: eth0:1.
        name = request[:16].split(b"\0", 1)[0].decode(errors="replace").partition(":")[0]
        found.append((name, socket.inet_ntoa(request[20:24])))
    return found


def _ipv6_interfaces() -> list[tuple[str, str]]:
    try:
        lines = _IF_INET6.read_text().splitlines()
    except OSError:  # no IPv6 here
        return []
    found = []
    for line in lines:
        digits, *_, name = line.split()
        address = ipaddress.IPv6Address(int(digits, 16))
        if not address.is_link_local:
            found.append((name, str(address)))
    return found
