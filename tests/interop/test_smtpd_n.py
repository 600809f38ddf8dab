"""Our compiler beside the real one: `smtpd -n -f` of OpenSMTPD 6.8 and 7.4 over every modern example, and over mutated ones.

Compares accept or refuse. A difference is a failure unless it is one of KNOWN, each of which has its row in docs/parity.md. The real
smtpd is `smtpd` on PATH, or the one in the root file system OPENSMTPD_ROOT names (entered with chroot, so by root only), and the newer
one of .ci/opensmtpd-7 where there is a root file system of that name with `-7` behind it.
"""

import os
import random
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from smtpfleet.config.language.compilation import Compilation, compile_file
from smtpfleet.config.language.diagnostics import Severity
from tests.unit.config.stage import HOST

pytestmark = pytest.mark.interop

EXAMPLES = Path(__file__).parents[1] / "unit" / "config" / "modern"
SMTPD_S = 10.0
MUTANTS_PER_EXAMPLE = 25
SEED = 20200524  # any; a fixed one, so that a failure can be repeated
_TOKEN = re.compile(r'"[^"\n]*"|\'[^\'\n]*\'|[{}<>!=,]|[^\s{}<>!=,"\']+|\n')

# What only one side says: a part of its message, and the row of docs/parity.md that says why (tests/unit/config/test_parity_rows.py).
ONLY_WE_REFUSE = {
    "invalid url:": "relay URLs (`host`, `domain`)",
    "host:port": "relay URLs (`host`, `domain`)",
    "pki name not found": "`pki`, `ca` of a relay",
    "ca name not found": "`pki`, `ca` of a relay",
    "tls/smtps requires pki": "listener with TLS and without `pki`",
    "invalid use of table": "`auth` table of a listener that is a list",
    "may not be used for filter": "the table of a filter's condition",
    "invalid lmtp destination": "`lmtp` without port or path, empty `mda` command, `mail-from` with blanks",
    "invalid mda command": "`lmtp` without port or path, empty `mda` command, `mail-from` with blanks",
    "invalid mail-from": "`lmtp` without port or path, empty `mda` command, `mail-from` with blanks",
    "invalid admd": "port 65535, limits out of range, `max-message-size 0`, `admd` with blanks or empty",
    "invalid limit": "port 65535, limits out of range, `max-message-size 0`, `admd` with blanks or empty",
    "invalid size: 0": "port 65535, limits out of range, `max-message-size 0`, `admd` with blanks or empty",
    "invalid port: 65535": "port 65535, limits out of range, `max-message-size 0`, `admd` with blanks or empty",
    "invalid hostname": '`hostname ""`, `hostname "a b"`, `smtp ciphers ""`',
    "invalid ciphers": '`hostname ""`, `hostname "a b"`, `smtp ciphers ""`',
    '"tls" contradicts': "`relay host smtp+notls://… tls`, the same with lmtp://",
    "missing certificate file": "`pki` without certificate or key that only a relay names",
    "missing key file": "`pki` without certificate or key that only a relay names",
    "is listened on twice": "the same address and port twice",
    "names no file": "an empty name of a file",
}
ONLY_THEY_REFUSE = {
    "invalid key for queue encryption": "`queue encryption KEY`",
    "load_pki_tree": "certificate files",
    "pki already specified": "several `pki`, `ciphers`, `protocols` of a listener",
}
NEWER = {"since_7"}
"""Examples of what 6.8 has not."""


@dataclass(frozen=True, slots=True)
class Smtpd:
    """A way to run it. folder: where it finds files, inside: the same folder as it sees it. is_newer: 7.4."""

    is_newer: bool
    command: tuple[str, ...]
    folder: Path
    inside: str

    def check(self, text: str) -> tuple[bool, str]:
        """Whether it accepts, and what it says."""
        (self.folder / "smtpd.conf").write_text(text)
        command = [*self.command, "-n", "-f", f"{self.inside}/smtpd.conf"]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=SMTPD_S,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        return done.returncode == 0, done.stderr


@pytest.fixture(scope="module", params=["", "-7"], ids=["6.8", "7.4"])
def smtpd(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Smtpd]:
    root = os.environ.get("OPENSMTPD_ROOT", "")
    is_newer = request.param == "-7"
    if is_newer:
        root += request.param
        if not Path(root, ".ready").exists():
            pytest.skip("no root file system with OpenSMTPD 7: .ci/opensmtpd-7 makes it")
    installed = shutil.which("smtpd") or shutil.which("smtpd", path="/usr/sbin")
    if root:
        folder = Path(root) / "tmp" / "smtpd_n"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        found = Smtpd(is_newer, ("chroot", root, "smtpd"), folder, "/tmp/smtpd_n")
    elif installed:
        folder = tmp_path_factory.mktemp("smtpd_n")
        found = Smtpd(False, (installed,), folder, str(folder))
    else:
        pytest.skip("no OpenSMTPD here: install it, or name its root file system in OPENSMTPD_ROOT")
    certificate = trustme.CA().issue_cert("mx.example.test")
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    (folder / "key.pem").chmod(0o600)
    (folder / "certificate.pem").write_bytes(certificate.cert_chain_pems[0].bytes())
    yield found
    shutil.rmtree(folder, ignore_errors=True)


