"""The mail configuration of a local fleet: root/etc with smtpd.conf, users and aliases, made for this machine.

Writes files and nothing else; config compiles them. Homes belong to whoever runs the fleet, because mda cannot become another user.
Called by fleet.py.
"""

import os
import re
from pathlib import Path

DEMO_SINK_PORT = 2526
"""Where `make demo` listens as the next hop of relay.test; beside the fleet's own 2525."""

DEFAULT_TEXT = f"""\
# smtpd.conf of the local fleet, written by `make up`. Edit it: config follows the file, and `make up` then leaves it alone.

table aliases file:@ETC@/aliases
table users file:@ETC@/users

listen on 127.0.0.1 port @SMTP_PORT@ hostname mx.example.test

accept from any for domain "example.test" alias <aliases> userbase <users> deliver to maildir "~/Maildir"

# where `make demo` relays to
accept from local for domain "relay.test" relay via "smtp://127.0.0.1:{DEMO_SINK_PORT}"

accept from local for any relay
"""
USERS = ("alice", "bob")
ALIASES_TEXT = """\
postmaster: alice
both: alice, bob
"""

_LISTEN = re.compile(r"^\s*listen\s+on\s+\S+\s+port\s+(\d+)", re.MULTILINE)


class MailConf:
    """The files in root/etc.

    A text that is given is written at every start. The defaults are written anew as long as nobody has edited them, so that other
    ports, another uid or another place of `root` find their way in; what an operator has edited is left alone.
    """

    def __init__(self, root: Path, smtp_port: int, text: str = "") -> None:
        self.folder = root / "etc"
        self.path = self.folder / "smtpd.conf"
        self._text = text
        self._mail = root / "mail"
        self._values = {
            "SMTP_PORT": str(smtp_port),
            "ETC": str(self.folder),
            "MAIL": str(self._mail),
            "UID": str(os.getuid()),
            "GID": str(os.getgid()),
        }

    def write(self, text: str = "") -> None:
        """Make the folder, its files and the homes."""
        self._text = text or self._text
        self.folder.mkdir(parents=True, exist_ok=True)
        for user in USERS:
            (self._mail / user).mkdir(parents=True, exist_ok=True)
        self._write_default("users", "".join(f"{user} @UID@:@GID@:@MAIL@/{user}\n" for user in USERS))
        self._write_default("aliases", ALIASES_TEXT)
        if self._text:
            _replace(self.path, self.filled(self._text))
        else:
            self._write_default("smtpd.conf", DEFAULT_TEXT)

    def filled(self, text: str) -> str:
        """`text` with the @NAMES@ of Fleet.config_text filled in."""
        for name, value in self._values.items():
            text = text.replace(f"@{name}@", value)
        return text

    def listen_ports(self) -> list[int]:
        """The ports of the `listen` lines as they stand in the file now."""
        return [int(port) for port in _LISTEN.findall(self.path.read_text())]

    def _write_default(self, name: str, text: str) -> None:
        path, as_written = self.folder / name, self.folder / f".{name}.default"
        if path.exists() and (not as_written.exists() or path.read_bytes() != as_written.read_bytes()):
            return
        # Killed between the two: the file differs from its note and counts as edited, which loses nothing.
        _replace(path, self.filled(text))
        _replace(as_written, self.filled(text))


def _replace(path: Path, text: str) -> None:
    # config may read at any moment: it sees the old file or the new one, never half
    partial = path.with_name(path.name + ".part")
    partial.write_text(text)
    partial.replace(path)
