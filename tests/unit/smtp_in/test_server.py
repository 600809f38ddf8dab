"""Connections in front of a queue: what waits, what is bounded, what a peer sees when things go wrong."""

import re

import msgspec
import pytest

from smtpfleet.contracts.commands import CHUNK_BYTES, AppendContent, CommitMessages, CommitVerdict
from smtpfleet.contracts.configuration import DEFAULT_LIMITS
from smtpfleet.runtime.bus import BusUnavailable
from smtpfleet.runtime.metrics import REGISTRY
from smtpfleet.smtp_in import server
from smtpfleet.smtp_in.connections import SWEEP_EVERY_S
from tests.support.smtp_stage import MemoryTransport, Stage, make_configuration

HELLO = b"EHLO client.example\r\n"
MAIL = b"MAIL FROM:<sender@example.net>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\n"
MESSAGE = MAIL + b"Subject: x\r\n\r\nbody\r\n.\r\n"
LARGE = b"".join(b"%06d " % number + b"x" * 91 + b"\r\n" for number in range(12_000))
"""1.2 MB, every line different."""


def codes(client: MemoryTransport) -> list[str]:
    """Codes of all final reply lines after the banner and EHLO."""
    return [line[:3] for line in client.written.decode().split("\r\n") if re.match(r"\d{3} ", line)][2:]


def greeted(stage: Stage) -> MemoryTransport:
    client = stage.connect()
    client.feed(HELLO)
    return client


def batch_sizes(stage: Stage) -> list[int]:
    return [len(request.messages) for request in stage.queue.requests if isinstance(request, CommitMessages)]


def large_stage() -> Stage:
    return Stage(make_configuration(max_message_size_bytes=10_000_000))


def shed_count(reason: str) -> float:
    return REGISTRY.get_sample_value("smtpfleet_smtp_shed_total", {"reason": reason}) or 0.0


async def test_a_pipelined_batch_is_answered_in_one_write(stage: Stage) -> None:
    client = greeted(stage)
    writes = client.writes
    client.feed(MAIL)
    assert codes(client) == ["250", "250", "354"]
    assert client.writes == writes + 1


async def test_messages_of_one_turn_travel_in_one_request(stage: Stage) -> None:
    clients = [greeted(stage) for _ in range(20)]
    for client in clients:
        client.feed(MESSAGE)
    await stage.settle()
    (request,) = stage.queue.requests
    assert isinstance(request, CommitMessages) and len(request.messages) == 20
    assert [codes(client)[-1] for client in clients] == ["250"] * 20
    assert len(stage.accepted) == 20
    assert [name for name, _ in stage.queue.published] == ["event.message.accepted"]


async def test_while_a_commit_waits_the_next_ones_gather(stage: Stage) -> None:
    stage.queue.may_answer.clear()
    clients = [greeted(stage) for _ in range(200)]
    clients[0].feed(MESSAGE)
    await stage.until(lambda: stage.queue.requests)
    for client in clients[1:]:
        client.feed(MESSAGE)
    await stage.until(lambda: sum(batch_sizes(stage)) == 200)
    stage.queue.may_answer.set()
    await stage.settle()
    assert batch_sizes(stage) == [1, 64, 64, 64, 7]
    assert len(stage.queue.messages) == 200


async def test_nothing_is_said_before_the_verdict_and_what_is_pipelined_waits(stage: Stage) -> None:
    stage.queue.may_answer.clear()
    client = greeted(stage)
    client.feed(MESSAGE + b"NOOP\r\nMAIL FROM:<>\r\n")
    await stage.until(lambda: stage.queue.requests)
    assert codes(client) == ["250", "250", "354"]
    client.feed(b"RCPT TO:<bob@example.test>\r\n")
    stage.queue.may_answer.set()
    await stage.settle()
    assert codes(client)[3:] == ["250", "250", "250", "250"]


async def test_what_is_pipelined_during_a_wait_is_bounded(stage: Stage) -> None:
    stage.queue.may_answer.clear()
    client = greeted(stage)
    client.feed(MESSAGE)
    for _ in range(200):
        client.feed(b"NOOP " + b"x" * 993 + b"\r\n")
    assert client.is_paused
    assert len(client.protocol._buffer) < server.BUFFER_LIMIT_BYTES + 2000
    stage.queue.may_answer.set()
    await stage.until(lambda: client.is_closed)  # a hundred NOOP are enough: they were all read in the end
    assert codes(client).count("421") == 1


