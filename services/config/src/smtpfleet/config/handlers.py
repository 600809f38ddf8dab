"""What config does with what it hears: one function per thing consumed. Decides nothing.

It answers for tables that are not in the snapshot (tables.server), and follows its own key like every role, to see what another replica
publishes. Bound by app.py.
"""

from collections.abc import Callable

from smtpfleet.config.explainer import Explainer
from smtpfleet.config.publisher import Publisher, digest_in, number_in
from smtpfleet.config.srs import SrsServer
from smtpfleet.config.tables.server import TableServer
from smtpfleet.contracts.commands import (
    ConfigurationVersion,
    ExplainQuery,
    ExplainReply,
    GoBack,
    GoBackReply,
    TableQuery,
    TableReply,
    VersionsQuery,
    VersionsReply,
)
from smtpfleet.contracts.configuration import Configuration
from smtpfleet.contracts.srs import SrsRestoreQuery, SrsRestoreReply, SrsRewriteQuery, SrsRewriteReply
from smtpfleet.contracts.wire import Malformed
from smtpfleet.mail.explain import query_fault
from smtpfleet.runtime import metrics
from smtpfleet.runtime.maillog import MailLog
from smtpfleet.runtime.snapshot import SnapshotFollower

_info = metrics.gauge("config_info", "1; the label is the version that is published", ("version",))


class ConfigHandlers:
    """own_version: of what this replica published last or found published as its own, "" before."""

    def __init__(
        self,
        log: MailLog,
        own_version: Callable[[], str],
        tables: TableServer,
        srs: SrsServer,
        explainer: Explainer,
        snapshot: SnapshotFollower,
        publisher: Publisher,
        errors: Callable[[], str],
    ) -> None:
        self._publisher = publisher
        self._errors = errors
        self._explainer = explainer
        self._snapshot = snapshot
        self._log = log
        self._own_version = own_version
        self._tables = tables
        self._srs = srs

    async def on_ruleset_explain(self, query: ExplainQuery) -> ExplainReply:
        """Under what the fleet runs, which need not be what this replica's files say."""
        if fault := query_fault(query):
            raise Malformed(fault)
        if not self._snapshot.has_snapshot:
            raise Malformed("no configuration is published yet")
        return await self._explainer.explain(self._snapshot.current, query)

    async def on_version_list(self, query: VersionsQuery) -> VersionsReply:
        """What is kept, and what is wrong with our files."""
        versions = [
            ConfigurationVersion(
                kept.version,
                kept.hostname,
                len(kept.rules),
                len(kept.listeners),
                len(kept.tables),
                kept.rolled_back_from,
            )
            for kept in await self._publisher.versions()
        ]
        return VersionsReply(versions, self._errors())

    async def on_version_restore(self, request: GoBack) -> GoBackReply:
        """Every replica, this one too, hears of it by the bucket."""
        done = await self._publisher.go_back(request.version)
        if done is None:
            return GoBackReply("")
        self._log.warning("went back to an earlier configuration", wanted=request.version, version=done.version)
        return GoBackReply(done.version)

    async def on_table_lookup(self, query: TableQuery) -> TableReply:
        """Anything but passwords."""
        return await self._tables.answer(query)

    async def on_auth_lookup(self, query: TableQuery) -> TableReply:
        """Passwords of our clients, for smtp-in."""
        return await self._tables.answer_auth(query)

    async def on_credentials_lookup(self, query: TableQuery) -> TableReply:
        """Our passwords at relays, for mta."""
        return await self._tables.answer_credentials(query)

    async def on_srs_rewrite(self, query: SrsRewriteQuery) -> SrsRewriteReply:
        """Senders of forwarded mail, for mta."""
        return self._srs.rewrite(query)

    async def on_srs_restore(self, query: SrsRestoreQuery) -> SrsRestoreReply:
        """Recipients of bounces, for smtp-in and queue."""
        return self._srs.restore(query)

    def on_configuration_published(self, configuration: Configuration) -> None:
        """Keeps the metric, and tells where another replica reads other files than this one."""
        _info.clear()
        _info.labels(configuration.version).set(1)
        own = self._own_version()
        is_newer = number_in(configuration.version) > number_in(own) > 0
        if is_newer and configuration.rolled_back_from == digest_in(own):
            self._log.warning(
                "gone back to an earlier configuration; our files wait for a change", version=configuration.version
            )
        elif is_newer and digest_in(configuration.version) != digest_in(own):
            # Left as it is: publishing ours again would make two replicas with different files fight for ever.
            self._log.warning(
                "another replica published a configuration that differs from our files",
                version=configuration.version,
                ours=own,
            )
