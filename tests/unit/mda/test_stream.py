"""Large messages: line ends across chunk borders, and a message that does not come to its end."""

import asyncio
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from smtpfleet.contracts.outcome import OutcomeKind
from smtpfleet.mda.attempt import Attempt
from smtpfleet.mda.delivery import Delivery
from smtpfleet.mda.maildir import Maildirs
from smtpfleet.mda.stream import StreamedFile, deliver_stream
from tests.support.fake_leases import GivenWork
from tests.support.local_mail import CONTENT, delivery_of, expected_file, files_in, loaded_large, local_envelope


@pytest.fixture(autouse=True)
def no_descriptor_is_left_open() -> Iterator[None]:
    before = set(os.listdir("/proc/self/fd"))
    yield
    assert set(os.listdir("/proc/self/fd")) <= before


async def in_thread(work: Callable[..., Attempt | None], *arguments: object) -> Attempt | None:
    return await asyncio.to_thread(work, *arguments)


async def stream(delivery: Delivery, chunks: list[bytes]) -> Attempt:
    client = GivenWork()
    client.contents[delivery.msgid] = chunks
    file = StreamedFile(Maildirs(), delivery)
    return await deliver_stream(
        file, delivery.evpid, client.read_content(delivery.msgid, delivery.chunk_count), in_thread
    )


async def test_a_message_cut_anywhere_arrives_whole(tmp_path: Path) -> None:
    content = CONTENT * 40
    cuts = sorted(random.Random(5).sample(range(1, len(content)), 60))
    chunks = [content[a:b] for a, b in zip([0, *cuts], [*cuts, len(content)], strict=True)]
    envelope = local_envelope()
    attempt = await stream(delivery_of(loaded_large(envelope, chunks), tmp_path), chunks)
    assert attempt.kind is OutcomeKind.DELIVERED
    assert list(files_in(tmp_path / "Maildir/new").values()) == [expected_file(envelope, content)]


@pytest.mark.parametrize(
    ("sent", "detail"),
    [
        pytest.param([CONTENT], "content cannot be read", id="a chunk is gone"),
        pytest.param([CONTENT, b"short"], "its message record says", id="a chunk is short"),
        pytest.param([], "content cannot be read", id="nothing comes"),
    ],
)
async def test_a_message_that_ends_early_is_not_published(tmp_path: Path, sent: list[bytes], detail: str) -> None:
    attempt = await stream(delivery_of(loaded_large(local_envelope(), [CONTENT, CONTENT]), tmp_path), sent)
    assert attempt.kind is OutcomeKind.TEMPFAIL
    assert detail in attempt.detail
    assert files_in(tmp_path / "Maildir/new") == {}
    assert files_in(tmp_path / "Maildir/tmp") == {}


async def test_a_loop_is_found_in_the_first_chunk(tmp_path: Path) -> None:
    chunks = [b"Delivered-To: ALICE@example.test\r\n" + CONTENT, CONTENT]
    attempt = await stream(delivery_of(loaded_large(local_envelope(), chunks), tmp_path), chunks)
    assert attempt.kind is OutcomeKind.LOOP
    assert files_in(tmp_path / "Maildir/tmp") == {}


async def test_a_copy_the_client_has_moved_is_found(tmp_path: Path) -> None:
    chunks = [CONTENT, CONTENT]
    delivery = delivery_of(loaded_large(local_envelope(), chunks), tmp_path)
    await stream(delivery, chunks)
    box = tmp_path / "Maildir"
    (box / "new" / delivery.name).rename(box / "cur" / f"{delivery.name}:2,S")
    attempt = await stream(delivery, chunks)
    assert attempt.kind is OutcomeKind.DELIVERED
    assert files_in(box / "new") == {}


async def test_a_home_that_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file")
    attempt = await stream(delivery_of(loaded_large(local_envelope(), [CONTENT]), tmp_path / "home"), [CONTENT])
    assert attempt.kind is OutcomeKind.TEMPFAIL
