"""One transaction, MAIL to end of data: sender, accepted destinations, content, and the message made of them.

Pure; knows no state of the session and no bus. Called by session. OpenSMTPD: struct smtp_tx; the Received header is written first in
the message (reference 4.7), so a message that must draw another msgid is built anew.
"""

from msgspec import Struct

from smtpfleet.contracts.commands import AppendContent, CommitMessage, DropContent, TableQuery
from smtpfleet.contracts.envelope import Envelope, EnvelopeFlag
from smtpfleet.contracts.ids import evpid_of, new_msgid, new_token
from smtpfleet.mail.expand import Destination
from smtpfleet.mail.rcpt_parameters import RcptArgs
from smtpfleet.mail.received import received_header
from smtpfleet.mail.ruleset import SessionFacts
from smtpfleet.smtp_in.access_request import AccessRequest
from smtpfleet.smtp_in.data import DataReader
from smtpfleet.smtp_in.expansions import Unresolved
from smtpfleet.smtp_in.notification import Notification

Request = CommitMessage | AppendContent | DropContent | AccessRequest | Unresolved | TableQuery
"""What a session asks of queue, about access, about a recipient, or of config about a sender."""


class Origin(Struct, frozen=True):
    """What every message of a session has in common, from HELO on.

    protocol: SMTP or ESMTP, with S under TLS and A where authenticated (RFC 3848). tls: as TlsFacts.text, "" without. user: who
    authenticated, "" for nobody. is_masked: Received does not tell the peer. shows_user: it tells the user.
    """

    tag: str
    helo: str
    hostname: str
    peer: str
    smtpname: str
    protocol: str
    tls: str = ""
    user: str = ""
    is_authenticated: bool = False
    is_masked: bool = False
    shows_user: bool = False


class Transaction(Struct, eq=False):
    """The open transaction of a session.

    destinations: accepted, each with the rcpt it came from. chunk_count: chunks already sent ahead; chunk: the one on its way.
    sent_bytes: of all chunks. is_utf8: MAIL had SMTPUTF8; has_utf8_header: and it was needed for more than
    addresses. notification: what was asked to be reported, None for nothing.
    """

    facts: SessionFacts
    sender: str
    msgid: str
    token: str
    rcpts: list[str] = []
    destinations: list[tuple[str, Destination]] = []
    reader: DataReader | None = None
    content: bytes = b""
    chunk: bytes = b""
    chunk_count: int = 0
    sent_bytes: int = 0
    size_bytes: int = 0
    header_bytes: int = 0
    id_count: int = 1
    is_utf8: bool = False
    has_utf8_header: bool = False
    notification: Notification | None = None

    def draw_id(self, now_ms: int) -> None:
        """Another msgid and token, because the first msgid is taken."""
        self.msgid = new_msgid(now_ms)
        self.token = new_token()
        self.id_count += 1

    def received(self, origin: Origin, date_text: str) -> bytes:
        """The Received header for the present msgid; all are of one length."""
        header = received_header(
            helo=origin.helo,
            hostname=origin.hostname,
            peer=origin.peer,
            smtpname=origin.smtpname,
            # RFC 6531 §4.3.
            protocol=f"UTF8SMTP{origin.protocol[5:]}" if self.is_utf8 else origin.protocol,
            msgid=self.msgid,
            rcpt=self.rcpts[0] if len(self.rcpts) == 1 and self.rcpts[0].isascii() else "",
            date_text=date_text,
            tls=origin.tls,
            user=origin.user if origin.shows_user else "",
            is_masked=origin.is_masked,
        )
        self.header_bytes = len(header)
        return header

    def note_asked(self, args: RcptArgs, count: int) -> None:
        """`args` asks for reports; `count` destinations of this rcpt are about to be added."""
        if self.notification is None:
            self.notification = Notification()
        self.notification.note_rcpt(args, len(self.destinations) + 1, count)

    def append_request(self) -> AppendContent:
        """The chunk on its way, to be stored."""
        return AppendContent(self.msgid, self.token, self.chunk_count, self.chunk)

    def drop_request(self) -> DropContent:
        """The chunks sent ahead, to be forgotten."""
        return DropContent(self.msgid, self.token)

    def commit_request(self, origin: Origin) -> CommitMessage:
        """The whole message, to be made durable. created_at_ms is queue's to set."""
        self.size_bytes = self.sent_bytes + len(self.content)
        return CommitMessage(
            self.msgid, self.token, self.size_bytes, self.content, self.chunk_count, self._envelopes(origin)
        )

    def _envelopes(self, origin: Origin) -> list[Envelope]:
        flags = int(EnvelopeFlag.AUTHENTICATED) if origin.is_authenticated else 0
        if self.has_utf8_header:
            flags |= EnvelopeFlag.SMTPUTF8
        envelopes = [
            Envelope(
                evpid=evpid_of(self.msgid, number),
                sender=destination.sender,
                rcpt=rcpt,
                dest=destination.dest,
                dispatcher=destination.dispatcher,
                tag=origin.tag,
                helo=origin.helo,
                hostname=origin.hostname,
                peer=origin.peer,
                smtpname=origin.smtpname,
                created_at_ms=0,
                expire_s=destination.expire_s,
                flags=flags,
            )
            for number, (rcpt, destination) in enumerate(self.destinations, 1)
        ]
        return envelopes if self.notification is None else self.notification.applied(envelopes)
