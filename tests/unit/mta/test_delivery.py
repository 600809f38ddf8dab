"""Deliveries to a scripted peer over real sockets: what each envelope gets for what the peer says."""

import pytest

from smtpfleet.contracts.outcome import Outcome
from tests.support.peer import EXTENSIONS, Peer, Script, scripted_peer
from tests.unit.mta.building import CONTENT, Fleet, fleet, message, remote

WITHOUT_PIPELINING = tuple(word for word in EXTENSIONS if word != "PIPELINING")
both_ways = pytest.mark.parametrize("extensions", [EXTENSIONS, WITHOUT_PIPELINING], ids=["pipelined", "stepwise"])


def lines(outcomes: list[Outcome]) -> list[tuple[str, str]]:
    return [(outcome.kind.value, outcome.status.line) for outcome in outcomes]


async def deliver(script: Script, *dests: str, content: bytes = CONTENT) -> tuple[list[tuple[str, str]], Peer, Fleet]:
    """Message 1 to the dests; outcomes in their order."""
    async with scripted_peer(script) as peer, fleet(mx_port=peer.port) as sender:
        sender.work.add(message(1, remote(), *(dests or ("b@rcpt.test",)), content=content))
        outcomes = await sender.outcomes(len(dests) or 1)
    return lines(outcomes), peer, sender


# the good case


@both_ways
async def test_a_message_arrives_whole(extensions: tuple[str, ...]) -> None:
    outcomes, peer, _ = await deliver(Script(extensions=extensions), "b@rcpt.test", "c@rcpt.test")
    assert outcomes == [("delivered", "250 2.0.0 Ok: queued")] * 2
    (received,) = peer.messages
    assert (received.sender, received.rcpts) == ("a@sender.test", ["b@rcpt.test", "c@rcpt.test"])
    assert received.content == CONTENT
    assert received.helo == "our.name.test"
    assert received.mail_parameters == f"SIZE={len(CONTENT)}"
    assert peer.early_commands == []
    assert peer.quit_count == 1


async def test_log_and_remote_name() -> None:
    _, _, sender = await deliver(Script())
    assert (
        "mta delivery session=" in sender.log
        and 'from=<a@sender.test> to=<b@rcpt.test> rcpt=<b@rcpt.test> source="127.0.0.1" relay="127.0.0.1 ([127.0.0.1])"'
        in sender.log
    )
    assert 'result="Ok" stat="250 2.0.0 Ok: queued"' in sender.log
    for what in (
        "mta connecting address=smtp://127.0.0.1:",
        "mta connected",
        "mta disconnected reason=quit messages=1",
    ):
        assert what in sender.log
    assert next(iter(sender.work.outcomes.values())).remote == "[127.0.0.1]"


@pytest.mark.parametrize("content", [b"", b".\r\n", b"..\r\n.\r\n", b"no line end", b"x\r\n" * 200_000])
async def test_any_content_arrives_as_it_is(content: bytes) -> None:
    outcomes, peer, _ = await deliver(Script(), content=content)
    assert outcomes == [("delivered", "250 2.0.0 Ok: queued")]
    assert peer.messages[0].content == (content if content.endswith(b"\r\n") or not content else content + b"\r\n")


async def test_8bit_is_declared_where_the_peer_knows_it_and_sent_anyway() -> None:
    _, peer, _ = await deliver(Script(), content=b"\xe4\r\n")
    assert peer.messages[0].mail_parameters == "SIZE=3 BODY=8BITMIME"
    outcomes, peer, _ = await deliver(Script(extensions=("PIPELINING",)), content=b"\xe4\r\n")
    assert (outcomes[0][0], peer.messages[0].content, peer.messages[0].mail_parameters) == (
        "delivered",
        b"\xe4\r\n",
        "",
    )


async def test_the_null_sender() -> None:
    async with scripted_peer() as peer, fleet(mx_port=peer.port) as sender:
        sender.work.add(message(1, remote(), sender=""))
        await sender.outcomes(1)
    assert peer.messages[0].sender == ""


async def test_helo_where_ehlo_is_unknown() -> None:
    outcomes, peer, _ = await deliver(Script(replies={"ehlo": "502 5.5.1 What?"}))
    assert outcomes == [("delivered", "250 2.0.0 Ok: queued")]
    assert [line.split()[0] for line in peer.commands] == ["EHLO", "HELO", "MAIL", "RCPT", "DATA", "QUIT"]