def example_text(folder: Path) -> str:
    """The configuration with its includes written out: macros inside them count as in the file."""
    text = (folder / "smtpd.conf").read_text()
    return re.sub(r'^include "(.*)"$', lambda found: (folder / found.group(1)).read_text(), text, flags=re.MULTILINE)


def for_smtpd(text: str, folder: Path, smtpd: Smtpd) -> str:
    """The same with what exists over there: its files, its loopback interface, its certificates."""

    def table_file(found: re.Match[str]) -> str:
        source = folder / found.group(1)
        if not source.exists():
            return found.group()
        shutil.copy(source, smtpd.folder / found.group(1))
        return f"file:{smtpd.inside}/{found.group(1)}"

    text = text.replace(" mend-line-ends", "")  # ours
    text = re.sub(
        r"^(listen on socket.*?)(?<! tag) no-dsn\b", r"\1", text, flags=re.MULTILINE
    )  # of the socket: came after 7.4
    # Lines that end inside braces came with 7.5.
    text = re.sub(r"\{[^{}]*\}", lambda found: found.group().replace("\n", " "), text)
    text = re.sub(r"\bfile:([a-z]+)", table_file, text)
    text = re.sub(r'\bcert "[^"\n]*"', f'cert "{smtpd.inside}/certificate.pem"', text)
    text = re.sub(r'\bkey "([^"\n]*(?:/|\.)[^"\n]*)"', f'key "{smtpd.inside}/key.pem"', text)
    return re.sub(r'\b(listen on|where =) "?(lo0|eth0|192\.0\.2\.[0-9]+)"?', r"\1 127.0.0.1", text).replace(
        "where = 127.0.0.1", 'where = "127.0.0.1"'
    )


def compile_here(text: str, folder: Path, at: Path) -> Compilation:
    for path in folder.iterdir():
        if path.is_file() and not path.name.startswith("expected"):
            shutil.copy(path, at / path.name)
    (at / "smtpd.conf").write_text(text)
    return compile_file(at / "smtpd.conf", HOST)


def difference(text: str, folder: Path, at: Path, smtpd: Smtpd) -> str:
    """ "" where both agree or the difference is known; else who says what."""
    ours = compile_here(text, folder, at)
    is_theirs, said = smtpd.check(for_smtpd(text, folder, smtpd))
    if (ours.configuration is not None) is is_theirs:
        return ""
    if is_theirs:
        messages = [item.message for item in ours.diagnostics if item.severity is Severity.ERROR]
        unknown = [message for message in messages if not any(known in message for known in ONLY_WE_REFUSE)]
        return f"only we refuse: {unknown}" if unknown else ""
    return "" if any(word in said for word in ONLY_THEY_REFUSE) else f"only they refuse: {said}"


def mutants(text: str, seed: int) -> Iterator[str]:
    """The text with one token left out, doubled or swapped with the next, or with one line left out or doubled."""
    chance = random.Random(seed)
    places = [found for found in _TOKEN.finditer(text) if found.group() != "\n"]
    for _ in range(MUTANTS_PER_EXAMPLE):
        index = chance.randrange(len(places) - 1)
        here, after = places[index], places[index + 1]
        match chance.choice(("leave out", "double", "swap", "lose the line", "double the line")):
            case "leave out":
                yield text[: here.start()] + text[here.end() :]
            case "double":
                yield f"{text[: here.end()]} {text[here.start() :]}"
            case "lose the line" | "double the line" as how:
                lines = text.splitlines(keepends=True)
                number = chance.randrange(len(lines))
                lines[number] *= 2 if how.startswith("double") else 0
                yield "".join(lines)
            case _:
                between = text[here.end() : after.start()]
                yield text[: here.start()] + after.group() + between + here.group() + text[after.end() :]


FOLDERS = sorted(path for kind in ("good", "bad") for path in (EXAMPLES / kind).iterdir())


def skip_what_is_newer(folder: Path, smtpd: Smtpd) -> None:
    if folder.name in NEWER and not smtpd.is_newer:
        pytest.skip("6.8 has not what the example shows")


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_the_example_is_accepted_or_refused_by_both(folder: Path, smtpd: Smtpd, tmp_path: Path) -> None:
    skip_what_is_newer(folder, smtpd)
    assert difference(example_text(folder), folder, tmp_path, smtpd) == ""


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_mutants_are_accepted_or_refused_by_both(folder: Path, smtpd: Smtpd, tmp_path: Path) -> None:
    skip_what_is_newer(folder, smtpd)
    found = []
    for mutant in mutants(example_text(folder), SEED):
        if said := difference(mutant, folder, tmp_path, smtpd):
            found.append(f"{said}\n--- {mutant}")
    assert not found, "\n".join(found)
