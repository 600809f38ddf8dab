"""The PROXY header: what is complete is what one octet less is not; nothing behind it matters; addresses are addresses.

An octet in front: odd for listeners of version 1 alone.
"""

import ipaddress
from collections.abc import Sequence

from smtpfleet.smtp_in.arrival import _wanted
from smtpfleet.smtp_in.proxy import SIGNATURE, V1_LIMIT_BYTES, V2_LIMIT_BYTES, ProxyHeader, ProxyRefused, parse_proxy

WORDS: Sequence[bytes] = (
    SIGNATURE, SIGNATURE[:6], b"\x21\x11\x00\x0c", b"\x21\x21\x00\x24", b"\x20\x00\x00\x00", b"\x21\x31\x00\xd8", b"\x21\x11\x00\x0f",
    b"\xc0\x00\x02\x01" * 2, b"\x04\x00\x00", b"\x01\x00\x01x", b"\x00\x19\x9c\x40", b"PROXY ", b"PROXY TCP4 192.0.2.1 192.0.2.2 1 25\r\n",
    b"PROXY TCP6 2001:db8::1 ::1 65535 25\r\n", b"TCP4 ", b"TCP6 ", b"UNKNOWN", b"\r\n", b" ", b"0", b"65536", b"::ffff:192.0.2.1", b"%eth0",
    b"\x00", b"\x01",
)  # fmt: skip


def check(data: bytes) -> None:
    """A header, or none, and what follows it."""
    version = "v1" if data[:1] and data[0] & 1 else "v2"
    raw = data[1:]
    outcome = parse_proxy(raw, version)
    if outcome is None:
        assert len(raw) < (V2_LIMIT_BYTES if raw[:1] == b"\r" else V1_LIMIT_BYTES)
    for size in range(min(len(raw), V2_LIMIT_BYTES) + 1) if len(raw) < 300 else (1, 12, 15, 16, 100, len(raw) - 1):
        early = parse_proxy(raw[:size], version)
        if isinstance(early, ProxyHeader):
            assert early.size_bytes <= size and early == outcome
        elif isinstance(early, ProxyRefused):
            assert isinstance(outcome, ProxyRefused)
    assert _read(raw, version) == outcome
    if isinstance(outcome, ProxyHeader):
        _check_header(raw, outcome)


def _read(raw: bytes, version: str) -> ProxyHeader | ProxyRefused | None:
    """As arrival.read_header: so many octets at a time as surely belong to the header."""
    data = b""
    while (header := parse_proxy(data, version)) is None and len(data) < len(raw):
        wanted = _wanted(data)
        assert wanted > 0
        data = raw[: len(data) + wanted]
    if isinstance(header, ProxyHeader):
        assert len(data) == header.size_bytes, "an octet was read that is not the header's"
    return header


def _check_header(raw: bytes, header: ProxyHeader) -> None:
    assert header.size_bytes <= len(raw)
    assert bool(header.peer) is bool(header.local)
    for address in filter(None, (header.peer, header.local)):
        assert str(ipaddress.ip_address(address)) == address and "%" not in address
    if raw[:1] != b"\r":
        assert raw[: header.size_bytes].endswith(b"\r\n") and raw.count(b"\r\n", 0, header.size_bytes) == 1


def seeds() -> Sequence[bytes]:
    """A header of each kind."""
    four, six = b"\xc0\x00\x02\x01\xc0\x00\x02\x02\x9c\x40\x00\x19", b"\x20\x01\x0d\xb8" + b"\0" * 32
    headers = [
        b"PROXY TCP4 192.0.2.1 192.0.2.2 40000 25\r\nEHLO c\r\n",
        b"PROXY TCP6 2001:db8::1 2001:db8::2 40000 25\r\n",
        b"PROXY UNKNOWN\r\n",
        SIGNATURE + b"\x21\x11\x00\x0c" + four + b"EHLO",
        SIGNATURE + b"\x21\x21\x00\x24" + six,
        SIGNATURE + b"\x20\x00\x00\x00",
        SIGNATURE + b"\x21\x11\x00\x10" + four + b"\x04\x00\x01x",
        SIGNATURE + b"\x21\x31\x00\xd8" + b"/s\0" * 72,
    ]
    return [settings + header for header in headers for settings in (b"\0", b"\1")]
