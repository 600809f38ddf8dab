"""Going back to an earlier configuration, by the REST API and by command, and what a restart of config makes of it."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.path.ground import Ground, until
from tests.path.test_configuration import await_one_version

pytestmark = [pytest.mark.path, pytest.mark.connected]


def test_going_back_to_an_earlier_configuration(tmp_path: Path) -> None:
    with Ground(tmp_path) as ground:
        first = ground.ask("/v1/config")["in_force"]
        ground.fleet.write_config(ground.config + 'accept from local for domain "added.test" relay\n')
        second = await_one_version(ground, after=first)
        kept = ground.ask("/v1/config")
        assert [entry["version"] for entry in kept["versions"]][:2] == [second, first]
        back = ground.post("/v1/config/rollback", {"version": first})["version"]
        assert await_one_version(ground, after=second) == back
        assert back.partition("-")[2] == first.partition("-")[2]
        # config starts again with the same files and leaves it so
        (config,) = ground.fleet.roles["config"]
        config.term()
        config.wait(20)
        config.start()
        until(lambda: "an operator went back from what our files say" in config.log_text, "the files waiting")
        assert ground.ask("/v1/config")["in_force"] == back
        command = subprocess.run(
            [sys.executable, "-c", "from smtpfleet.config.cli import app; app()", "rollback", second],
            env=config.environ,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert command.returncode == 0, command.stderr
        assert await_one_version(ground, after=back).partition("-")[2] == second.partition("-")[2]
