"""The table of kill points and the sources agree: a point that nobody tests is deleted, a point that is gone is not tested."""

import re
from pathlib import Path

from tests.failure.points import BOUNCE_POINTS, CONFIG_POINTS, POINTS

ROOT = Path(__file__).resolve().parents[2]
_REACH = re.compile(r"""reach\(\s*["']([a-z_.]+)["']""")


def test_every_kill_point_of_the_sources_is_tested() -> None:
    sources = [*ROOT.glob("services/*/src/**/*.py"), *ROOT.glob("libs/*/src/**/*.py")]
    found = {name for path in sources if path.name != "killpoint.py" for name in _REACH.findall(path.read_text())}
    assert found == {point.name for point in POINTS} | {*BOUNCE_POINTS, *CONFIG_POINTS}