async def test_a_large_message_goes_ahead_in_chunks_and_reading_waits_for_them() -> None:
    stage = large_stage()
    client = greeted(stage)
    client.feed(MAIL)
    most_held = 0
    for at in range(0, len(LARGE), 10_000):
        client.feed(LARGE[at : at + 10_000])
        tx = client.protocol.session.tx
        most_held = max(most_held, tx.reader.held_bytes + len(tx.chunk) + len(client.protocol._buffer))
        assert client.is_paused == (client.protocol.session.state.name == "AWAITING_QUEUE_APPEND")
        await stage.settle()
    client.feed(b".\r\n")
    await stage.settle()
    assert codes(client)[-1] == "250"
    assert not client.is_paused
    (message,), (content,) = stage.queue.messages, stage.queue.contents
    assert content.endswith(b"\r\n" + LARGE) and content.count(b"Received:") == 1
    assert message.content == b"" and message.chunk_count == 5
    chunks = [request for request in stage.queue.requests if isinstance(request, AppendContent)]
    assert [len(chunk.data) for chunk in chunks[:-1]] == [CHUNK_BYTES] * 4
    assert most_held < 600_000
    stage.close()


async def test_a_large_message_in_one_piece_is_chunked_too() -> None:
    stage = large_stage()
    client = greeted(stage)
    client.feed(MAIL + LARGE + b".\r\nQUIT\r\n")
    await stage.until(lambda: client.is_closed)
    assert codes(client) == ["250", "250", "354", "250", "221"]
    assert stage.queue.contents[0].endswith(LARGE)
    stage.close()


async def test_the_first_chunk_may_draw_another_msgid() -> None:
    stage = large_stage()
    stage.queue.answers.append(CommitVerdict.TAKEN)
    client = greeted(stage)
    client.feed(MAIL + LARGE + b".\r\n")
    await stage.settle()
    first, second, *_ = stage.queue.requests
    assert isinstance(first, AppendContent) and isinstance(second, AppendContent)
    assert first.msgid != second.msgid and first.token != second.token
    assert codes(client)[-1] == "250"
    assert f"id {second.msgid}\r\n".encode() in stage.queue.contents[0].replace(b"\r\n\tfor", b"\r\n\r\n\tfor")
    assert first.msgid.encode() not in stage.queue.contents[0]
    assert stage.queue.contents[0].endswith(LARGE)
    stage.close()


@pytest.mark.parametrize(("verdict", "code"), [(CommitVerdict.FULL, "452"), (CommitVerdict.FAILED, "451")])
async def test_a_refused_chunk_refuses_the_message_at_its_end(verdict: CommitVerdict, code: str) -> None:
    stage = large_stage()
    stage.queue.answers.extend([CommitVerdict.OK, verdict])
    client = greeted(stage)
    client.feed(MAIL + LARGE)
    await stage.settle()
    assert codes(client)[-1] == "354"
    client.feed(b".\r\nNOOP\r\n")
    await stage.settle()
    assert codes(client)[3:] == [code, "250"]
    await stage.until(lambda: stage.queue.dropped)
    assert stage.queue.messages == []
    stage.close()


async def test_chunks_of_a_peer_that_leaves_are_dropped() -> None:
    stage = large_stage()
    client = greeted(stage)
    client.feed(MAIL + LARGE)
    await stage.settle()
    client.feed_eof()
    await stage.until(lambda: stage.queue.dropped)
    assert not stage.server.connections
    stage.close()


async def test_a_peer_that_leaves_during_its_commit_loses_nothing(stage: Stage) -> None:
    stage.queue.may_answer.clear()
    client = greeted(stage)
    client.feed(MESSAGE)
    await stage.until(lambda: stage.queue.requests)
    client.abort()
    await stage.until(lambda: not stage.server.connections)
    stage.queue.may_answer.set()
    await stage.committer.settle()
    assert len(stage.queue.messages) == len(stage.accepted) == 1
    assert not stage.queue.dropped


