"""The header that a load balancer puts in front of a connection: PROXY protocol, version 2 and version 1.

Pure and strict: a header is complete, incomplete or refused, and nothing is guessed. Mandatory where a listener has it, so whoever
reaches such a port without a balancer gets no session. Called by arrival for the first bytes of a connection. OpenSMTPD: proxy.c
(reference 11.4), version 2 only; the format is HAProxy's proxy-protocol.txt.
"""

import ipaddress
import re
import struct
from dataclasses import dataclass

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
V2_HEAD_BYTES = 16
V2_LIMIT_BYTES = 4096
"""Addresses take at most 216 bytes; the rest is room for what balancers add (a client's certificate). Chosen."""
V1_LIMIT_BYTES = 107
"""The longest line there is, by the specification, §2.1."""

_LOCAL, _PROXY = 0x20, 0x21
_UNSPEC, _TCP4, _TCP6, _UNIX_STREAM = 0x00, 0x11, 0x21, 0x31
_ADDRESS_BYTES = {_UNSPEC: 0, _TCP4: 12, _TCP6: 36, _UNIX_STREAM: 216}
_V1_LINE = re.compile(
    rb"PROXY (TCP4|TCP6) ([0-9A-Fa-f:.]{2,39}) ([0-9A-Fa-f:.]{2,39}) (0|[1-9][0-9]{0,4}) (0|[1-9][0-9]{0,4})"
)


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """A complete header of `size_bytes`. peer, local: the addresses of the connection that the balancer took; "" where the header names
    none (a health check of the balancer itself, a socket of its own machine): then those of this connection hold."""

    size_bytes: int
    peer: str
    local: str


@dataclass(frozen=True, slots=True)
class ProxyRefused:
    """No header, or a malformed one; why is for the log."""

    reason: str


def parse_proxy(data: bytes, version: str) -> ProxyHeader | ProxyRefused | None:
    """The header at the start of `data`; None while it is incomplete. version: v2 takes both forms, v1 the line alone."""
    if version == "v2" and SIGNATURE.startswith(data[: len(SIGNATURE)]):
        return _parse_v2(data) if len(data) >= V2_HEAD_BYTES else None
    if b"PROXY ".startswith(data[:6]):
        return _parse_v1(data)
    return ProxyRefused("no proxy header")


def _parse_v1(data: bytes) -> ProxyHeader | ProxyRefused | None:
    end = data.find(b"\r\n", 0, V1_LIMIT_BYTES)
    if end < 0:
        return ProxyRefused("line too long") if len(data) >= V1_LIMIT_BYTES else None
    line, size_bytes = data[:end], end + 2
    if line == b"PROXY UNKNOWN" or line.startswith(b"PROXY UNKNOWN "):
        return ProxyHeader(size_bytes, "", "")
    found = _V1_LINE.fullmatch(line)
    if found is None:
        return ProxyRefused("malformed line")
    family, peer, local, *ports = (text.decode("ascii") for text in found.groups())
    kind = ipaddress.IPv4Address if family == "TCP4" else ipaddress.IPv6Address
    try:
        addresses = str(kind(peer)), str(kind(local))
    except ValueError:
        return ProxyRefused("malformed address")
    if any(int(port) > 65535 for port in ports):
        return ProxyRefused("malformed port")
    return ProxyHeader(size_bytes, *addresses)


def _parse_v2(data: bytes) -> ProxyHeader | ProxyRefused | None:
    command, family, length = struct.unpack_from("!BBH", data, len(SIGNATURE))
    size_bytes = V2_HEAD_BYTES + length
    if command not in (_LOCAL, _PROXY):
        return ProxyRefused("unknown version or command")
    if size_bytes > V2_LIMIT_BYTES:
        return ProxyRefused("header too long")
    if command == _PROXY and (family == _UNSPEC or family not in _ADDRESS_BYTES):
        return ProxyRefused("unknown family")
    if command == _PROXY and length < _ADDRESS_BYTES[family]:
        return ProxyRefused("too short for its family")
    if len(data) < size_bytes:
        return None
    if command == _LOCAL:
        return ProxyHeader(size_bytes, "", "")
    rest = data[V2_HEAD_BYTES:size_bytes]
    if not _are_whole_tlvs(rest[_ADDRESS_BYTES[family] :]):
        return ProxyRefused("malformed additions")
    # A peer on a socket of the balancer's machine has no address, and must not become `local` by saying so.
    if family == _UNIX_STREAM:
        return ProxyHeader(size_bytes, "", "")
    half = 4 if family == _TCP4 else 16
    kind = ipaddress.IPv4Address if family == _TCP4 else ipaddress.IPv6Address
    return ProxyHeader(size_bytes, str(kind(rest[:half])), str(kind(rest[half : 2 * half])))


def _are_whole_tlvs(data: bytes) -> bool:
    """Type, length, value, and nothing left over."""
    at = 0
    while at < len(data):
        if at + 3 > len(data):
            return False
        at += 3 + int.from_bytes(data[at + 1 : at + 3])
    return at == len(data)
