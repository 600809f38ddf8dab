"""Delivery programs, real ones: what they get, how they end, and what hostile ones cannot do. As root they run as another user."""

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import uvloop

from smtpfleet.mda.content import ContentUnreadable
from smtpfleet.mda.program import END_PATIENCE_S, OUTPUT_LIMIT_BYTES, PIPE_BYTES, Ended, Program
from smtpfleet.mda.way import ProgramWay
from tests.support.unprivileged import GID, IS_ROOT, UID, make_folder

MESSAGE = b"Subject: hello\n\nline\n"


@pytest.fixture(autouse=True, scope="module")
def first_loop() -> None:
    """The first loop of uvloop opens a pipe for the life of the process."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.sleep(0))


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    before, children = set(os.listdir("/proc/self/fd")), _children()
    yield
    assert set(os.listdir("/proc/self/fd")) <= before
    assert _children() <= children


def _children() -> set[str]:
    """Processes of ours; other tests have some for the whole run (servers)."""
    listed = subprocess.run(
        ["ps", "--no-headers", "-o", "pid,args", "--ppid", str(os.getpid())], stdout=subprocess.PIPE
    )
    return {line.split()[0] for line in listed.stdout.decode().splitlines() if " ps " not in line}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the program's user may write."""
    return make_folder(tmp_path / "home")


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest, folder: Path) -> Callable[..., Ended]:
    """Runs a program on either event loop; roles run on uvloop."""

    def run(line: str, *pieces: bytes, time_limit_s: float = 20.0, variables: dict[str, str] | None = None) -> Ended:
        way = ProgramWay(line, variables or {"PATH": "/usr/bin:/bin"}, str(folder), UID, GID, False)

        async def message() -> AsyncIterator[bytes]:
            for piece in pieces or (MESSAGE,):
                yield piece

        async def main() -> Ended:
            with ThreadPoolExecutor(1) as pool:
                return await Program(way, pool, time_limit_s).run(message())

        with asyncio.Runner(loop_factory=request.param) as runner:
            return runner.run(main())

    return run


Run = Callable[..., Ended]


def test_the_message_is_its_input(run: Run, folder: Path) -> None:
    assert run("cat > got; pwd") == Ended(0, f'"{folder}"', "", True)
    assert (folder / "got").read_bytes() == MESSAGE
    assert (folder / "got").stat().st_mode & 0o777 == 0o600


def test_it_has_one_group_and_a_session_of_its_own_and_no_descriptor_of_ours(run: Run, folder: Path) -> None:
    ended = run(
        'id -u; id -g; id -G; ls /proc/$$/fd | tr "\\n" " "; ps -o sid= -p $$ | tr -d " " > sid; echo $$ > pid; cat >/dev/null'
    )
    assert ended.code == 0
    assert (folder / "sid").read_text() == (folder / "pid").read_text()
    assert run("id -u").text == f'"{UID}"'
    assert run("id -g").text == f'"{GID}"'
    assert run("id -G").text == (
        f'"{GID}"' if IS_ROOT else f'"{" ".join(map(str, [GID, *sorted(set(os.getgroups()) - {GID})]))}"'
    )
    assert run("ls /proc/self/fd | tr '\\n' ' '").text == '"0 1 2 3"'  # 3 is of ls


def test_its_environment_is_what_it_was_given(run: Run) -> None:
    assert run(
        "env | grep -v ^PWD= | grep -v ^_= | sort | tr '\\n' ' '", variables={"A": "1", "PATH": "/usr/bin:/bin"}
    ).text == ('"A=1 PATH=/usr/bin:/bin"')


@pytest.mark.parametrize(
    ("line", "code", "text"),
    [
        pytest.param("echo first; echo last line; echo; exit 3", 3, '"last line"', id="last line that is not empty"),
        pytest.param("echo to stderr >&2; exit 75", 75, '"to stderr"', id="stderr"),
        pytest.param("exit 1", 1, "", id="silent"),
        pytest.param("kill -9 $$", -9, "", id="signal"),
        pytest.param("nonsense-that-is-not-there 2>/dev/null", 127, "", id="no such program"),
        pytest.param(
            r"printf 'a\033[31m\377\\ \n'; exit 1", 1, r'"a\^[[31m\M^?\\"', id="control characters are made visible"
        ),
        pytest.param("head -c 300 /dev/zero | tr '\\0' x; exit 1", 1, '"' + "x" * 253 + '"', id="long line"),
    ],
)
def test_how_it_ends(run: Run, line: str, code: int, text: str) -> None:
    assert run(line) == Ended(code, text, "", True)


def test_a_program_that_reads_nothing_of_a_small_message_has_taken_it(run: Run) -> None:
    assert run("exit 0") == Ended(0, "", "", True)