async def test_a_half_closed_peer_gets_its_reply(stage: Stage) -> None:
    stage.queue.may_answer.clear()
    client = greeted(stage)
    client.feed(MESSAGE + b"QUIT\r\n")
    client.feed_eof()
    assert not client.is_closed
    stage.queue.may_answer.set()
    await stage.until(lambda: client.is_closed)
    assert codes(client)[3:] == ["250", "221"]


async def test_what_a_peer_has_pipelined_is_not_obeyed_once_its_connection_closes(stage: Stage) -> None:
    """Found by fuzzing: an answer came between the end of the peer's TLS and the loss of the connection."""
    client = greeted(stage)
    client.protocol.pause_writing()
    client.protocol.data_received(MESSAGE)  # what was on its way before reading was paused
    client.close()
    client.protocol.resume_writing()
    await stage.settle()
    await stage.until(lambda: not stage.server.connections)
    assert stage.queue.messages == [] and codes(client) == []


async def test_a_commit_without_answer_is_repeated_once_with_the_same_ids(stage: Stage) -> None:
    stage.queue.answers.append(BusUnavailable("queue.message.commit: no answer"))
    client = greeted(stage)
    client.feed(MESSAGE)
    await stage.settle()
    first, second = stage.queue.requests
    assert first == second
    assert codes(client)[-1] == "250"
    client.feed(b"MAIL FROM:<>\r\n")
    assert codes(client)[-1] == "250"


async def test_without_any_answer_it_is_451_and_mail_is_refused_for_a_while(stage: Stage) -> None:
    stage.queue.answers.extend([BusUnavailable("nobody"), BusUnavailable("nobody")])
    client = greeted(stage)
    client.feed(MESSAGE)
    await stage.settle()
    assert codes(client)[-1] == "451"
    shed = shed_count("queue")
    client.feed(b"MAIL FROM:<>\r\n")
    assert client.written.endswith(b"\r\n421 4.3.2 Not accepting messages now, try again later\r\n")
    assert client.is_closed and shed_count("queue") == shed + 1
    assert not stage.queue.messages


async def test_a_peer_that_does_not_read_is_not_served(stage: Stage) -> None:
    client = greeted(stage)
    client.protocol.pause_writing()
    client.feed(b"NOOP\r\n")
    assert client.is_paused and codes(client) == []
    client.protocol.resume_writing()
    await stage.until(lambda: codes(client) == ["250"])
    assert not client.is_paused