# what peers refuse


@both_ways
async def test_each_rcpt_has_its_own_outcome(extensions: tuple[str, ...]) -> None:
    refusals = {"c@rcpt.test": "550 5.1.1 No such user", "d@rcpt.test": "452 4.5.3 Too many recipients"}
    outcomes, peer, _ = await deliver(
        Script(extensions=extensions, rcpts=refusals), "b@rcpt.test", "c@rcpt.test", "d@rcpt.test", "e@rcpt.test"
    )
    assert outcomes == [
        ("delivered", "250 2.0.0 Ok: queued"),
        ("permfail", "550 5.1.1 No such user"),
        ("tempfail", "452 4.5.3 Too many recipients"),
        ("delivered", "250 2.0.0 Ok: queued"),
    ]
    assert peer.messages[0].rcpts == ["b@rcpt.test", "e@rcpt.test"]
    assert peer.early_commands == []


@both_ways
@pytest.mark.parametrize(
    ("stage", "reply", "outcome"),
    [
        ("mail", "550 5.7.1 Go away", ("permfail", "550 5.7.1 Go away")),
        ("mail", "451 4.3.0 Later", ("tempfail", "451 4.3.0 Later")),
        ("mail", "421 4.3.2 Bye", ("tempfail", "421 4.3.2 Bye")),
        ("rcpt", "553 No", ("permfail", "553 No")),
        ("rcpt", "354 What", ("tempfail", "451 4.5.0 Unexpected reply: 354 What")),
        ("data", "554 5.5.0 No", ("permfail", "554 5.5.0 No")),
        ("data", "250 2.0.0 Odd", ("tempfail", "451 4.5.0 Unexpected reply: 250 2.0.0 Odd")),
        ("eom", "554 5.6.0 Spam", ("permfail", "554 5.6.0 Spam")),
        ("eom", "451 4.3.0 Later", ("tempfail", "451 4.3.0 Later")),
        ("eom", "354 More", ("tempfail", "451 4.5.0 Unexpected reply: 354 More")),
    ],
)
async def test_refusals(extensions: tuple[str, ...], stage: str, reply: str, outcome: tuple[str, str]) -> None:
    outcomes, peer, _ = await deliver(Script(extensions=extensions, replies={stage: reply}), "b@r.test", "c@r.test")
    assert outcomes == [outcome] * 2
    assert peer.messages == []


async def test_354_although_every_rcpt_was_refused_gets_a_lone_dot() -> None:
    script = Script(rcpts={"b@rcpt.test": "550 5.1.1 No"}, replies={"data": "354 Go on"})
    async with scripted_peer(script) as peer, fleet(mx_port=peer.port) as sender:
        sender.work.add(message(1, remote(), "b@rcpt.test"), message(2, remote(), "c@rcpt.test"))
        outcomes = await sender.outcomes(2)
    assert lines(outcomes) == [("permfail", "550 5.1.1 No"), ("delivered", "250 2.0.0 Ok: queued")]
    assert peer.connection_count == 1
    assert [received.content for received in peer.messages] == [CONTENT]


@both_ways
async def test_the_session_goes_on_after_a_refusal(extensions: tuple[str, ...]) -> None:
    script = Script(extensions=extensions, rcpts={"no@rcpt.test": "550 5.1.1 No"})
    async with scripted_peer(script) as peer, fleet(mx_port=peer.port) as sender:
        sender.work.add(*(message(n, remote(), "no@rcpt.test" if n % 2 else "b@rcpt.test") for n in range(1, 7)))
        outcomes = await sender.outcomes(6)
    assert [kind for kind, _ in lines(outcomes)] == ["permfail", "delivered"] * 3
    assert peer.connection_count == 1
    assert peer.commands.count("RSET") == 3


async def test_greylisting_defers_and_the_next_attempt_succeeds() -> None:
    async with scripted_peer(Script(is_greylisting=True)) as peer, fleet(mx_port=peer.port) as sender:
        sender.work.add(message(1, remote()))
        assert lines(await sender.outcomes(1)) == [("tempfail", "451 4.7.1 Greylisted, come back later")]
        sender.work.outcomes.clear()
        sender.work.add(message(1, remote()))
        assert lines(await sender.outcomes(1)) == [("delivered", "250 2.0.0 Ok: queued")]


