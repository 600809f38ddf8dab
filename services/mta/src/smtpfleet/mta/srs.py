"""Senders of forwarded mail, rewritten by config before the transactions of a message are made up (mail.srs).

Owns whose sender is rewritten and what becomes of a message whose sender cannot be: it waits, or it fails for good where no attempt could
be better; it is never sent unrewritten. A sender is rewritten at each attempt, so its age counts from then, and the queue keeps the
original, to whom our own bounces go. Used by connector.py. OpenSMTPD: mta_session.c before MAIL, of the first recipient's domain alone.
"""

import msgspec

from smtpfleet.contracts.commands import LoadedMessage
from smtpfleet.contracts.configuration import Configuration
from smtpfleet.contracts.envelope import Envelope, RemoteDispatcher
from smtpfleet.contracts.status import Status
from smtpfleet.mail.srs import rewrite_domain
from smtpfleet.runtime.maillog import MailLog
from smtpfleet.runtime.srs_client import SrsClient, SrsUnavailable

S451_NOT_REWRITTEN = Status(451, "4.3.0", "Could not rewrite sender")
S553_TOO_LONG = Status(553, "5.1.7", "Sender too long to be rewritten")

Failed = list[tuple[Envelope, Status]]


class SenderRewriter:
    """One question per message, and none for a message that was not forwarded by an action with srs."""

    def __init__(self, client: SrsClient, log: MailLog) -> None:
        self._client = client
        self._log = log

    async def rewrite(self, message: LoadedMessage, configuration: Configuration) -> tuple[LoadedMessage, Failed]:
        """The message with the envelopes that can be sent, their senders as MAIL is to say them; and those that cannot, with the reason."""
        wanted = {
            envelope.evpid: (envelope.sender, domain)
            for envelope in message.envelopes
            if (domain := _domain_for(envelope, configuration.hostname))
        }
        if not wanted:
            return message, []
        senders = list(dict.fromkeys(wanted.values()))
        fault = S553_TOO_LONG
        try:
            rewritten = dict(zip(senders, await self._client.rewrite(senders), strict=True))
        except SrsUnavailable as error:
            self._log.warning("sender not rewritten", msgid=message.msgid, reason=error)
            rewritten, fault = {}, S451_NOT_REWRITTEN
        envelopes, failed = [], []
        for envelope in message.envelopes:
            sender: str | None = envelope.sender
            if envelope.evpid in wanted:
                sender = rewritten.get(wanted[envelope.evpid])
            if sender is None:
                failed.append((envelope, fault))
            else:
                envelopes.append(msgspec.structs.replace(envelope, sender=sender))
        return msgspec.structs.replace(message, envelopes=envelopes), failed


def _domain_for(envelope: Envelope, hostname: str) -> str:
    """The domain to rewrite the sender in, "" where it stays."""
    if not isinstance(envelope.dispatcher, RemoteDispatcher) or not envelope.dispatcher.is_srs:
        return ""
    return rewrite_domain(envelope.sender, envelope.rcpt, envelope.dest, hostname)
