"""What a listener of submission does to each message: its header is completed, its From made the sender's where the listener says so.

Decides for which listeners (port 587 and local sockets, as OpenSMTPD 7.8; masquerade wherever it is set); the edits are
mail.submission's. Made by entrance for the listeners that need it, called by content once per message, before our Received is put on.
"""

from dataclasses import dataclass

from smtpfleet.contracts.commands import CHUNK_BYTES
from smtpfleet.contracts.configuration import Listener
from smtpfleet.contracts.ids import new_token
from smtpfleet.contracts.status import S451_LOCAL_ERROR
from smtpfleet.mail.headers import header_block
from smtpfleet.mail.received import date_text
from smtpfleet.mail.submission import complete_message, replace_from
from smtpfleet.smtp_in.data import DataReader
from smtpfleet.smtp_in.reply import S552_HEADER_TOO_BIG
from smtpfleet.smtp_in.transaction import Origin, Transaction

SUBMISSION_PORT = 587
"""RFC 6409 §3.1."""
HEADER_LIMIT_BYTES = CHUNK_BYTES
"""A header that has not ended here is too big. As much as is sent ahead at once; what is held by then is more, unless memory is short."""


@dataclass(frozen=True, slots=True)
class Completion:
    """is_submission: headers are completed. is_masquerade: From names the sender of whoever is authenticated."""

    is_submission: bool
    is_masquerade: bool

    def apply(self, reader: DataReader, tx: Transaction, origin: Origin, now_s: float) -> None:
        """Edits the header of what `reader` holds; refuses a message whose header does not end in it."""
        content = reader.peek()
        if not reader.is_complete and len(header_block(content)) == len(content):
            # Less is looked at while memory is short; that is no fault of the message.
            is_all = len(content) >= HEADER_LIMIT_BYTES
            reader.refuse(S552_HEADER_TOO_BIG if is_all else S451_LOCAL_ERROR)
            return
        from_address = tx.sender if self.is_masquerade and origin.is_authenticated else ""
        if self.is_submission:
            content = complete_message(
                content,
                hostname=origin.smtpname,
                date_text=date_text(now_s),
                message_id=new_token(),
                from_address=from_address,
            )
        elif from_address:
            content = replace_from(content, from_address)
        reader.replace(content)


def completion_of(listener: Listener) -> Completion | None:
    """What is done to messages that come in there; None for nothing."""
    is_submission = listener.port == SUBMISSION_PORT or listener.address == "socket"
    return Completion(is_submission, listener.is_masquerade) if is_submission or listener.is_masquerade else None
