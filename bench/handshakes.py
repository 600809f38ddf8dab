"""TLS handshakes a second of one smtp-in: connect, STARTTLS, handshake, close, by several clients at once.

`python -m bench.handshakes [SECONDS]` writes its section of RESULTS.md. Clients are processes of their own; smtp-in's CPU time is read from
outside, so that what it could do with a core to itself can be told apart from what this machine left it.
"""

import multiprocessing
import socket
import ssl
import sys
import tempfile
import time
from pathlib import Path

import trustme

from bench import cpu, document, machine
from smtpfleet.local.fleet import Fleet
from smtpfleet.local.ports import free_ports

SECONDS = 8.0
CLIENTS = 2
TEXT = """\
pki mx certificate "@ETC@/mx.pem"
pki mx key "@ETC@/mx.key"
table users file:@ETC@/users
listen on 127.0.0.1 port @SMTP_PORT@ tls pki mx hostname mx.example.test
listen on 127.0.0.1 port @SMTPS_PORT@ smtps pki mx hostname mx.example.test
accept from any for domain "example.test" userbase <users> deliver to maildir
"""


def _client(port: int, version: ssl.TLSVersion, seconds: float, counts: "multiprocessing.Queue[int]") -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version
    ends_at, count = time.monotonic() + seconds, 0
    while time.monotonic() < ends_at:
        with socket.create_connection(("127.0.0.1", port)) as raw, context.wrap_socket(raw) as tls:
            if not tls.recv(512).startswith(b"220"):
                raise ConnectionError("no 220")
        count += 1
    counts.put(count)


def _measure(fleet: Fleet, port: int, version: ssl.TLSVersion, seconds: float) -> str:
    (replica,) = fleet.roles["smtp-in"]
    counts: multiprocessing.Queue[int] = multiprocessing.Queue()
    cpu_before = cpu.cpu_s([replica.pid])
    clients = [multiprocessing.Process(target=_client, args=(port, version, seconds, counts)) for _ in range(CLIENTS)]
    for client in clients:
        client.start()
    total = sum(counts.get() for _ in clients)
    for client in clients:
        client.join()
    cpu_s = cpu.cpu_s([replica.pid]) - cpu_before
    name = version.name.replace("TLSv1_", "TLS 1.")
    return f"| {name} | {total / seconds:,.0f} | {cpu_s / total * 1000:.2f} | {total / cpu_s:,.0f} |"


def main() -> None:
    """Writes the section."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else SECONDS
    (smtps_port,) = free_ports(1)
    with tempfile.TemporaryDirectory() as folder:
        etc = Path(folder) / "fleet" / "etc"
        etc.mkdir(parents=True)
        issued = trustme.CA().issue_cert("mx.example.test")
        (etc / "mx.key").write_bytes(issued.private_key_pem.bytes())
        (etc / "mx.pem").write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        text = TEXT.replace("@SMTPS_PORT@", str(smtps_port))
        with Fleet(Path(folder) / "fleet", replicas={"mta": 0, "admin": 0}, config_text=text) as fleet:
            rows = [_measure(fleet, smtps_port, v, seconds) for v in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)]
    document.replace_part(
        "handshakes",
        f"# TLS handshakes\n\nWritten by `{document.command_line('bench.handshakes', sys.argv[1:])}`: full handshakes of one smtp-in, smtps, "
        f"ECDSA P-256, on cores shared with {CLIENTS} clients.\n\n{machine.describe([])}\n"
        + "\n".join(["| | handshakes/s | CPU-ms each | per core-second |", "| --- | --- | --- | --- |", *rows]),
    )


if __name__ == "__main__":
    main()
