"""What clients do that mean harm: they dribble at every stage, send nothing but dots, or have a list of a thousand expanded a thousand times."""

import pytest
from msgspec import structs

from smtpfleet.contracts.configuration import DEFAULT_LIMITS, Configuration, Table
from smtpfleet.smtp_in.connections import SWEEP_EVERY_S
from smtpfleet.smtp_in.content import SKIP_AT_LEAST_BYTES
from smtpfleet.smtp_in.data import BLOCK_BYTES
from smtpfleet.smtp_in.pace import GRACE_S
from smtpfleet.smtp_in.rcpt import DESTINATIONS_LIMIT
from tests.support.smtp_stage import MemoryTransport, Stage, make_configuration

HELLO = b"EHLO client.example\r\n"
MAIL = HELLO + b"MAIL FROM:<sender@example.net>\r\n"
RCPT = MAIL + b"RCPT TO:<alice@example.test>\r\n"
PIECE_BYTES = 60_000
MIN_RATE = DEFAULT_LIMITS.min_content_bytes_per_s


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(b"", id="before EHLO"),
        pytest.param(b"EH", id="in EHLO"),
        pytest.param(MAIL, id="after MAIL"),
        pytest.param(RCPT, id="after RCPT"),
        pytest.param(RCPT + b"DATA\r\n", id="in the content"),
        pytest.param(RCPT + b"BDAT 100000\r\n", id="in a chunk"),
        pytest.param(HELLO + b"BDAT 100000\r\n", id="in a chunk nobody wants"),
        pytest.param(RCPT + b"BDAT 0\r\n", id="between chunks"),
    ],
)
async def test_a_byte_now_and_then_holds_no_session(stage: Stage, said: bytes) -> None:
    client = stage.connect()
    client.feed(said)
    ticks = DEFAULT_LIMITS.session_timeout_s // SWEEP_EVERY_S
    for _ in range(ticks):
        client.feed(b"x")
        client.protocol.tick()
    assert not client.is_aborted
    client.protocol.tick()
    assert client.is_aborted
    await stage.until(lambda: not stage.server.connections)
    assert stage.server.memory.held_bytes == 0


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(RCPT + b"DATA\r\n", id="content"),
        pytest.param(RCPT + b"BDAT 10000000\r\n", id="a chunk"),
        pytest.param(HELLO + b"BDAT 10000000\r\n", id="a chunk nobody wants"),
    ],
)
@pytest.mark.parametrize(
    ("rate", "is_cut"), [(MIN_RATE - 20, True), (MIN_RATE, False)], ids=["too slow", "slow enough to be slow"]
)
async def test_content_that_comes_too_slowly_ends_the_session(
    stage: Stage, said: bytes, rate: int, is_cut: bool
) -> None:
    client = stage.connect()
    client.feed(said)
    line = b"x" * (rate - 2) + b"\r\n"
    elapsed_s = 0
    while elapsed_s < 12_000 and not client.is_aborted:
        client.feed(line * SWEEP_EVERY_S)
        client.protocol.tick()
        await stage.settle()
        elapsed_s += SWEEP_EVERY_S
    # 20 bytes a second too few eat up what five minutes give in advance; while queue is waited for no time goes by.
    assert client.is_aborted is is_cut and (not is_cut or GRACE_S < elapsed_s < 8000)
    assert ("disconnected" in stage.log_text.getvalue() and "too-slow" in stage.log_text.getvalue()) is is_cut


async def test_chunk_by_chunk_it_is_still_one_message(stage: Stage) -> None:
    client = stage.connect()
    client.feed(RCPT)
    ticks = 0
    while not client.is_aborted:
        client.feed(b"BDAT 1024\r\n" + b"x" * 1022 + b"\r\n")
        client.protocol.tick()
        ticks += 1
        await stage.settle()
        assert ticks * SWEEP_EVERY_S <= 2 * GRACE_S
    assert ticks * SWEEP_EVERY_S > GRACE_S


