"""Load generator and sink against each other over real sockets: what one says was accepted is what the other has."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from bench.load import Load, LoadPlan, read_log, write_log
from bench.mark import read_sink_log
from bench.sink import ArrivalLog, SinkSession

PLAN = LoadPlan(host="127.0.0.1", port=0, rcpts=("a@relay.test", "b@relay.test"), run="0123abcd", sessions=3, count=50)


class Listening:
    """A sink in this loop."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.log = ArrivalLog(path)
        self.port = 0

    def marks(self) -> Counter[str]:
        self.log.flush()
        return Counter(arrival.mark.text if arrival.mark else "" for arrival in read_sink_log(self.path))


@pytest.fixture
async def sink(tmp_path: Path) -> AsyncIterator[Listening]:
    listening = Listening(tmp_path / "sink.log")
    server = await asyncio.get_running_loop().create_server(lambda: SinkSession(listening.log), "127.0.0.1", 0)
    listening.port = server.sockets[0].getsockname()[1]
    yield listening
    server.close()
    listening.log.close()


async def run(plan: LoadPlan) -> Load:
    load = Load(plan)
    async with asyncio.timeout(20):
        await load.run()
    return load


@pytest.mark.parametrize(
    "shape",
    [
        {},
        {"is_pipelining": True},
        {"messages_per_connection": 1},
        {"messages_per_connection": 7},
        {"size_bytes": 200_000},
        {"rate": 500.0},
    ],
    ids=["open connections", "pipelining", "a connection per message", "seven per connection", "large", "open loop"],
)
async def test_every_accepted_message_arrives_once(sink: Listening, shape: dict[str, object]) -> None:
    load = await run(replace(PLAN, port=sink.port, **shape))  # type: ignore[arg-type]
    assert load.fates == {"accepted": 50}
    assert load.unanswered() == 0
    assert sink.marks() == Counter(attempt.mark.text for attempt in load.attempts)


async def test_a_refused_recipient_is_refused_once_and_the_session_goes_on(sink: Listening) -> None:
    load = await run(
        replace(PLAN, port=sink.port, rcpts=("refused@relay.test", "a@relay.test"), retry_after_s=0.01, count=10)
    )
    assert load.fates == {"accepted": 5, "refused": 5}
    assert {attempt.stage for attempt in load.attempts if attempt.fate == "refused"} == {"RCPT"}
    assert sum(sink.marks().values()) == 5


async def test_a_connection_that_ends_after_the_dot_is_unknown_and_sent_again(tmp_path: Path) -> None:
    class Forgetful(SinkSession):
        """Takes the first message and hangs up instead of replying."""

        left = 1

        def _take_content(self, searched: int, replies: list[bytes]) -> bool:
            taken = super()._take_content(searched, replies)
            if taken and Forgetful.left:
                Forgetful.left -= 1
                replies.clear()
                assert self._transport is not None
                self._transport.abort()
            return taken

    listening = Listening(tmp_path / "sink.log")
    server = await asyncio.get_running_loop().create_server(lambda: Forgetful(listening.log), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    load = await run(replace(PLAN, port=port, sessions=1, count=3, retry_after_s=0.05))
    server.close()
    assert load.fates == {"accepted": 3, "unknown": 1}
    numbers = Counter(mark.split(".")[1] for mark in listening.marks().elements())
    listening.log.close()
    assert sorted(numbers.values()) == [1, 1, 2]


async def test_the_log_reads_back(sink: Listening, tmp_path: Path) -> None:
    load = await run(replace(PLAN, port=sink.port))
    write_log(tmp_path / "load.log", load.attempts)
    assert read_log(tmp_path / "load.log") == load.attempts


@pytest.mark.parametrize("pieces", [1, 3, 5000])
async def test_the_sink_finds_the_end_of_content_however_it_is_cut(sink: Listening, pieces: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", sink.port)
    said = b"EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nSubject: x\r\n\r\nbody\r\n..\r\n.\r\nMAIL FROM:<a@b>\r\n"
    said += b"RCPT TO:<c@d>\r\nRCPT TO:<e@d>\r\nDATA\r\n.\r\nQUIT\r\n"
    step = max(len(said) // pieces, 1)
    for at in range(0, len(said), step):
        writer.write(said[at : at + step])
        await asyncio.sleep(0)
        await writer.drain()
    replies = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    assert replies.endswith(b"221 2.0.0 Bye\r\n")
    assert replies.count(b"354") == 2
    assert sum(sink.marks().values()) == 3
