"""From a rule's action to the dispatcher of an envelope.

Pure copying and choosing: which fields of the action an envelope carries, what a relay URL decides, who a delivery runs as. Called by
walk. OpenSMTPD: lka_session.c lka_submit; mta.c mta_relay.
"""

from smtpfleet.contracts.configuration import ExpandAction, LocalAction, RelayAction
from smtpfleet.contracts.envelope import LocalDispatcher, RemoteDispatcher
from smtpfleet.mail.address import Mailbox, split_address
from smtpfleet.mail.aliases import TargetKind
from smtpfleet.mail.relay_url import BadRelayUrl, RelayUrl, parse_modern_relay

PROGRAM_USER = "_smtpd"
"""Commands and files named by a table are delivered as this user of the rule's userbase (OpenSMTPD SMTPD_USER)."""

_TLS_DEMANDED = ("require", "smtps")


def local_dispatcher(action: LocalAction, user: str) -> LocalDispatcher:
    """The rule's own delivery, for `user` or for the one user of the action."""
    return LocalDispatcher(
        action.method,
        action.target,
        action.user or user,
        action.userbase,
        action.wrapper,
        action.is_junk,
        action.is_rcpt_to,
    )


def program_user(action: LocalAction | ExpandAction, owner: str) -> str:
    """As whom a command or file runs. owner: whose `.forward` names it, "" for a table; a user's own word gives no other rights than
    his. For tables the action's user goes before _smtpd, so an operator can give a rule a user with no other rights."""
    return owner or (action.user if isinstance(action, LocalAction) else "") or PROGRAM_USER


def program_dispatcher(kind: TargetKind, target: str, action: LocalAction | ExpandAction, user: str) -> LocalDispatcher:
    """Delivery by a command or to a file that a table or a `.forward` names."""
    if kind is TargetKind.FILE:
        return LocalDispatcher("file", target, user, action.userbase)
    return LocalDispatcher(
        "mda", target, user, action.userbase, action.wrapper if isinstance(action, LocalAction) else ""
    )


def remote_dispatcher(action: RelayAction, dest: Mailbox) -> RemoteDispatcher:
    """The relay that takes mail for `dest`: the action's host, or the destination's domain in lower case."""
    return RemoteDispatcher(
        action.host or dest.domain.lower(),
        bool(action.host),
        action.port,
        action.tls,
        action.verify,
        action.auth,
        action.source,
        action.helo,
        action.pki,
        action.backup,
        action.helo_source,
        action.ca,
        "",
        action.is_lmtp,
        action.is_srs,
        action.ciphers,
        action.protocols,
    )


def relay_by_entry(action: RelayAction, text: str) -> RemoteDispatcher | str:
    """The relay that an entry of the action's table names, or why the action cannot use it."""
    url = parse_modern_relay(text)
    if isinstance(url, BadRelayUrl):
        return url.reason
    if url.label and not action.auth:
        return "a label, but the action has no auth"
    if url.scheme.tls == "none" and action.tls in _TLS_DEMANDED:
        return "it forbids TLS, which the action demands"
    return _relay_by_url(action, url)


def may_be_of(action: RelayAction, dispatcher: RemoteDispatcher) -> bool:
    """Whether the dispatcher may have been made of an entry of this action's list of relays, by all that is not the entry's."""
    is_weaker = action.tls in _TLS_DEMANDED and dispatcher.tls in ("opportunistic", "none")
    return bool(dispatcher.hosts) and not is_weaker and _options(action) == _options(dispatcher)


def _options(of: RelayAction | RemoteDispatcher) -> tuple[object, ...]:
    return (
        of.hosts, of.source, of.helo, of.pki, of.backup, of.helo_source, of.ca, of.is_srs, of.ciphers, of.protocols
    )  # fmt: skip


def _relay_by_url(action: RelayAction, url: RelayUrl) -> RemoteDispatcher:
    """hosts: the table it was taken from in turn, so that mta may take another when this one fails."""
    tls = url.scheme.tls
    if tls == "opportunistic" and action.tls in _TLS_DEMANDED:
        tls = "require"  # `relay host <table> tls` asks for more than the URL
    return RemoteDispatcher(
        url.host,
        True,
        url.port,
        tls,
        # Opportunistic TLS has nothing to verify: it would go on in clear if it could not (reference 12).
        action.verify and tls not in ("opportunistic", "none"),
        f"{action.auth}:{url.label}" if url.label else "",
        action.source,
        action.helo,
        action.pki,
        action.backup,
        action.helo_source,
        action.ca,
        action.hosts,
        url.scheme.is_lmtp or action.is_lmtp,
        action.is_srs,
        action.ciphers,
        action.protocols,
    )


def rewrite_sender(sender: str, action: RelayAction, hostname: str) -> str:
    """The sender after `relay as`; a null sender stays null, for it marks a bounce."""
    if not action.mail_from or not sender:
        return sender
    user, at, domain = action.mail_from.rpartition("@")
    if not at:
        return f"{action.mail_from}@{hostname}"
    return f"{user or split_address(sender).user}@{domain}"