# sizes, hops, addresses: nothing is sent


async def test_a_message_larger_than_the_peer_takes_is_not_sent() -> None:
    outcomes, peer, _ = await deliver(Script(extensions=("PIPELINING", "SIZE 20")))
    assert outcomes == [("permfail", "552 5.3.4 Message is larger than the peer accepts")]
    assert not any(line.startswith("MAIL") for line in peer.commands)


@pytest.mark.parametrize("size", ["SIZE", "SIZE 0", "SIZE x", "SIZE -1", "SIZE " + "9" * 30])
async def test_a_size_that_is_no_limit(size: str) -> None:
    outcomes, _, _ = await deliver(Script(extensions=("PIPELINING", size)))
    assert outcomes == [("delivered", "250 2.0.0 Ok: queued")]


async def test_a_loop_and_bad_addresses_never_reach_a_peer() -> None:
    async with scripted_peer() as peer, fleet(mx_port=peer.port) as sender:
        sender.work.add(
            message(1, remote(), content=b"Received: x\r\n" * 100 + b"\r\n"),
            message(2, remote(), "x@y\r\nRSET", "b@rcpt.test"),
            message(3, remote(), sender="a@b>\r\nDATA"),
        )
        outcomes = await sender.outcomes(4)
    assert lines(outcomes) == [
        ("loop", "554 5.4.6 Loop detected"),
        ("permfail", "553 5.1.3 Invalid address"),
        ("delivered", "250 2.0.0 Ok: queued"),
        ("permfail", "553 5.1.3 Invalid address"),
    ]
    assert [line for line in peer.commands if line.startswith(("MAIL", "RCPT"))] == [
        f"MAIL FROM:<a@sender.test> SIZE={len(CONTENT)}",
        "RCPT TO:<b@rcpt.test>",
    ]


# large messages


async def stream(sender: Fleet, chunks: list[bytes], *, size_bytes: int = -1) -> list[tuple[str, str]]:
    loaded = message(
        1, remote(), chunk_count=len(chunks), size_bytes=size_bytes if size_bytes >= 0 else sum(map(len, chunks))
    )
    sender.work.contents[loaded.msgid] = chunks
    sender.work.add(loaded)
    return lines(await sender.outcomes(1))


@both_ways
async def test_a_large_message_is_streamed(extensions: tuple[str, ...]) -> None:
    chunks = [b"Subject: big\r\n\r", b"\n.dot at a seam\r\n" + b"x" * 300_000, b"\r\n", b".\r\n"]
    async with scripted_peer(Script(extensions=extensions)) as peer, fleet(mx_port=peer.port) as sender:
        assert await stream(sender, chunks) == [("delivered", "250 2.0.0 Ok: queued")]
    assert peer.messages[0].content == b"".join(chunks)


async def test_a_message_that_is_not_whole_never_gets_its_dot() -> None:
    async with scripted_peer() as peer, fleet(mx_port=peer.port) as sender:
        assert await stream(sender, [b"x\r\n"], size_bytes=100) == [("tempfail", "451 4.3.0 Temporary failure")]
    assert peer.messages == []


async def test_content_that_cannot_be_read_is_tried_later() -> None:
    async with scripted_peer() as peer, fleet(mx_port=peer.port) as sender:
        sender.work.unreadable.add(f"{1:016x}")
        assert await stream(sender, [b"x\r\n"]) == [("tempfail", "451 4.3.0 Temporary failure")]
    assert peer.messages == []


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        ("552 5.3.4 Too much", ("permfail", "552 5.3.4 Too much")),
        ("250 2.0.0 Already fine", ("tempfail", "451 4.5.0 Unexpected reply: 250 2.0.0 Already fine")),
    ],
)
async def test_a_reply_in_the_middle_of_a_large_message(reply: str, outcome: tuple[str, str]) -> None:
    async with scripted_peer(Script(replies={"content": reply})) as peer, fleet(mx_port=peer.port) as sender:
        assert await stream(sender, [b"x" * 250_000 + b"\r\n"] * 30) == [outcome]
    assert peer.messages == []
