"""A configuration of either form, with what it includes: it ends in a configuration or in errors with a place, each well shown.

Octets up to a line `--x--` are the main file, those behind it the file `x`, which it may include or name as a table.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec

from smtpfleet.config.language.compilation import compile_file
from smtpfleet.config.language.diagnostics import LINE_SHOWN_MAX
from smtpfleet.config.language.modern.keywords import KEYWORDS
from smtpfleet.config.language.tokens import KEYWORDS_5_4
from smtpfleet.contracts.configuration import Configuration
from smtpfleet.mail.expand import expand_rcpt
from smtpfleet.mail.ruleset import LOCAL_PEER, SessionFacts
from smtpfleet.mail.tables import Tables
from smtpfleet.smtp_in.entrance import Entrance
from smtpfleet.smtp_in.reply import encode_reply
from tests.unit.config.stage import HOST

PARTING = b"\n--x--\n"
WORDS: Sequence[bytes] = (
    *(f"{word} ".encode() for word in sorted(KEYWORDS | KEYWORDS_5_4)),
    b"{", b"}", b"<", b">", b"=", b"=>", b"!", b",", b"\n", b" ", b"\t", b'"', b"'", b"\\", b"\\\n", b"#", b"$", b"$m ", b'm = "', b"1", b"-", b"25", b"1d",
    b"table t { a = b }\n", b"<t>", b"smtp://h", b"smtp+tls://l@h:25", b"'proc:/x'", b"(", b")", b"/", "é".encode(), b"\0", b"\r", b"9" * 20, b"1e9",
    b'include "x"\n', b"table t file:x\n", b'table t "x"\n', PARTING, b"accept ", b"reject\n", b"match from any for any action a\n", b"action a relay\n",
    b"filter f phase connect match", b"filter f chain {", b"no-dsn", b"ciphers", b"a: b\n", b"tls+auth://l@h:25", b"10.0.0.0/8", b"::1", b"[::1]", b"@d.org", b"*.d.org",
)  # fmt: skip
EXAMPLES = Path(__file__).parents[1] / "unit" / "config"
_FOLDER = tempfile.TemporaryDirectory(prefix="smtpfleet-fuzz-")


def check(data: bytes) -> None:
    """One configuration."""
    folder = Path(_FOLDER.name)
    main, _, included = data.partition(PARTING)
    (folder / "x").write_bytes(included)
    (folder / "fuzz.conf").write_bytes(main)
    compiled = compile_file(folder / "fuzz.conf", HOST)
    assert (compiled.configuration is None) == (compiled.error_count > 0)
    for item in compiled.diagnostics:
        assert 1 <= item.span.line <= len(item.span.source.lines)
        shown = item.render().splitlines()
        assert len(shown) <= 6
        assert all(char.isprintable() or char == "\t" for line in shown for char in line if ord(char) < 0xA0)
        assert all(len(line) < 4 * LINE_SHOWN_MAX for line in shown[1:3])
    if compiled.configuration is not None:
        encoded = msgspec.msgpack.encode(compiled.configuration)
        assert msgspec.msgpack.decode(encoded, type=Configuration) == compiled.configuration
        _check_use(compiled.configuration)


def _check_use(configuration: Configuration) -> None:
    """What compiles can be used: rules are asked for recipients, listeners are what sessions begin with."""
    tables = Tables(configuration)
    for peer, user, has_tls in (("192.0.2.9", "", False), ("::1", "bob", True), (LOCAL_PEER, "", False)):
        facts = SessionFacts(
            "a", peer, bool(user), "joe@d.org", "client.test", user, has_tls, "mail.peer.test", peer == LOCAL_PEER
        )
        for rcpt in ("joe+tag@d.org", "postmaster", '"a/b"@[192.0.2.1]'):
            found = expand_rcpt(configuration, tables, facts, rcpt)
            assert (found.refusal is None) is bool(found.destinations)
    for listener in configuration.listeners:
        entrance = Entrance(configuration, tables, listener)
        assert entrance.name and entrance.name_at("192.0.2.1")
        assert all(encode_reply(line).isascii() for line in entrance.extensions)


def seeds() -> Sequence[bytes]:
    """Every recorded example of either form, good and bad."""
    files = sorted(EXAMPLES.glob("good/*/smtpd.conf")) + sorted(EXAMPLES.glob("bad/*/smtpd.conf"))
    files += sorted(EXAMPLES.glob("modern/*/*/smtpd.conf"))
    return [path.read_bytes() for path in files] + [b'include "x"\ntable t file:x' + PARTING + b"a: b\n"]
