"""The PROXY header: both forms to the byte, hostile ones, and listeners that demand it."""

import asyncio
import ipaddress
import socket
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpfleet.contracts.configuration import Table
from smtpfleet.smtp_in.proxy import SIGNATURE, V2_LIMIT_BYTES, ProxyHeader, ProxyRefused, parse_proxy
from tests.support.secure_stage import NAME, SecureStage

PEER4, LOCAL4 = "192.0.2.9", "198.51.100.1"
PEER6, LOCAL6 = "2001:db8::9", "2001:db8::1"


def v2(command: int = 0x21, family: int = 0x11, body: bytes | None = None, length: int | None = None) -> bytes:
    if body is None:
        body = socket.inet_aton(PEER4) + socket.inet_aton(LOCAL4) + struct.pack("!HH", 40000, 25)
    return SIGNATURE + struct.pack("!BBH", command, family, len(body) if length is None else length) + body


BODY6 = ipaddress.ip_address(PEER6).packed + ipaddress.ip_address(LOCAL6).packed + struct.pack("!HH", 40000, 25)
TAKEN = {
    "v2 over IPv4": (v2(), PEER4, LOCAL4),
    "v2 over IPv6": (v2(family=0x21, body=BODY6), PEER6, LOCAL6),
    "v2 with additions": (v2(family=0x21, body=BODY6 + b"\x01\x00\x02h2\x04\x00\x00"), PEER6, LOCAL6),
    "v2 LOCAL": (v2(command=0x20, family=0, body=b""), "", ""),
    "v2 LOCAL with a body": (v2(command=0x20, family=0x11), "", ""),
    "v2 unix": (v2(family=0x31, body=bytes(216)), "", ""),
    "v1 TCP4": (f"PROXY TCP4 {PEER4} {LOCAL4} 40000 25\r\n".encode(), PEER4, LOCAL4),
    "v1 TCP6": (f"PROXY TCP6 {PEER6} {LOCAL6} 40000 25\r\n".encode(), PEER6, LOCAL6),
    "v1 UNKNOWN": (b"PROXY UNKNOWN\r\n", "", ""),
    "v1 UNKNOWN with more": (b"PROXY UNKNOWN ffff::1 ffff::1 1 1\r\n", "", ""),
}
REFUSED = {
    "no header": b"EHLO client.example\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(40),
    "another signature": SIGNATURE[:-1] + b"\r" + bytes(4),
    "version 3": v2(command=0x31),
    "unknown command": v2(command=0x22),
    "UNSPEC with PROXY": v2(family=0),
    "UDP": v2(family=0x12),
    "too short for IPv4": v2(body=bytes(11)),
    "too short for IPv6": v2(family=0x21, body=bytes(12)),
    "too long": v2(length=V2_LIMIT_BYTES),
    "half an addition": v2(family=0x21, body=BODY6 + b"\x01\x00"),
    "an addition that lies": v2(family=0x21, body=BODY6 + b"\x01\x00\x09h2"),
    "v1 without end": b"PROXY TCP4 " + b"1" * 107,
    "v1 two blanks": f"PROXY  TCP4 {PEER4} {LOCAL4} 40000 25\r\n".encode(),
    "v1 lower case": f"proxy tcp4 {PEER4} {LOCAL4} 40000 25\r\n".encode(),
    "v1 address of the other family": f"PROXY TCP6 {PEER4} {LOCAL4} 40000 25\r\n".encode(),
    "v1 name": f"PROXY TCP4 localhost {LOCAL4} 40000 25\r\n".encode(),
    "v1 leading zero": f"PROXY TCP4 192.0.2.09 {LOCAL4} 40000 25\r\n".encode(),
    "v1 port": f"PROXY TCP4 {PEER4} {LOCAL4} 65536 25\r\n".encode(),
    "v1 port with a zero": f"PROXY TCP4 {PEER4} {LOCAL4} 025 25\r\n".encode(),
    "v1 bare LF": f"PROXY TCP4 {PEER4} {LOCAL4} 40000 25\nEHLO x\r\n".encode(),
}


@pytest.mark.parametrize(("data", "peer", "local"), TAKEN.values(), ids=TAKEN)
def test_headers_are_read_to_the_byte(data: bytes, peer: str, local: str) -> None:
    assert parse_proxy(data + b"EHLO x\r\n", "v2") == ProxyHeader(len(data), peer, local)
    for cut in range(len(data)):
        assert parse_proxy(data[:cut], "v2") is None


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED)
def test_what_is_no_header_is_refused(data: bytes) -> None:
    assert isinstance(parse_proxy(data, "v2"), ProxyRefused)


