"""The mail configuration of a local fleet: root/etc with smtpd.conf, users and aliases, made for this machine.

Writes files and nothing else; config compiles them. Homes belong to whoever runs the fleet, because mda cannot become another user.
Called by fleet.py.
"""

import os
from pathlib import Path

DEMO_SINK_PORT = 2526
"""Where `make demo` listens as the next hop of relay.test; beside the fleet's own 2525."""

DEFAULT_TEXT = f"""\
# smtpd.conf of the local fleet, written by `make up` where there is none. Edit it: config follows the file.

table aliases file:@ETC@/aliases
table users file:@ETC@/users

listen on 127.0.0.1 port @SMTP_PORT@ hostname mx.example.test

accept from any for domain "example.test" alias <aliases> userbase <users> deliver to maildir "~/Maildir"

# where `make demo` relays to
accept from local for domain "relay.test" relay via "smtp://127.0.0.1:{DEMO_SINK_PORT}"

accept from local for any relay
"""
USERS_TEXT = """\
# user uid:gid:home
alice @UID@:@GID@:@MAIL@/alice
bob @UID@:@GID@:@MAIL@/bob
"""
ALIASES_TEXT = """\
postmaster: alice
both: alice, bob
"""


class MailConf:
    """The files in root/etc. A text that is given is written at every start; the default only where there is no file."""

    def __init__(self, root: Path, smtp_port: int, text: str = "") -> None:
        self.folder = root / "etc"
        self.path = self.folder / "smtpd.conf"
        self._text = text
        self._values = {
            "SMTP_PORT": str(smtp_port),
            "ETC": str(self.folder),
            "MAIL": str(root / "mail"),
            "UID": str(os.getuid()),
            "GID": str(os.getgid()),
        }
        self._mail = root / "mail"

    def write(self, text: str = "") -> None:
        """Make the folder, its files and the homes."""
        self._text = text or self._text
        self.folder.mkdir(parents=True, exist_ok=True)
        for user in ("alice", "bob"):
            (self._mail / user).mkdir(parents=True, exist_ok=True)
        for name, content in (("users", USERS_TEXT), ("aliases", ALIASES_TEXT)):
            if not (self.folder / name).exists():
                self._replace(self.folder / name, content)
        if self._text or not self.path.exists():
            self._replace(self.path, self._text or DEFAULT_TEXT)

    def filled(self, text: str) -> str:
        """`text` with the @NAMES@ of Fleet.config_text filled in."""
        for name, value in self._values.items():
            text = text.replace(f"@{name}@", value)
        return text

    def _replace(self, path: Path, text: str) -> None:
        # config may read at any moment: it sees the old file or the new one, never half
        partial = path.with_name(path.name + ".part")
        partial.write_text(self.filled(text))
        partial.replace(path)
