"""A table answered by a program: the protocol as OpenSMTPD's helpers speak it, and every way a helper can fail."""

import asyncio
import io
import os
import shlex
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from smtpfleet.config.tables.backend import BackendFailed
from smtpfleet.config.tables.proc import RESTART_PAUSE_S, ProcBackend
from smtpfleet.config.tables.server import TableServer
from smtpfleet.contracts.commands import TableQuery, TableService
from smtpfleet.runtime.maillog import MailLog
from tests.unit.config.stage import compile_text

HELPER = Path(__file__).parent / "helper.py"
ALIAS = TableService.ALIAS


class Clock:
    """Seconds, as given."""

    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def helper(folder: Path, clock: Clock, fault: str = "none") -> ProcBackend:
    command = shlex.join([sys.executable, str(HELPER), fault, str(folder / "starts")])
    return ProcBackend("users", command, clock)


def starts(folder: Path) -> int:
    return (folder / "starts").read_text().count("started")


@pytest.fixture
async def backend(tmp_path: Path, clock: Clock) -> AsyncIterator[ProcBackend]:
    backend = helper(tmp_path, clock)
    yield backend
    await backend.close()


async def test_a_helper_answers_lookups_checks_and_fetches(backend: ProcBackend, tmp_path: Path) -> None:
    assert await backend.lookup(ALIAS, ["root", "nobody", "bars", "empty"]) == ["alice, bob", None, "a|b|c", ""]
    assert await backend.check(ALIAS, ["nobody", "root"])
    assert not await backend.check(ALIAS, ["nobody"])
    assert await backend.fetch(TableService.SOURCE) == "192.0.2.16"
    assert starts(tmp_path) == 1


async def test_questions_at_the_same_time_are_asked_one_after_the_other(backend: ProcBackend, tmp_path: Path) -> None:
    answers = await asyncio.gather(*(backend.lookup(ALIAS, ["root", "nobody"]) for _ in range(20)))
    assert answers == [["alice, bob", None]] * 20
    assert starts(tmp_path) == 1