async def test_quiet_sessions_are_closed_without_a_reply(stage: Stage) -> None:
    quiet, talking, trickling, uploading = (greeted(stage) for _ in range(4))
    trickling.feed(MAIL)
    uploading.feed(MAIL)
    for tick in range(DEFAULT_LIMITS.session_timeout_s // SWEEP_EVERY_S + 1):
        talking.feed(b"NOOP\r\n")
        trickling.feed(b"x\r\n")
        uploading.feed(b"x" * 998 + b"\r\n")
        for connection in list(stage.server.connections):
            connection.tick()
        assert quiet.is_aborted == (tick == DEFAULT_LIMITS.session_timeout_s // SWEEP_EVERY_S)
    assert (trickling.is_aborted, talking.is_aborted, uploading.is_aborted) == (True, False, False)
    assert codes(quiet) == []


async def test_half_a_command_is_no_sign_of_life(stage: Stage) -> None:
    client = stage.connect()
    for _ in range(DEFAULT_LIMITS.session_timeout_s // SWEEP_EVERY_S + 1):
        client.feed(b"N")
        client.protocol.tick()
    assert client.is_aborted


async def test_beyond_max_sessions_peers_are_turned_away() -> None:
    stage = Stage(max_sessions=2)
    clients = [stage.connect() for _ in range(3)]
    assert [client.written[:3] for client in clients] == [b"220", b"220", b"421"]
    assert clients[2].is_closed
    clients[0].feed(b"QUIT\r\n")
    await stage.until(lambda: len(stage.server.connections) == 1)
    assert stage.connect().written.startswith(b"220")
    stage.close()


async def test_content_of_all_sessions_together_is_bounded() -> None:
    stage = Stage(make_configuration(max_message_size_bytes=10_000_000), content_memory_bytes=1_000_000)
    clients = [greeted(stage) for _ in range(20)]
    for client in clients:
        client.feed(MAIL)
    for at in range(0, 400_000, 10_000):
        for client in clients:
            client.feed(LARGE[at : at + 10_000])
        await stage.settle()
        assert stage.server.memory.held_bytes < 20 * 150_000
    clients.append(greeted(stage))
    clients[-1].feed(MAIL)
    assert codes(clients[-1]) == ["421"] and clients.pop().is_closed
    for client in clients:
        client.feed(b".\r\n")
    await stage.settle()
    assert [codes(client)[-1] for client in clients] == ["250"] * 20
    assert {content[-400_000:] for content in stage.queue.contents} == {LARGE[:400_000]}
    assert stage.server.memory.held_bytes == 0
    clients[-1].feed(MAIL)
    assert codes(clients[-1])[-3:] == ["250", "250", "354"]
    stage.close()


async def test_drain_dismisses_the_idle_and_waits_for_content(stage: Stage) -> None:
    idle, between, sending, waiting = (greeted(stage) for _ in range(4))
    between.feed(b"MAIL FROM:<>\r\n")
    sending.feed(MAIL + b"Subject: x\r\n")
    stage.queue.may_answer.clear()
    waiting.feed(MESSAGE)
    await stage.until(lambda: stage.queue.requests)
    draining = stage.background.spawn(stage.server.drain(), name="drain")
    await stage.until(lambda: idle.is_closed and between.is_closed)
    assert idle.written.endswith(b"421 4.3.2 Service shutting down\r\n")
    assert stage.connect().written.startswith(b"421")
    assert not sending.is_closed and not waiting.is_closed and not draining.done()
    stage.queue.may_answer.set()
    sending.feed(b".\r\n")
    await stage.until(draining.done)
    assert codes(sending)[3:] == codes(waiting)[3:] == ["250", "421"]
    assert len(stage.queue.messages) == 2


async def test_a_session_keeps_the_snapshot_it_began_with(stage: Stage) -> None:
    old = greeted(stage)
    newer = make_configuration(version="2-test", max_message_size_bytes=500)
    stage.apply(msgspec.structs.replace(newer, rules=()))
    new = greeted(stage)
    old.feed(MESSAGE)
    new.feed(MESSAGE.split(b"DATA")[0])
    await stage.settle()
    assert codes(old)[-1] == "250"
    assert codes(new)[-1] == "550"
    assert b"SIZE 500\r\n" in new.written


async def test_log_lines_and_events_tell_one_story(stage: Stage) -> None:
    client = greeted(stage)
    client.feed(
        b"MAIL FROM:<a=b@example.net>\r\nRCPT TO:<nobody@example.test>\r\nRCPT TO:<staff@example.test>\r\nDATA\r\n\r\nx\r\n.\r\nQUIT\r\n"
    )
    await stage.until(lambda: not stage.server.connections)
    stage.log.flush()
    lines = [line.split(" ", 2)[2] for line in stage.log_text.getvalue().splitlines()]
    (event,) = stage.accepted
    session, msgid = event.session, event.msgid
    size = stage.queue.messages[0].size_bytes
    assert lines == [
        f"{session} smtp connected address=192.0.2.9 host=<unknown>",
        f'{session} smtp failed-command command="RCPT TO:<nobody@example.test>" result="550 5.1.1 Invalid recipient" '
        'detail="no user nobody in table users"',
        f"{session} smtp message msgid={msgid} size={size} nrcpt=1 proto=ESMTP",
        f'{session} smtp envelope evpid={msgid}00000001 from="<a=b@example.net>" to=<staff@example.test>',
        f'{session} smtp envelope evpid={msgid}00000002 from="<a=b@example.net>" to=<staff@example.test>',
        f"{session} smtp disconnected reason=quit",
    ]
    assert event.size_bytes == size and event.rcpt_count == 1
    assert [envelope.evpid for envelope in stage.queue.messages[0].envelopes] == [f"{msgid}0000000{n}" for n in (1, 2)]
    assert {envelope.dispatcher.user for envelope in stage.queue.messages[0].envelopes} == {"alice", "bob"}  # type: ignore[union-attr]


async def test_a_refused_command_cannot_forge_a_log_line(stage: Stage) -> None:
    client = stage.connect()
    client.feed(b'BOGUS \x1b[2J" result="250\rfake line\r\n')
    stage.log.flush()
    assert stage.log_text.getvalue().count("\n") == 2
    assert "\x1b" not in stage.log_text.getvalue()
