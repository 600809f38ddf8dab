"""A fixed host and a short way to compile a text, for all tests of the configuration language."""

from collections.abc import Mapping
from pathlib import Path

from smtpfleet.config.language.compilation import Compilation, compile_file
from smtpfleet.config.language.host import Host

_NAMES = {"mail.example.test": ("192.0.2.25", "2001:db8::25")}

HOST = Host(
    server_name="mx.example.test",
    name_fault="",
    local_addresses=("127.0.0.1", "192.0.2.1", "2001:db8::1", "::1"),
    interfaces=(("eth0", "192.0.2.1"), ("eth0", "2001:db8::1"), ("lo0", "127.0.0.1"), ("lo0", "::1")),
    resolve=lambda name: _NAMES.get(name, ()),
)

RULE = "accept for any relay\n"
"""A file without a rule is wrong for that alone."""
LISTENER = "listen on 127.0.0.1\n"


def compile_text(folder: Path, text: str, *, macros: Mapping[str, str] | None = None, root: str = "") -> Compilation:
    """Compiles `text` as folder/smtpd.conf."""
    main = folder / "smtpd.conf"
    main.write_text(text)
    return compile_file(main, HOST, root=root, macros=macros)


def headlines(compiled: Compilation) -> list[str]:
    """`LINE:COLUMN: message` of every diagnostic."""
    return [item.headline.split("smtpd.conf:", 1)[-1] for item in compiled.diagnostics]
