"""How much futility a session may show before we close: failed commands in a row, idle commands, rejected recipients.

Counts only; session says what happened and ends the conversation when told to. How much is too much is the configuration's (`limit session`);
idle are also second greetings and chunks too small to lead anywhere (bdat.SMALL_CHUNK_BYTES). OpenSMTPD 5.4.1 closes after 4 commands
without progress, which a peer that pipelines exceeds in good faith (docs/parity.md).
"""

from smtpfleet.contracts.configuration import Limits
from smtpfleet.contracts.status import Status
from smtpfleet.smtp_in.command import Command
from smtpfleet.smtp_in.reply import S421_TOO_MANY_FAILURES, S421_TOO_MANY_IDLE_COMMANDS

_IDLE_COMMANDS = frozenset({Command.NOOP, Command.RSET, Command.HELP, Command.VRFY, Command.EXPN})
_FOLLOWING_MAIL = frozenset({Command.RCPT, Command.DATA, Command.BDAT})

_SYNTAX_CODES = frozenset({500, 501, 555})
SPARED_PER_RCPT = 10
"""Refusals that are not counted before the next message is, by recipients a message may have: more than any list that a client pipelines in
good faith, and an end to a peer that pipelines refused commands for ever. Chosen."""


class Patience:
    """The counts of one session."""

    __slots__ = ("_failed_count", "_idle_count", "_is_mail_refused", "_limits", "_rejected_count", "_spared_count")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._failed_count = 0
        self._idle_count = 0
        self._rejected_count = 0
        self._spared_count = 0
        self._is_mail_refused = False

    def note_ok(self, command: Command) -> Status | None:
        """A command was obeyed. Returns what to close with, or None."""
        if command in _IDLE_COMMANDS:
            return self.note_idle()
        self._failed_count = 0
        self._is_mail_refused = self._is_mail_refused and command is not Command.MAIL
        return None

    def note_idle(self) -> Status | None:
        """Something was done that leads nowhere. Returns what to close with, or None."""
        self._idle_count += 1
        limit = self._limits.max_idle_commands
        return S421_TOO_MANY_IDLE_COMMANDS if limit and self._idle_count > limit else None

    def note_failed(self, command: Command, status: Status, *, is_in_transaction: bool) -> Status | None:
        """A command was refused. Returns what to close with, or None.

        A peer that pipelines MAIL, a thousand RCPT and DATA cannot know that MAIL was refused, nor that no recipient was accepted:
        what follows from the first refusal is not counted, within reason. Rejected recipients are counted by themselves.
        """
        if command is Command.MAIL:
            self._is_mail_refused = True
        elif command in _FOLLOWING_MAIL:
            is_syntax = status.code in _SYNTAX_CODES
            if self._is_mail_refused or (is_in_transaction and not is_syntax):
                self._spared_count += 1
                if self._spared_count <= SPARED_PER_RCPT * self._limits.max_rcpt:
                    return None
        self._failed_count += 1
        limit = self._limits.max_failed_commands
        return S421_TOO_MANY_FAILURES if limit and self._failed_count >= limit else None

    def note_rejected_rcpt(self) -> bool:
        """A recipient was rejected for good. Returns whether that was one too many."""
        self._rejected_count += 1
        return 0 < self._limits.max_rejected_rcpts <= self._rejected_count

    def note_message(self) -> None:
        """A message was accepted: all is forgiven, rejected recipients aside."""
        self._idle_count = self._failed_count = self._spared_count = 0
