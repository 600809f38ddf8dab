"""config dies while it publishes a large table: what is in force is always whole, and the next start ends what was begun."""

from pathlib import Path

import pytest

from bench.keeper import arm, disarm
from smtpfleet.local.fleet import Fleet
from tests.failure.points import CONFIG_POINTS
from tests.path.ground import until
from tests.path.tables import CONFIG, await_all, is_accepted, running, write_large, write_small

pytestmark = pytest.mark.failure

DOES_PUBLISH = {"config.parts.written": False, "config.snapshot.written": True}
"""Whether the new configuration is in force when config dies there."""


@pytest.mark.parametrize("point", CONFIG_POINTS)
def test_dying_while_a_large_table_is_published_leaves_a_whole_one_in_force(tmp_path: Path, point: str) -> None:
    (tmp_path / "etc").mkdir()
    write_small(tmp_path / "etc")
    write_large(tmp_path / "etc", "before")
    with Fleet(tmp_path, config_text=CONFIG, exit_deadline_s=0.5) as fleet:
        first = await_all(fleet, set())
        (config,) = fleet.roles["config"]
        config.stop()
        arm(config, point)
        config.start()
        assert await_all(fleet, set()) == first
        write_large(tmp_path / "etc", "after")
        until(lambda: not config.is_running, "config dead")
        config.stop()
        if DOES_PUBLISH[point]:
            until(lambda: is_accepted(fleet, "after@example.test"), "the new table")
            # Every other role runs it; "" is config, which is missing.
            until(lambda: len(now := running(fleet)) == 2 and first not in now, "the new version in all other roles")
        else:
            assert running(fleet) == {first, ""}
            assert is_accepted(fleet, "before@example.test") and not is_accepted(fleet, "after@example.test")
        # A role that starts now takes what is in force, and can.
        (smtp_in,) = fleet.roles["smtp-in"]
        smtp_in.stop()
        smtp_in.start()
        assert is_accepted(fleet, "after@example.test") is DOES_PUBLISH[point]
        disarm(config)
        config.start()
        await_all(fleet, {first})
        assert is_accepted(fleet, "after@example.test") and not is_accepted(fleet, "before@example.test")