def test_a_listener_of_the_text_form_takes_no_other() -> None:
    assert isinstance(parse_proxy(v2(), "v1"), ProxyRefused)
    assert isinstance(parse_proxy(TAKEN["v1 TCP4"][0], "v1"), ProxyHeader)


@given(
    data=st.one_of(
        st.binary(max_size=300),
        st.binary(max_size=300).map(lambda rest: SIGNATURE + rest),
        st.binary(max_size=120).map(lambda rest: b"PROXY " + rest),
        st.text("PROXYTC46 0123456789.:abf\r\n", max_size=130).map(str.encode),
    ),
    version=st.sampled_from(["v1", "v2"]),
)
def test_any_bytes_are_decided_and_addresses_are_canonical(data: bytes, version: str) -> None:
    found = parse_proxy(data, version)
    if isinstance(found, ProxyHeader):
        assert 0 < found.size_bytes <= len(data)
        assert bool(found.peer) == bool(found.local)
        for address in filter(None, (found.peer, found.local)):
            assert str(ipaddress.ip_address(address)) == address
    elif found is None:
        assert len(data) < V2_LIMIT_BYTES


@given(st.ip_addresses(v=4), st.ip_addresses(v=4))
def test_both_forms_tell_the_same(peer: ipaddress.IPv4Address, local: ipaddress.IPv4Address) -> None:
    text = parse_proxy(f"PROXY TCP4 {peer} {local} 1 2\r\n".encode(), "v2")
    binary = parse_proxy(v2(body=peer.packed + local.packed + b"\0\1\0\2"), "v2")
    assert isinstance(text, ProxyHeader) and isinstance(binary, ProxyHeader)
    assert (text.peer, text.local) == (binary.peer, binary.local) == (str(peer), str(local))


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[SecureStage]:
    stage = SecureStage(tmp_path)
    yield stage
    await stage.close()


@pytest.mark.parametrize("name", ["v2 over IPv4", "v1 TCP4"])
async def test_the_session_has_the_peer_of_the_header(stage: SecureStage, name: str) -> None:
    await stage.listen(proxy="v2")
    peer = await stage.connect()
    peer.writer.write(TAKEN[name][0])
    assert (await peer.reply()).startswith("220 ")
    assert f"[{PEER4}]" in await peer.say("EHLO client.example")
    assert (await peer.say("MAIL FROM:<a@example.net>")).startswith("250 ")
    assert (await peer.say("RCPT TO:<b@abroad.test>")).startswith("550 ")  # the balancer is local, its peer is not
    await peer.close()


async def test_tls_behind_the_header_in_the_same_packet(stage: SecureStage) -> None:
    await stage.listen(proxy="v2", tls="smtps")
    loop = asyncio.get_running_loop()
    with socket.create_connection(("127.0.0.1", stage.port)) as raw:

        def talk() -> bytes:
            import ssl

            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            tls = stage.client_context().wrap_bio(incoming, outgoing, server_hostname=NAME)
            first = TAKEN["v2 over IPv4"][0]
            while True:
                try:
                    tls.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    raw.sendall(first + outgoing.read())
                    first = b""
                    incoming.write(raw.recv(65536))
            raw.sendall(outgoing.read())
            while True:
                try:
                    return tls.read(1000)
                except ssl.SSLWantReadError:
                    incoming.write(raw.recv(65536))

        assert (await loop.run_in_executor(None, talk)).startswith(b"220 ")


@pytest.mark.parametrize(
    "data", [REFUSED["no header"], REFUSED["version 3"], b""], ids=["none", "malformed", "silence"]
)
async def test_without_a_header_there_is_no_session(stage: SecureStage, data: bytes) -> None:
    await stage.listen(proxy="v2")
    peer = await stage.connect()
    peer.writer.write(data)
    peer.writer.write_eof()
    assert await peer.reply() == ""
    await peer.close()
    assert not stage.server.connections
    assert 'smtp turned-back address=127.0.0.1 reason="proxy: ' in stage.log_text.getvalue()


async def test_names_by_local_address(stage: SecureStage) -> None:
    configuration = stage.configuration([stage.issue("mx")], proxy="v2", hostnames="names")
    names = Table("names", "mapping", "static", "", {LOCAL4: "four.example.test", f"ipv6:{LOCAL6}": "six.example.test"})
    await stage.apply(msgspec.structs.replace(configuration, tables={**configuration.tables, "names": names}))
    for header, name in (("v2 over IPv4", "four.example.test"), ("v1 TCP6", "six.example.test"), ("v1 UNKNOWN", NAME)):
        peer = await stage.connect()
        peer.writer.write(TAKEN[header][0])
        assert await peer.reply() == f"220 {name} ESMTP smtpfleet"
        assert (await peer.say("EHLO client.example")).startswith(f"250-{name} Hello ")
        await peer.close()