async def test_a_helper_sees_nothing_of_our_environment(backend: ProcBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMTPFLEET_NATS_PASSWORD", "secret")
    (names,) = await backend.lookup(ALIAS, ["environment"])
    assert names is not None
    assert set(names.split()) <= {"PATH", "LC_CTYPE"}


async def test_a_service_the_helper_has_not_registered_is_not_asked(backend: ProcBackend) -> None:
    with pytest.raises(BackendFailed, match="does not serve userinfo"):
        await backend.lookup(TableService.USERINFO, ["root"])


async def test_an_error_of_the_helper_is_a_failure_and_not_its_end(backend: ProcBackend, tmp_path: Path) -> None:
    with pytest.raises(BackendFailed, match="cannot answer"):
        await backend.lookup(ALIAS, ["down"])
    assert await backend.lookup(ALIAS, ["root"]) == ["alice, bob"]
    assert starts(tmp_path) == 1


@pytest.mark.parametrize("key", ["die", "garbage", "other id", "long"])
async def test_a_helper_that_dies_or_talks_nonsense_is_started_again(
    key: str, backend: ProcBackend, clock: Clock, tmp_path: Path
) -> None:
    with pytest.raises(BackendFailed):
        await backend.lookup(ALIAS, [key])
    with pytest.raises(BackendFailed, match="again in a moment"):
        await backend.lookup(ALIAS, ["root"])
    clock.now_s += RESTART_PAUSE_S
    assert await backend.lookup(ALIAS, ["root"]) == ["alice, bob"]
    assert starts(tmp_path) == 2


async def test_a_helper_that_hangs_past_the_time_limit_is_ended(
    backend: ProcBackend, clock: Clock, tmp_path: Path
) -> None:
    await backend.lookup(ALIAS, ["root"])
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await backend.lookup(ALIAS, ["hang"])
    clock.now_s += RESTART_PAUSE_S
    # its late answer to the first question must not be taken for one to this
    assert await backend.lookup(ALIAS, ["nobody"]) == [None]
    assert starts(tmp_path) == 2


async def test_a_running_helper_is_told_to_update(backend: ProcBackend, tmp_path: Path) -> None:
    assert await backend.lookup(ALIAS, ["updated"]) == [None]
    assert await backend.update()
    assert await backend.lookup(ALIAS, ["updated"]) == ["yes"]
    assert starts(tmp_path) == 1


async def test_a_helper_that_does_not_run_reads_its_files_when_it_starts(backend: ProcBackend, tmp_path: Path) -> None:
    assert await backend.update()
    assert not (tmp_path / "starts").exists()


async def test_a_helper_that_cannot_update_goes_on(tmp_path: Path, clock: Clock) -> None:
    backend = helper(tmp_path, clock, "stale")
    await backend.lookup(ALIAS, ["root"])
    assert not await backend.update()
    assert await backend.lookup(ALIAS, ["root"]) == ["alice, bob"]
    assert starts(tmp_path) == 1
    await backend.close()


async def test_a_helper_that_talks_nonsense_when_it_is_to_update_is_started_again(tmp_path: Path, clock: Clock) -> None:
    backend = helper(tmp_path, clock, "nonsense to update")
    await backend.lookup(ALIAS, ["root"])
    with pytest.raises(BackendFailed, match="not asked"):
        await backend.update()
    clock.now_s += RESTART_PAUSE_S
    assert await backend.lookup(ALIAS, ["root"]) == ["alice, bob"]
    assert starts(tmp_path) == 2
    await backend.close()


async def test_a_helper_that_does_not_greet_fails(tmp_path: Path, clock: Clock) -> None:
    backend = helper(tmp_path, clock, "greeting")
    with pytest.raises(BackendFailed, match="does not speak"):
        await backend.lookup(ALIAS, ["root"])
    await backend.close()


async def test_a_program_that_is_not_there_fails(clock: Clock) -> None:
    backend = ProcBackend("users", "/nonexistent/table-x /conf", clock)
    with pytest.raises(BackendFailed, match="cannot start /nonexistent/table-x: No such file"):
        await backend.lookup(ALIAS, ["root"])
    await backend.close()


async def test_a_program_that_leaves_at_once_fails(clock: Clock) -> None:
    backend = ProcBackend("users", "/bin/true", clock)
    with pytest.raises(BackendFailed, match="died"):
        await backend.lookup(ALIAS, ["root"])
    await backend.close()


async def test_no_shell_reads_the_command(tmp_path: Path, clock: Clock) -> None:
    backend = ProcBackend("users", f"/bin/echo x; touch {tmp_path}/made $(touch {tmp_path}/made)", clock)
    with pytest.raises(BackendFailed):
        await backend.lookup(ALIAS, ["root"])
    await backend.close()
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("fault", "said"), [("none", "table updated"), ("stale", "table not updated"), ("nonsense to update", "not asked")]
)
async def test_a_change_of_a_file_the_command_names_reaches_the_running_helper(
    fault: str, said: str, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    data.write_text("one")
    notes = os.path.relpath(tmp_path / "starts")  # relative: what the helper itself writes is not for it to read
    command = shlex.join([sys.executable, str(HELPER), fault, notes, str(data), str(tmp_path)])
    text = f'table users "proc:{command}"\naccept for local alias <users> deliver to mbox\n'
    stream = io.StringIO()
    log = MailLog("config", stream=stream)
    server = TableServer(log, Path)
    query = TableQuery("users", ALIAS, "lookup", ["updated"])

    async def apply() -> None:
        compiled = compile_text(tmp_path, text)
        assert compiled.configuration is not None, compiled.render()
        assert data in compiled.stamps and tmp_path not in compiled.stamps
        server.apply(compiled.configuration, compiled.withheld)

    await apply()
    assert (await server.answer(query)).values == [None]
    await apply()
    data.write_text("another")
    await apply()
    async with asyncio.timeout(10):
        while said not in stream.getvalue():
            await asyncio.sleep(0.01)
            log.flush()
    if fault == "none":
        assert (await server.answer(query)).values == ["yes"]
    assert starts(tmp_path) == 1
    assert stream.getvalue().count("updated") == 1
    await server.close()
