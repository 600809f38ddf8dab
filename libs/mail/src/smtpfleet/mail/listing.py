"""Queued envelopes as lines of text, in the forms `smtpctl show queue` and `smtpctl show envelope` have, for scripts that read those.

Owns the two forms and nothing else; the JSON of the REST API says more. Ids are longer than OpenSMTPD's, everything else is where its
readers expect it. Called by admin. OpenSMTPD 5.4.1: smtpctl.c show_queue_envelope, envelope.c envelope_dump_buffer (reference 5.4, 10.1).
"""

from collections.abc import Iterator

from smtpfleet.contracts.commands import EnvelopeState, EnvelopeView
from smtpfleet.contracts.envelope import (
    DsnNotify,
    Envelope,
    EnvelopeFlag,
    LocalDispatcher,
    RemoteDispatcher,
    agent_of,
)

FORMAT_VERSION = 2
"""OpenSMTPD SMTPD_ENVELOPE_VERSION of 5.4."""
NULL_SENDER = "@"
"""How smtpctl prints it: user and domain are empty, the at sign is always there."""

_SHORT_FLAGS = {EnvelopeFlag.BOUNCE: "bounce", EnvelopeFlag.AUTHENTICATED: "auth", EnvelopeFlag.INTERNAL: "internal"}
_LONG_FLAGS = {
    EnvelopeFlag.AUTHENTICATED: "authenticated",
    EnvelopeFlag.BOUNCE: "bounce",
    EnvelopeFlag.INTERNAL: "internal",
}
_SCHEMES = {"none": "smtp", "opportunistic": "smtp+tls", "require": "tls", "smtps": "smtps", "secure": "secure"}
"""Of 5.4.1 (reference 1.6), also for what the modern form says in other words."""


def queue_line(view: EnvelopeView, now_ms: int) -> str:
    """An envelope as a line of `show queue`: fourteen fields between bars, the last of which may itself hold bars.

    A bar in an address is written `\\174`, as vis(3) would. Times are epoch seconds; the thirteenth field is the seconds until the next
    attempt, which may be negative, and empty unless the envelope is pending. What cannot be read is `invalid`, with the reason at the end.
    """
    envelope = view.envelope
    if envelope is None:
        state = "pending" if view.state is EnvelopeState.PENDING else "invalid"
        return "|".join([view.evpid, *[""] * 10, state, "", view.reason])
    kind = "bounce" if view.state is EnvelopeState.BOUNCING else agent_of(envelope.dispatcher)
    state, seconds = _progress(view, now_ms)
    fields = (
        view.evpid,
        _family(envelope.peer),
        kind,
        ",".join(_flag_names(_SHORT_FLAGS, envelope.flags)),
        *(_field(address) for address in (envelope.sender or NULL_SENDER, envelope.rcpt, envelope.dest)),
        str(envelope.created_at_ms // 1000),
        str(envelope.expires_at_ms // 1000),
        str(envelope.last_try_at_ms // 1000),
        str(envelope.retry),
        state,
        seconds,
        view.reason or envelope.error_line,
    )
    return "|".join(fields)


def envelope_text(envelope: Envelope) -> str:
    """An envelope as `show envelope` prints it: `name: value` lines in the order of an envelope file, empty texts left out.

    mta-relay-cert is the name of a pki. The dsn lines are those of 7.8, which 5.4.1 had not.
    """
    return "".join(f"{name}: {value}\n" for name, value in _lines(envelope) if value != "")


def _lines(envelope: Envelope) -> Iterator[tuple[str, str | int]]:
    yield "version", FORMAT_VERSION
    yield "tag", envelope.tag
    yield "type", agent_of(envelope.dispatcher)
    yield "smtpname", envelope.smtpname
    yield "helo", envelope.helo
    yield "hostname", envelope.hostname
    yield "errorline", envelope.error_line
    yield "sockaddr", f"IPv6:{envelope.peer}" if _family(envelope.peer) == "inet6" else envelope.peer
    yield "sender", envelope.sender
    yield "rcpt", envelope.rcpt
    yield "dest", envelope.dest
    yield "ctime", envelope.created_at_ms // 1000
    yield "last-try", envelope.last_try_at_ms // 1000
    yield "last-bounce", envelope.last_bounce_at_ms // 1000
    yield "expire", envelope.expire_s
    yield "retry", envelope.retry
    yield "flags", " ".join(_flag_names(_LONG_FLAGS, envelope.flags))
    yield "dsn-notify", ",".join(flag.name for flag in DsnNotify if flag.name and envelope.dsn_notify & flag)
    yield "dsn-ret", envelope.dsn_ret
    yield "dsn-envid", envelope.dsn_envid
    yield "dsn-orcpt", envelope.dsn_orcpt
    if isinstance(envelope.dispatcher, LocalDispatcher):
        yield from _local_lines(envelope.dispatcher)
    else:
        yield from _remote_lines(envelope.dispatcher)


def _local_lines(dispatcher: LocalDispatcher) -> Iterator[tuple[str, str]]:
    yield "mda-buffer", dispatcher.target
    yield "mda-method", "filename" if dispatcher.method == "file" else dispatcher.method
    yield "mda-user", dispatcher.user
    yield "mda-usertable", dispatcher.userbase


def _remote_lines(dispatcher: RemoteDispatcher) -> Iterator[tuple[str, str]]:
    table, label = dispatcher.login
    if dispatcher.is_host:
        scheme = "lmtp" if dispatcher.is_lmtp else _SCHEMES[dispatcher.tls]
        port = f":{dispatcher.port}" if dispatcher.port else ""
        login, at = ("+auth", f"{label}@") if label else ("", "")
        yield "mta-relay", f"{scheme}{login}://{at}{dispatcher.domain}{port}"
    yield "mta-relay-auth", table
    yield "mta-relay-cert", dispatcher.pki
    is_tls_asked = not dispatcher.is_host and dispatcher.tls == "require"
    yield "mta-relay-flags", " ".join(["verify"] * dispatcher.verify + ["tls"] * is_tls_asked)
    yield "mta-relay-heloname", dispatcher.helo
    yield "mta-relay-helotable", dispatcher.helo_source
    yield "mta-relay-source", dispatcher.source


def _progress(view: EnvelopeView, now_ms: int) -> tuple[str, str]:
    if view.state is EnvelopeState.PENDING:
        return "pending", str((view.due_at_ms - now_ms) // 1000)
    if view.state is EnvelopeState.BOUNCING:
        return "pending", "0"
    return ("inflight" if view.state is EnvelopeState.INFLIGHT else "invalid"), ""


def _family(peer: str) -> str:
    if ":" in peer:
        return "inet6"
    return "inet4" if peer[:1].isdigit() else "local"


def _flag_names(names: dict[EnvelopeFlag, str], flags: int) -> list[str]:
    return [name for flag, name in names.items() if flags & flag]


def _field(address: str) -> str:
    return address.replace("|", "\\174")
