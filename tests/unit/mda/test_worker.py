"""Leases into outcomes: real maildirs and tables, leases from a fake scheduler."""

import asyncio
import io
import os
import threading
from pathlib import Path

import msgspec
import pytest
from msgspec import Struct

from smtpfleet.contracts.commands import BATCH_BYTES, TableQuery, TableReply, TableService
from smtpfleet.contracts.configuration import DEFAULT_LIMITS
from smtpfleet.contracts.subjects import Subject
from smtpfleet.mail.tables import Tables
from smtpfleet.mda.attempt import Attempt, delivered, looped, tempfailed
from smtpfleet.mda.delivery import Delivery
from smtpfleet.mda.group import deliver_group
from smtpfleet.mda.maildir import Maildirs
from smtpfleet.mda.sessions import Sessions
from smtpfleet.mda.single import Singles
from smtpfleet.mda.stream import StreamedFile, deliver_stream
from smtpfleet.mda.way import LocalPolicy
from smtpfleet.mda.worker import Worker, delivery_line, duration_text
from smtpfleet.runtime.maillog import MailLog
from smtpfleet.runtime.table_client import TableClient
from tests.support.fake_leases import GivenWork
from tests.support.local_mail import (
    CONTENT,
    expected_file,
    files_in,
    loaded,
    loaded_large,
    local_configuration,
    local_envelope,
)
from tests.support.until import until


class Database:
    """config, as mda asks it for users of tables that are not in the snapshot. Answers once `gate` is open."""

    def __init__(self, homes: Path) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.fault = ""
        self.queries: list[TableQuery] = []
        self._users = {name: f"{os.geteuid()}:0:{homes / name}" for name in ("carol", "dave")}

    async def request(self, subject: Subject, payload: Struct, *, timeout_s: float = 10.0) -> TableReply:
        assert isinstance(payload, TableQuery)
        self.queries.append(payload)
        await self.gate.wait()
        if self.fault:
            return TableReply(self.fault, [], 0.0)
        return TableReply("", [self._users.get(key) for key in payload.keys], 0.0)


class Bench:
    """A worker with homes under a directory, and a gate that can hold its deliveries."""

    def __init__(self, homes: Path) -> None:
        self.client = GivenWork()
        self.log = io.StringIO()
        self.gate = threading.Event()
        self.gate.set()
        self.begun = 0
        self._maildirs = Maildirs()
        userbase = {name: f"{os.geteuid()}:0:{homes / name}" for name in ("alice", "bob")}
        tables = Tables(local_configuration(userbase))
        self.singles = Singles(self.client.read_content)
        self.sessions = Sessions(4, lambda: DEFAULT_LIMITS, self._deliver, self._deliver_large, self.singles.deliver)
        self.mail_log = MailLog("mda", stream=self.log)
        self.database = Database(homes)
        self.worker = Worker(
            self.client,  # type: ignore[arg-type]
            self.sessions,
            lambda: tables,
            TableClient(self.database),
            self.mail_log,
            lambda work, name: asyncio.get_running_loop().create_task(work, name=name),
            lambda: LocalPolicy(mbox_folder=str(homes)),
        )
        self.worker.start()

    def _deliver(self, deliveries: list[Delivery]) -> list[Attempt]:
        self.begun += len(deliveries)
        assert self.gate.wait(10)
        return deliver_group(self._maildirs, deliveries)

    async def _deliver_large(self, delivery: Delivery) -> Attempt:
        chunks = self.client.read_content(delivery.msgid, delivery.chunk_count)
        file = StreamedFile(self._maildirs, delivery)
        return await deliver_stream(file, delivery.evpid, chunks, self.sessions.in_thread)

    async def drain(self) -> None:
        self.gate.set()
        draining = asyncio.ensure_future(self.worker.drain())
        await asyncio.sleep(0)
        self.client.end_wait()
        async with asyncio.timeout(5):
            await draining
        self.sessions.close()
        self.singles.close()


