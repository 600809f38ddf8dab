"""One function per subject queue answers; decides nothing, checks the form of ids because they become part of keys."""

from smtpfleet.contracts import commands as c
from smtpfleet.contracts import ids, subjects
from smtpfleet.contracts.wire import Malformed
from smtpfleet.queue.chunks import Chunks
from smtpfleet.queue.committer import Committer
from smtpfleet.queue.loader import Loader
from smtpfleet.queue.results import Results
from smtpfleet.queue.views import Views
from smtpfleet.runtime.bus import Bus


def _check_msgid(msgid: str, token: str = "0" * ids.MSGID_LENGTH) -> None:
    if not ids.is_msgid(msgid) or not ids.is_msgid(token):
        raise Malformed("msgid or token is not 16 hex digits")


def _check_evpids(evpids: list[str]) -> None:
    if not all(map(ids.is_evpid, evpids)):
        raise Malformed("an evpid is not 24 hex digits")


class Handlers:
    """The role's subjects."""

    def __init__(self, committer: Committer, chunks: Chunks, loader: Loader, results: Results, views: Views) -> None:
        self._committer = committer
        self._chunks = chunks
        self._loader = loader
        self._results = results
        self._views = views

    async def bind(self, bus: Bus) -> None:
        """Begins to answer."""
        await bus.serve(subjects.QUEUE_CONTENT_APPEND, self.on_content_append)
        await bus.serve(subjects.QUEUE_CONTENT_DROP, self.on_content_drop)
        await bus.serve(subjects.QUEUE_CONTENT_READ, self.on_content_read)
        await bus.serve(subjects.QUEUE_ENVELOPE_LOAD, self.on_envelope_load, direct=True)
        await bus.serve(subjects.QUEUE_ENVELOPE_RESULT, self.on_envelope_result)
        await bus.serve(subjects.QUEUE_SUMMARY_SHOW, self.on_summary_show)
        await bus.serve(subjects.QUEUE_MESSAGE_SHOW, self.on_message_show)
        await bus.serve(subjects.QUEUE_ENVELOPE_SHOW, self.on_envelope_show)
        await bus.serve(subjects.QUEUE_MESSAGE_COMMIT, self.on_message_commit)

    async def on_message_commit(self, request: c.CommitMessages) -> c.CommitReply:
        for message in request.messages:
            _check_msgid(message.msgid, message.token)
            if not message.envelopes or any(ids.msgid_of(e.evpid) != message.msgid for e in message.envelopes):
                raise Malformed("a message without envelopes, or with another's")
            _check_evpids([envelope.evpid for envelope in message.envelopes])
        return c.CommitReply(await self._committer.commit(request.messages))

    async def on_content_append(self, request: c.AppendContent) -> c.AppendReply:
        _check_msgid(request.msgid, request.token)
        return c.AppendReply(await self._chunks.append(request))

    async def on_content_drop(self, request: c.DropContent) -> c.Done:
        _check_msgid(request.msgid, request.token)
        await self._chunks.drop(request)
        return c.Done()

    async def on_content_read(self, request: c.ReadContent) -> c.ContentChunk:
        _check_msgid(request.msgid)
        return await self._chunks.read(request)

    async def on_envelope_load(self, request: c.LoadEnvelopes) -> c.LoadReply:
        _check_evpids(request.evpids)
        return await self._loader.load(request)

    async def on_envelope_result(self, request: c.ReportOutcomes) -> c.ReportReply:
        _check_evpids([outcome.evpid for outcome in request.outcomes])
        return c.ReportReply(await self._results.report(request))

    async def on_summary_show(self, request: c.QueueQuery) -> c.QueueSummary:
        return await self._views.summary()

    async def on_message_show(self, request: c.MessageQuery) -> c.MessageView:
        _check_msgid(request.msgid)
        return await self._views.message(request.msgid)

    async def on_envelope_show(self, request: c.EnvelopeQuery) -> c.MessageView:
        _check_evpids([request.evpid])
        return await self._views.envelope(request.evpid)
