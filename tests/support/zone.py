"""A DNS server on a free port, over UDP and TCP, that serves what a test writes down as text.

One record per line, as in a zone file (`example.test. 60 IN MX 10 mx.example.test.`); a line `NAME SERVFAIL`, `NAME REFUSED`, `NAME
TIMEOUT` or `NAME TRUNCATE` says how questions for NAME go wrong (TRUNCATE: over UDP only). A name that is not there is NXDOMAIN, a
type that is not there is NODATA, both with an SOA. Counts what it is asked.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

FAULTS = ("SERVFAIL", "REFUSED", "TIMEOUT", "TRUNCATE")
NEGATIVE_TTL_S = 30


class Zone:
    """The records and the count of questions by (name, type)."""

    def __init__(self, text: str) -> None:
        self.asked: Counter[tuple[str, str]] = Counter()
        self.over_tcp = 0
        self.port = 0
        self._faults: dict[dns.name.Name, str] = {}
        self._records: dict[tuple[dns.name.Name, dns.rdatatype.RdataType], dns.rrset.RRset] = {}
        self.load(text)

    def load(self, text: str) -> None:
        """Replaces what is served."""
        self._faults.clear()
        self._records.clear()
        for line in text.splitlines():
            words = line.split(";")[0].split()
            if not words:
                continue
            name = dns.name.from_text(words[0])
            if len(words) == 2 and words[1] in FAULTS:
                self._faults[name] = words[1]
                continue
            ttl, _, kind, *data = words[1:]
            rrset = dns.rrset.from_text(name, int(ttl), "IN", kind, " ".join(data))
            known = self._records.setdefault((name, rrset.rdtype), rrset)
            if known is not rrset:
                known.update(rrset)

    @property
    def nameserver(self) -> str:
        """`ADDRESS:PORT`, as the nameservers setting wants it."""
        return f"127.0.0.1:{self.port}"

    def answer(self, wire: bytes, *, is_tcp: bool) -> bytes | None:
        """The answer to a question; None where none is to be given."""
        query = dns.message.from_wire(wire)
        question = query.question[0]
        name = dns.name.from_text(question.name.to_text().lower())
        self.asked[(name.to_text(omit_final_dot=True), dns.rdatatype.to_text(question.rdtype))] += 1
        self.over_tcp += is_tcp
        response = dns.message.make_response(query)
        response.flags |= dns.flags.AA | dns.flags.RA
        fault = self._faults.get(name, "")
        if fault == "TIMEOUT":
            return None
        if fault in ("SERVFAIL", "REFUSED"):
            response.set_rcode(dns.rcode.from_text(fault))
        elif fault == "TRUNCATE" and not is_tcp:
            response.flags |= dns.flags.TC
        else:
            self._fill(response, name, question.rdtype)
        return response.to_wire()

    def _fill(self, response: dns.message.Message, name: dns.name.Name, kind: dns.rdatatype.RdataType) -> None:
        for _ in range(8):  # a chain of CNAMEs
            found = self._records.get((name, kind))
            if found is not None:
                response.answer.append(found)
                return
            alias = self._records.get((name, dns.rdatatype.CNAME))
            if alias is None:
                break
            response.answer.append(alias)
            name = alias[0].target
        if not any(known.is_subdomain(name) for known, _ in self._records):
            response.set_rcode(dns.rcode.NXDOMAIN)
        soa = f"ns.test. root.test. 1 3600 600 86400 {NEGATIVE_TTL_S}"
        response.authority.append(dns.rrset.from_text("test.", NEGATIVE_TTL_S, "IN", "SOA", soa))


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, zone: Zone) -> None:
        self._zone = zone

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if (answer := self._zone.answer(data, is_tcp=False)) is not None:
            self._transport.sendto(answer, addr)


@contextlib.asynccontextmanager
async def serve_zone(text: str) -> AsyncIterator[Zone]:
    """Serves `text` on 127.0.0.1 until the block ends."""
    zone = Zone(text)

    async def on_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                length = int.from_bytes(await reader.readexactly(2), "big")
                if (answer := zone.answer(await reader.readexactly(length), is_tcp=True)) is not None:
                    writer.write(len(answer).to_bytes(2, "big") + answer)
                    await writer.drain()
        writer.close()

    loop = asyncio.get_running_loop()
    for attempt in range(20):
        server = await asyncio.start_server(on_connection, "127.0.0.1", 0)
        zone.port = server.sockets[0].getsockname()[1]
        try:
            udp, _ = await loop.create_datagram_endpoint(lambda: _Udp(zone), ("127.0.0.1", zone.port))
            break
        except OSError:  # the port is free for TCP only: try another
            server.close()
            if attempt == 19:
                raise
    try:
        yield zone
    finally:
        udp.close()
        server.close()