async def test_each_message_has_its_own_time(stage: Stage) -> None:
    client = stage.connect()
    client.feed(HELLO)
    for _ in range(10):
        client.feed(RCPT[len(HELLO) :] + b"DATA\r\n")
        for _ in range(GRACE_S // SWEEP_EVERY_S - 1):
            client.feed(b"x" * 1022 + b"\r\n")
            client.protocol.tick()
        client.feed(b".\r\n")
        await stage.settle()
    assert not client.is_aborted and len(stage.queue.messages) == 10


async def test_the_configuration_may_allow_any_pace() -> None:
    configuration = make_configuration()
    limits = structs.replace(configuration.limits, min_content_bytes_per_s=0)
    stage = Stage(structs.replace(configuration, limits=limits))
    client = stage.connect()
    client.feed(RCPT + b"DATA\r\n")
    for _ in range(2000):
        client.feed(b"x" * 98 + b"\r\n")
        client.protocol.tick()
    assert not client.is_aborted
    stage.close()


async def test_content_without_an_end_is_not_read_for_ever(stage: Stage) -> None:
    client = stage.connect()
    client.feed(RCPT + b"DATA\r\n")
    piece = (b"x" * 998 + b"\r\n") * 4000
    for _ in range(SKIP_AT_LEAST_BYTES // len(piece)):
        client.feed(piece)
    assert not client.is_closed
    client.feed(piece)
    assert client.is_closed and client.written.endswith(b"554 5.3.4 Message too big\r\n")


async def feed_all(stage: Stage, client: MemoryTransport, content: bytes) -> int:
    """Feeds the content; returns the most that was held of it at any time."""
    most_bytes = 0
    for at in range(0, len(content), PIECE_BYTES):
        client.feed(content[at : at + PIECE_BYTES])
        most_bytes = max(most_bytes, stage.server.memory.held_bytes)
        await stage.settle()
    return most_bytes


async def test_nothing_but_stuffed_dots() -> None:
    stage = Stage(make_configuration(max_message_size_bytes=40_000_000))
    client = stage.connect()
    client.feed(RCPT + b"DATA\r\n")
    content = b"..\r\n" * 2_000_000
    assert await feed_all(stage, client, content) < 1_000_000
    client.feed(b".\r\n")
    await stage.settle()
    assert client.written.splitlines()[-1].startswith(b"250 2.0.0 ")
    (stored,) = stage.queue.contents
    assert stored.endswith(b"\r\n" + b".\r\n" * 2_000_000)
    stage.close()


@pytest.mark.parametrize(
    "line", [b"." * 35_000_000, b".\r" * 17_000_000], ids=["dots without a line end", "dots and bare CR"]
)
async def test_a_line_of_35_megabytes_is_not_held(stage: Stage, line: bytes) -> None:
    client = stage.connect()
    client.feed(RCPT + b"DATA\r\n")
    assert await feed_all(stage, client, line) < 2 * BLOCK_BYTES + PIECE_BYTES
    client.feed(b"\r\n.\r\nNOOP\r\n")
    refusal, noop = client.written.splitlines()[-2:]
    assert refusal.startswith(b"5") and noop == b"250 2.0.0 Ok"


def with_lists(list_count: int) -> Configuration:
    """list0, list1, …: each of a thousand users."""
    configuration = make_configuration()
    users = {f"user{number}": f"{number}:{number}:/home/{number}" for number in range(1000)}
    lists = {f"list{number}": ", ".join(users) for number in range(list_count)}
    tables = configuration.tables
    return structs.replace(
        configuration,
        tables=tables
        | {"users": Table("users", "mapping", "static", "", users), "aliases": Table("aliases", "mapping", "static", "", lists)},
    )  # fmt: skip


async def test_a_thousand_times_a_list_of_a_thousand() -> None:
    stage = Stage(with_lists(1))
    client = stage.connect()
    client.feed(MAIL + b"RCPT TO:<list0@example.test>\r\n" * 1000 + b"DATA\r\nSubject: x\r\n\r\n.\r\n")
    await stage.settle()
    assert client.written.count(b"250 2.1.5 ") == 1000
    (message,) = stage.queue.messages
    assert len(message.envelopes) == 1000
    stage.close()


async def test_many_lists_in_one_message_are_bounded() -> None:
    stage = Stage(with_lists(12))
    client = stage.connect()
    rcpts = b"".join(b"RCPT TO:<list%d@example.test>\r\n" % number for number in range(12))
    client.feed(MAIL + rcpts + b"DATA\r\nSubject: x\r\n\r\n.\r\n")
    await stage.settle()
    assert client.written.count(b"250 2.1.5 ") == DESTINATIONS_LIMIT // 1000
    assert client.written.count(b"452 4.5.3 Too many recipients") == 2
    (message,) = stage.queue.messages
    assert len(message.envelopes) == DESTINATIONS_LIMIT
    stage.close()


async def test_a_recipient_said_twice_is_one_envelope(stage: Stage) -> None:
    client = stage.connect()
    client.feed(RCPT + b"RCPT TO:<alice@example.test>\r\nRCPT TO:<bob@example.test>\r\nDATA\r\nSubject: x\r\n\r\n.\r\n")
    await stage.settle()
    (message,) = stage.queue.messages
    assert [envelope.dest for envelope in message.envelopes] == ["alice@example.test", "bob@example.test"]


@pytest.mark.parametrize(("setting", "command", "count"), [("max_failed_commands", b"XYZZY\r\n", 3), ("max_idle_commands", b"NOOP\r\n", 4), ("max_rejected_rcpts", b"RCPT TO:<nobody@example.test>\r\n", 3)])  # fmt: skip
@pytest.mark.parametrize("is_limited", [True, False])
async def test_the_configuration_says_how_much_is_too_much(
    setting: str, command: bytes, count: int, is_limited: bool
) -> None:
    configuration = make_configuration()
    limits = structs.replace(configuration.limits, **{setting: 3 if is_limited else 0})
    stage = Stage(structs.replace(configuration, limits=limits))
    client = stage.connect()
    client.feed(MAIL + command * 200)
    await stage.settle()
    assert client.is_closed is is_limited
    replies = client.written.splitlines()[12:]
    assert len([line for line in replies if not line.startswith(b"421")]) == (count if is_limited else 200)
    stage.close()


@pytest.mark.parametrize(
    ("begin", "command"),
    [
        pytest.param(HELLO + b"MAIL FROM:<bad address>\r\n", b"DATA\r\n", id="DATA after a refused MAIL"),
        pytest.param(HELLO + b"MAIL FROM:<bad address>\r\n", b"BDAT 1\r\nx", id="BDAT after a refused MAIL"),
        pytest.param(RCPT, b"RCPT TO:<alice@example.test>\r\n", id="more recipients than a message may have"),
    ],
)
async def test_refusals_that_are_spared_come_to_an_end(begin: bytes, command: bytes) -> None:
    stage = Stage(make_configuration(max_rcpt=20))
    client = stage.connect()
    client.feed(begin + command * 190)
    await stage.settle()
    assert not client.is_closed, "so many may have been sent before the first reply was read"
    client.feed(command * 50)
    await stage.settle()
    assert client.is_closed and client.written.endswith(b"421 4.7.0 Too many failed commands\r\n")
    stage.close()