async def test_a_lease_of_two_users_is_delivered_and_reported_together(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    mails = [local_envelope(n, user=("alice", "bob")[n % 2]) for n in range(10)]
    lease = bench.client.give([loaded(envelope) for envelope in mails], missing=["f" * 24])
    await lease.finished()
    assert {outcome.evpid: outcome.kind.value for outcome in lease.reported} == {e.evpid: "delivered" for e in mails}
    assert lease.report_count <= 2
    for user in ("alice", "bob"):
        assert sorted(files_in(tmp_path / user / "Maildir/new").values()) == sorted(
            expected_file(e)
            for e in mails
            if e.dispatcher.user == user  # type: ignore[union-attr]
        )
    await bench.drain()
    assert lease.released == []


async def test_every_kind_of_outcome_is_reported_and_logged(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    lease = bench.client.give(
        [
            loaded(local_envelope(1)),
            loaded(local_envelope(2), b"Delivered-To: alice@example.test\r\n\r\n"),
            loaded(local_envelope(3, user="nobody")),
            loaded(local_envelope(4, method="pigeon")),
        ]
    )
    await lease.finished()
    kinds = {outcome.evpid: outcome.kind.value for outcome in lease.reported}
    assert sorted(kinds.values()) == ["delivered", "loop", "permfail", "tempfail"]
    await bench.drain()
    bench.mail_log.flush()
    lines = {line.split()[2]: line for line in bench.log.getvalue().splitlines()}
    assert 'result="Ok" stat="Delivered"' in lines[local_envelope(1).evpid]
    assert 'result="Loop" stat="Loop detected"' in lines[local_envelope(2).evpid]
    assert 'result="PermFail" stat="Permanent failure in user lookup"' in lines[local_envelope(3).evpid]
    assert 'result="TempFail"' in lines[local_envelope(4).evpid]


async def test_users_that_the_snapshot_does_not_know_are_asked_for_together(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    mails = [local_envelope(n, user=("carol", "dave")[n % 2], userbase="people") for n in range(6)]
    nobody = local_envelope(7, user="erin", userbase="people")
    lease = bench.client.give([loaded(envelope) for envelope in (*mails, nobody)])
    await lease.finished()
    assert {outcome.evpid: outcome.kind.value for outcome in lease.reported} == (
        {e.evpid: "delivered" for e in mails} | {nobody.evpid: "permfail"}
    )
    assert bench.database.queries == [TableQuery("people", TableService.USERINFO, "lookup", ["carol", "dave", "erin"])]
    assert len(files_in(tmp_path / "carol/Maildir/new")) == len(files_in(tmp_path / "dave/Maildir/new")) == 3
    await bench.drain()


async def test_a_database_that_hangs_holds_up_nobody_else(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.database.gate.clear()
    asked = [
        local_envelope(1, user="carol", userbase="people"),
        local_envelope(2, user="dave", userbase="people", method="mbox"),
    ]
    known = local_envelope(3)
    lease = bench.client.give([loaded(envelope) for envelope in (*asked, known)])
    await until(lambda: [outcome.evpid for outcome in lease.reported] == [known.evpid], lambda: lease.reported)
    assert not lease.is_finished
    bench.database.gate.set()
    await lease.finished()
    assert [outcome.kind.value for outcome in lease.reported] == ["delivered"] * 3
    await bench.drain()


async def test_a_database_that_cannot_answer_is_a_temporary_failure_that_says_why(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.database.fault = "table people: no such file"
    lease = bench.client.give([loaded(local_envelope(1, user="carol", userbase="people")), loaded(local_envelope(2))])
    await lease.finished()
    assert sorted(outcome.kind.value for outcome in lease.reported) == ["delivered", "tempfail"]
    await bench.drain()
    bench.mail_log.flush()
    assert 'stat="Temporary failure in user lookup" detail="table people: no such file"' in bench.log.getvalue()


async def test_mail_whose_user_is_being_asked_for_goes_back_untried_when_we_drain(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.database.gate.clear()
    envelope = local_envelope(1, user="carol", userbase="people")
    lease = bench.client.give([loaded(envelope)])
    await until(lambda: bool(bench.database.queries), lambda: bench.database.queries)
    asyncio.get_running_loop().call_later(0.05, bench.database.gate.set)
    await bench.drain()
    assert (lease.reported, lease.released) == ([], [envelope.evpid])


async def test_a_large_message_is_streamed(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    envelope = local_envelope()
    chunks = [CONTENT + b"\r", b"\n" + CONTENT]
    bench.client.contents[envelope.evpid[:16]] = chunks
    lease = bench.client.give([loaded_large(envelope, chunks)])
    await lease.finished()
    assert [outcome.kind.value for outcome in lease.reported] == ["delivered"]
    assert list(files_in(tmp_path / "alice/Maildir/new").values()) == [expected_file(envelope, b"".join(chunks))]
    await bench.drain()


async def test_two_leases_are_in_work_and_no_third_is_asked_for(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.gate.clear()
    leases = [bench.client.give([loaded(local_envelope(n))]) for n in (1, 2, 3)]
    await until(lambda: bench.begun == 2, lambda: bench.begun)
    assert bench.client.parked == 0
    assert not leases[2].is_finished
    bench.gate.set()
    for lease in leases:
        await lease.finished()
    await until(lambda: bench.client.parked == 1, lambda: bench.client.parked)
    assert bench.client.most_parked == 1
    await bench.drain()


async def test_drain_finishes_what_is_begun_and_releases_the_rest(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.gate.clear()
    big = CONTENT + b"x" * BATCH_BYTES + b"\r\n"
    first, second = local_envelope(1), local_envelope(2)
    lease = bench.client.give([loaded(first, big), loaded(second)])
    await until(lambda: bench.begun == 1, lambda: bench.begun)
    await bench.drain()
    assert [outcome.evpid for outcome in lease.reported] == [first.evpid]
    assert lease.released == [second.evpid]
    assert len(files_in(tmp_path / "alice/Maildir/new")) == 1


async def test_a_lease_granted_while_we_drain_goes_back_untried(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    await until(lambda: bench.client.parked == 1, lambda: bench.client.parked)
    draining = asyncio.ensure_future(bench.worker.drain())
    await asyncio.sleep(0)
    lease = bench.client.give([loaded(local_envelope())])
    async with asyncio.timeout(5):
        await draining
    assert lease.released == [local_envelope().evpid]
    assert lease.reported == []
    assert bench.begun == 0


async def test_nothing_is_begun_under_a_lost_lease(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    lease = bench.client.give([loaded(local_envelope())], is_lost=True)
    await lease.finished()
    assert bench.begun == 0
    assert lease.reported == []
    await bench.drain()


@pytest.mark.parametrize(
    ("attempt", "ends_with"),
    [
        pytest.param(delivered("e" * 24), 'result="Ok" stat="Delivered"', id="ok"),
        pytest.param(looped("e" * 24), 'result="Loop" stat="Loop detected"', id="loop"),
        pytest.param(
            tempfailed("e" * 24, "/home/a: No space"),
            'result="TempFail" stat="Temporary failure" detail="/home/a: No space"',
            id="detail for the operator",
        ),
    ],
)
def test_the_log_line(attempt: Attempt, ends_with: str) -> None:
    envelope = msgspec.structs.replace(local_envelope(), sender="", rcpt="info@example.test")
    assert delivery_line(envelope, attempt, 61.5) == (
        f"{'e' * 24} mda delivery from=<> to=<alice@example.test> rcpt=<info@example.test> user=alice "
        f"method=maildir delay=1m1s {ends_with}"
    )


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0s"), (59.9, "59s"), (60, "1m"), (3661, "1h1m1s"), (90061, "1d1h1m1s")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text
