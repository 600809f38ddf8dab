"""The next hop of the deploy tests, as a container: takes all mail and prints one line per message with its mark.

Runs in a bare Python image: standard library only. Its log is what was relayed: `taken MARK RCPT`.
"""

import asyncio
import sys

PORT = 2526
REPLIES = {b"EHLO": b"250-sink\r\n250-PIPELINING\r\n250 SIZE\r\n", b"DATA": b"354 go on\r\n", b"QUIT": b"221 bye\r\n"}


async def on_session(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"220 sink ESMTP\r\n")
    rcpts: list[str] = []
    try:
        async for line in reader:
            verb = line[:4].upper()
            if verb == b"MAIL":
                rcpts = []
            if verb == b"RCPT":
                rcpts.append(line[8:].split(b">")[0].strip(b" <").decode())
            writer.write(REPLIES.get(verb, b"250 ok\r\n"))
            if verb == b"QUIT":
                break
            if verb == b"DATA":
                await writer.drain()
                content = await reader.readuntil(b"\r\n.\r\n")
                mark = content.partition(b"X-Mark: ")[2].partition(b"\r\n")[0].decode()
                sys.stdout.write("".join(f"taken {mark} {rcpt}\n" for rcpt in rcpts))
                sys.stdout.flush()
                writer.write(b"250 taken\r\n")
            await writer.drain()
    except (ConnectionError, asyncio.IncompleteReadError):
        return
    finally:
        writer.close()


async def serve() -> None:
    server = await asyncio.start_server(on_session, "0.0.0.0", PORT, limit=1 << 20)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve())
