"""Fills a queue over SMTP with envelopes nobody can deliver yet: many recipients per message, spread over many relay domains.

For bench.deep_queue only. The mail takes the ordinary way in, expansion and commit included; only the number of recipients is unusual.
"""

import asyncio
import itertools
from collections.abc import Iterator

CONNECTIONS = 8
MESSAGES_PER_CONNECTION = 100
CONTENT = b"From: fill@bench.test\r\nSubject: fill\r\n\r\n" + b"x" * 500 + b"\r\n.\r\n"


class FillRefused(Exception):
    """The server did not take a message; the text is its reply."""


def rcpts_of(number: int, rcpts: int, domains: int) -> bytes:
    """The RCPT commands of message `number`: its recipients lie in as many domains as possible."""
    first = number * rcpts
    return b"".join(f"RCPT TO:<r{n}@d{n % domains}.bulk.test>\r\n".encode() for n in range(first, first + rcpts))


async def _expect(reader: asyncio.StreamReader, code: bytes, count: int = 1) -> None:
    for _ in range(count):
        line = await reader.readline()
        while line[3:4] == b"-":
            line = await reader.readline()
        if not line.startswith(code):
            raise FillRefused(line.decode("ascii", "replace").strip() or "end of file")


async def _send_some(address: tuple[str, int], numbers: list[int], rcpts: int, domains: int) -> None:
    reader, writer = await asyncio.open_connection(*address)
    try:
        await _expect(reader, b"220")
        writer.write(b"EHLO fill.bench.test\r\n")
        await _expect(reader, b"250")
        for number in numbers:
            writer.write(b"MAIL FROM:<fill@bench.test>\r\n" + rcpts_of(number, rcpts, domains) + b"DATA\r\n")
            await _expect(reader, b"250", rcpts + 1)
            await _expect(reader, b"354")
            writer.write(CONTENT)
            await _expect(reader, b"250")
        writer.write(b"QUIT\r\n")
        await _expect(reader, b"221")
    finally:
        writer.close()


async def _work(address: tuple[str, int], batches: Iterator[list[int]], rcpts: int, domains: int) -> None:
    for numbers in batches:
        await _send_some(address, numbers, rcpts, domains)


async def fill(address: tuple[str, int], envelopes: int, *, rcpts: int, domains: int) -> None:
    """Queue `envelopes` envelopes, `rcpts` per message. Raises FillRefused."""
    numbers = iter(range(envelopes // rcpts))
    batches = iter(lambda: list(itertools.islice(numbers, MESSAGES_PER_CONNECTION)), [])
    await asyncio.gather(*(_work(address, batches, rcpts, domains) for _ in range(CONNECTIONS)))
