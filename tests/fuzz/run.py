"""Every target, or those named, fuzzed by coverage for a while each: `make fuzz FUZZ_SECONDS=20`.

Begins with the seeds, the kept corpus and what earlier runs found new (var/fuzz). A finding is written to tests/corpus/<target>, where the
ordinary tests replay it from then on, and the run fails. Findings are crashes, broken promises, and inputs that take too long or too much.
"""

import argparse
import hashlib
import importlib.util
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.fuzz.targets import CORPUS, NAMES, load_target

ROOT = Path(__file__).parents[2]
ONE_INPUT_S = 10
"""Longest one input may take, instrumented and on a busy machine; hundreds of times what any should."""
MEMORY_MB = 2048
INPUT_LIMIT_BYTES = 1024
"""What is larger is slow and not found by chance: the linear-time tests make it."""


def fuzz(name: str, seconds: int) -> str:
    """Fuzzes one target; returns what went wrong, "" for nothing."""
    found_new, seeds, kept = ROOT / "var" / "fuzz" / name, ROOT / "var" / "fuzz" / f"{name}.seeds", CORPUS / name
    for folder in (found_new, seeds, kept):
        folder.mkdir(parents=True, exist_ok=True)
    for seed in load_target(name).seeds():
        (seeds / hashlib.sha1(seed, usedforsecurity=False).hexdigest()).write_bytes(seed)
    before = set(kept.iterdir())
    command = [
        sys.executable, "-u", "-m", "tests.fuzz.engine", name, f"-max_total_time={seconds}", f"-timeout={ONE_INPUT_S}",
        f"-rss_limit_mb={MEMORY_MB}", f"-max_len={INPUT_LIMIT_BYTES}", f"-artifact_prefix={kept}/", str(found_new), str(kept), str(seeds),
    ]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, errors="replace", check=False)
    said = done.stdout + done.stderr
    runs = next((line for line in said.splitlines() if line.startswith("Done ")), "stopped")
    print(f"{name}: {runs}", flush=True)
    if done.returncode == 0:
        return ""
    findings = sorted(set(kept.iterdir()) - before)
    # The exception is on stdout, the story of the run on stderr.
    said = f"{done.stdout[-3000:]}\n{done.stderr[-2000:]}"
    return "\n".join([f"{name}: fuzzing failed\n{said}", *(_replay(name, path) for path in findings)])


def _replay(name: str, path: Path) -> str:
    """What the finding leads to without atheris, in a process of its own: it may never end."""
    code = f"from tests.fuzz.targets import load_target; load_target({name!r}).check(open({str(path)!r}, 'rb').read())"
    try:
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False, timeout=6 * ONE_INPUT_S
        )
    except subprocess.TimeoutExpired:
        return f"{path}: does not end"
    return f"{path}: {path.read_bytes()[:2000]!r}\n{done.stderr[-3000:]}"


def main() -> int:
    """Exit status: whether anything was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="target", help=f"one of {', '.join(NAMES)}; all by default")
    parser.add_argument("--seconds", type=int, default=20, help="for each target")
    parser.add_argument("--workers", type=int, default=2, help="targets at a time")
    options = parser.parse_args()
    if importlib.util.find_spec("atheris") is None:
        print("make fuzz: no atheris for this platform; `make test` replays the corpus and runs the hypothesis tests")
        return 0
    names = options.targets or NAMES
    with ThreadPoolExecutor(options.workers) as workers:
        findings = [text for text in workers.map(lambda name: fuzz(name, options.seconds), names) if text]
    print("\n".join(findings))
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
