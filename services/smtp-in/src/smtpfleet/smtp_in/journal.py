"""What operators get to know of sessions and messages: log lines, counts and the event of acceptance.

OpenSMTPD's lines (`SESSION smtp message msgid=…`), formatted here without the general path where they come thousands of times a second.
Addresses are quoted by maillog.quote, so nothing a peer says can look like another field or line. Called by session and server.
"""

from collections.abc import Callable

from smtpfleet.contracts.events import AcceptedEvents, MessageAccepted
from smtpfleet.contracts.ids import evpid_of
from smtpfleet.contracts.status import Status
from smtpfleet.runtime import metrics
from smtpfleet.runtime.maillog import MailLog, quote
from smtpfleet.smtp_in.transaction import Origin, Transaction

LOGGED_LINE_BYTES = 200
"""How much of a refused command the log repeats; chosen."""

_sessions = metrics.counter("smtp_sessions", "Sessions begun")
_messages = metrics.counter("smtp_messages", "Messages accepted")
_rcpts = metrics.counter("smtp_rcpts", "Recipients of accepted messages")
_bytes = metrics.counter("smtp_message_bytes", "Bytes of accepted messages")
_refused = metrics.counter("smtp_refused", "Refusals sent, by reply code", ("code",))


class FactLog:
    """The journal of one process (entrance.Journal)."""

    def __init__(self, log: MailLog, publish: Callable[[AcceptedEvents], None], now_s: Callable[[], float]) -> None:
        self._log = log
        self._publish = publish
        self._now_s = now_s
        self._accepted: list[MessageAccepted] = []

    def note_connected(self, session_id: str, peer: str, hostname: str) -> None:
        """A session has begun."""
        _sessions.inc()
        self._log.line(f"{session_id} smtp connected address={quote(peer)} host={quote(hostname)}")

    def note_disconnected(self, session_id: str, reason: str) -> None:
        """It has ended."""
        self._log.line(f"{session_id} smtp disconnected reason={reason}")

    def note_failed_command(self, session_id: str, line: bytes, status: Status, detail: str) -> None:
        """A command was refused."""
        _refused.labels(str(status.code)).inc()
        command = line[:LOGGED_LINE_BYTES].rstrip(b"\r\n").decode("ascii", "backslashreplace")
        fields = {"command": command, "result": status.line}
        if detail:
            fields["detail"] = detail
        self._log.fact(session_id, "smtp failed-command", **fields)

    def note_tls(self, session_id: str, text: str) -> None:
        """The session is encrypted."""
        self._log.line(f"{session_id} smtp tls ciphers={quote(text)}")

    def note_tls_failed(self, session_id: str, peer: str, reason: str) -> None:
        """The handshake of a STARTTLS came to nothing."""
        self._log.fact(session_id, "smtp tls-failed", address=peer, reason=reason)

    def note_turned_back(self, peer: str, reason: str) -> None:
        """A connection did not become a session."""
        self._log.fact("-", "smtp turned-back", address=peer, reason=reason)

    def note_authentication(self, session_id: str, peer: str, user: str, mechanism: str, result: str) -> None:
        """Somebody tried to authenticate; result: ok | failed | temporary | banned."""
        self._log.fact(session_id, "smtp authentication", user=user, address=peer, mechanism=mechanism, result=result)

    def note_refused_message(self, session_id: str, msgid: str, status: Status) -> None:
        """A message was refused after its content."""
        _refused.labels(str(status.code)).inc()
        self._log.fact(session_id, "smtp refused-message", msgid=msgid, result=status.line)

    def note_accepted_message(self, session_id: str, origin: Origin, tx: Transaction) -> None:
        """250 goes out for this transaction."""
        msgid, rcpt_count = tx.msgid, len(tx.rcpts)
        user = f" user={quote(origin.user)}" if origin.user else ""
        sender = f"from={quote(f'<{tx.sender}>')}"
        lines = [
            f"{session_id} smtp message msgid={msgid} size={tx.size_bytes} nrcpt={rcpt_count} proto={origin.protocol}{user}"
        ]
        for number, (_, destination) in enumerate(tx.destinations, 1):
            to = quote(f"<{destination.dest}>")
            lines.append(f"{session_id} smtp envelope evpid={evpid_of(msgid, number)} {sender} to={to}")
        self._log.lines(lines)
        self._accepted.append(
            MessageAccepted(
                msgid,
                session_id,
                tx.sender,
                rcpt_count,
                tx.size_bytes,
                origin.peer,
                int(self._now_s() * 1000),
                origin.user,
            )
        )

    def publish_accepted(self) -> None:
        """Announces and counts what was accepted since the last time."""
        events, self._accepted = self._accepted, []
        if events:
            _messages.inc(len(events))
            _rcpts.inc(sum([event.rcpt_count for event in events]))
            _bytes.inc(sum([event.size_bytes for event in events]))
            self._publish(AcceptedEvents(events))