@pytest.mark.parametrize(
    "line", ["exit 0", "exec 0<&-; sleep 0.2", "head -c 10 >/dev/null"], ids=["no input", "closes it", "a part"]
)
def test_a_program_that_leaves_much_unread_has_not(run: Run, line: str) -> None:
    assert run(line, b"x" * 300_000).is_all_read is False


@pytest.mark.parametrize("line", ["exit 0", "exec 0<&-; sleep 0.2"], ids=["ends", "closes its input"])
def test_a_large_message_nobody_reads(run: Run, line: str) -> None:
    assert run(line, *[b"x" * 500_000] * 8) == Ended(0, "", "", False)


def test_a_large_message_comes_whole_to_a_slow_reader(run: Run, folder: Path) -> None:
    pieces = [bytes([65 + n]) * 700_000 for n in range(6)]
    ended = run("sleep 0.2; cat > got; sleep 0.1", *pieces)
    assert ended == Ended(0, "", "", True)
    assert (folder / "got").read_bytes() == b"".join(pieces)


def test_a_message_that_breaks_off_is_not_taken_for_a_whole_one(folder: Path) -> None:
    way = ProgramWay("cat > part; touch whole", {"PATH": "/usr/bin:/bin"}, str(folder), UID, GID, False)

    async def message() -> AsyncIterator[bytes]:
        yield b"x" * (PIPE_BYTES + 10)
        await asyncio.sleep(0.1)
        raise ContentUnreadable("gone")

    async def main() -> None:
        with ThreadPoolExecutor(1) as pool:
            await Program(way, pool).run(message())

    with pytest.raises(ContentUnreadable):
        asyncio.run(main())
    time.sleep(0.1)  # a program left alive would make the file in this time
    assert not (folder / "whole").exists()


def test_time_is_limited_and_nothing_of_its_group_survives(run: Run, folder: Path) -> None:
    ended = run("echo $$ > leader; sleep 1000 & echo $! > child; wait", time_limit_s=0.3)
    assert (ended.fault, ended.is_all_read) == ("terminated; timeout", False)
    assert not _is_alive(folder / "leader") and not _is_alive(folder / "child")


def test_sigterm_can_be_ignored_sigkill_cannot(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smtpfleet.mda.program.END_PATIENCE_S", 0.2)
    ended = run("trap '' TERM; echo $$ > leader; while :; do sleep 0.05; done", time_limit_s=0.3)
    assert ended.fault == "terminated; timeout"
    assert not _is_alive(folder / "leader")
    assert END_PATIENCE_S == 5.0


def test_what_it_leaves_in_the_background_ends_with_it_and_is_not_waited_for(run: Run, folder: Path) -> None:
    begun = time.monotonic()
    assert run("sleep 1000 & echo $! > child; echo done").text == '"done"'
    assert time.monotonic() - begun < 10
    assert not _is_alive(folder / "child")


def test_a_flood_of_output_is_ended(run: Run) -> None:
    assert run("yes") == Ended(-signal.SIGKILL, '"y"', "too much output", True)
    assert OUTPUT_LIMIT_BYTES < 100_000_000


def test_a_home_that_is_not_there_is_replaced(folder: Path) -> None:
    way = ProgramWay("pwd", {"PATH": "/usr/bin:/bin"}, str(folder / "missing"), UID, GID, False)

    async def message() -> AsyncIterator[bytes]:
        yield MESSAGE

    async def main() -> Ended:
        with ThreadPoolExecutor(1) as pool:
            return await Program(way, pool).run(message())

    assert asyncio.run(main()).text == '"/"'


def test_a_delivery_that_is_given_up_ends_its_program(folder: Path) -> None:
    way = ProgramWay("echo $$ > leader; exec sleep 1000", {"PATH": "/usr/bin:/bin"}, str(folder), UID, GID, False)

    async def message() -> AsyncIterator[bytes]:
        yield MESSAGE

    async def main() -> None:
        with ThreadPoolExecutor(1) as pool:
            running = asyncio.create_task(Program(way, pool).run(message()))
            while not ((folder / "leader").exists() and (folder / "leader").read_text().strip()):
                await asyncio.sleep(0.01)
            running.cancel()
            await asyncio.wait({running})
            assert running.cancelled()

    asyncio.run(main())
    assert not _is_alive(folder / "leader")


def _is_alive(pid_file: Path) -> bool:
    """After at most a second: a killed process takes a moment to go. A zombie is gone, too: its parent may not have looked yet."""
    status = Path(f"/proc/{pid_file.read_text().strip()}/status")
    ends_at = time.monotonic() + 1.0
    while time.monotonic() < ends_at:
        try:
            if "State:\tZ" in status.read_text():
                return False
        except (FileNotFoundError, ProcessLookupError):
            return False
        time.sleep(0.01)
    return True
