"""The text forms of smtpctl (reference 5.4, 10.1); the samples of 13.4 are in tests/unit/reference."""

import pytest
from msgspec.structs import replace

from smtpfleet.contracts.commands import EnvelopeState, EnvelopeView
from smtpfleet.contracts.envelope import DsnNotify, Envelope, EnvelopeFlag, LocalDispatcher, RemoteDispatcher
from smtpfleet.mail.listing import envelope_text, queue_line

EVPID = "18bcfe56c800000100000001"
NOW_MS = 1_700_000_100_000
MX = RemoteDispatcher("example.net", False, 0, "opportunistic", False, "", "", "", "", "")
ENVELOPE = Envelope(
    evpid=EVPID,
    sender="a@example.org",
    rcpt="b@example.net",
    dest="b@example.net",
    dispatcher=MX,
    tag="",
    helo="c.example",
    hostname="<unknown>",
    peer="192.0.2.9",
    smtpname="mx.example.test",
    created_at_ms=1_700_000_000_123,
    expire_s=3600,
)


def fields(view: EnvelopeView) -> list[str]:
    found = queue_line(view, NOW_MS).split("|", 13)
    assert len(found) == 14
    return found


def view_of(
    state: EnvelopeState, envelope: Envelope | None = ENVELOPE, *, due_at_ms: int = 0, reason: str = ""
) -> EnvelopeView:
    return EnvelopeView(EVPID, state, due_at_ms, reason, envelope)


@pytest.mark.parametrize(
    ("view", "kind", "state"),
    [
        pytest.param(view_of(EnvelopeState.PENDING, due_at_ms=NOW_MS + 5999), "mta", ["pending", "5", ""], id="waits"),
        pytest.param(view_of(EnvelopeState.PENDING, due_at_ms=NOW_MS - 3000), "mta", ["pending", "-3", ""], id="late"),
        pytest.param(view_of(EnvelopeState.INFLIGHT), "mta", ["inflight", "", ""], id="with a worker"),
        pytest.param(view_of(EnvelopeState.BOUNCING), "bounce", ["pending", "0", ""], id="its bounce is to be written"),
        pytest.param(view_of(EnvelopeState.QUARANTINED, reason="bad"), "mta", ["invalid", "", "bad"], id="quarantined"),
        pytest.param(
            view_of(EnvelopeState.QUARANTINED, None, reason="a|b"), "", ["invalid", "", "a|b"], id="unreadable"
        ),
        pytest.param(
            view_of(EnvelopeState.PENDING, None, reason="waits for queue key 1"),
            "",
            ["pending", "", "waits for queue key 1"],
            id="locked",
        ),
    ],
)
def test_states(view: EnvelopeView, kind: str, state: list[str]) -> None:
    found = fields(view)
    assert (found[0], found[2], found[11:]) == (EVPID, kind, state)


@pytest.mark.parametrize(
    ("peer", "family"), [("192.0.2.9", "inet4"), ("2001:db8::1", "inet6"), ("::1", "inet6"), ("local", "local")]
)
def test_families(peer: str, family: str) -> None:
    assert fields(view_of(EnvelopeState.INFLIGHT, replace(ENVELOPE, peer=peer)))[1] == family


def test_flags_addresses_and_the_last_error() -> None:
    envelope = replace(
        ENVELOPE,
        sender="",
        rcpt='"a|b"@example.net',
        flags=int(EnvelopeFlag.BOUNCE | EnvelopeFlag.AUTHENTICATED | EnvelopeFlag.INTERNAL | EnvelopeFlag.SMTPUTF8),
        retry=2,
        last_try_at_ms=1_700_000_050_900,
        error_line="450 4.2.0 a|b",
    )
    assert fields(view_of(EnvelopeState.INFLIGHT, envelope))[3:] == [
        "bounce,auth,internal",
        "@",
        r'"a\174b"@example.net',
        "b@example.net",
        "1700000000",
        "1700003600",
        "1700000050",
        "2",
        "inflight",
        "",
        "450 4.2.0 a|b",
    ]


def lines_of(envelope: Envelope, prefix: str) -> list[str]:
    return [line for line in envelope_text(envelope).splitlines() if line.startswith(prefix)]


@pytest.mark.parametrize(
    ("dispatcher", "lines"),
    [
        pytest.param(MX, [], id="by MX"),
        pytest.param(
            RemoteDispatcher("example.net", False, 0, "require", True, "", "out", "me.test", "mine", "", "names"),
            [
                "mta-relay-cert: mine",
                "mta-relay-flags: verify tls",
                "mta-relay-heloname: me.test",
                "mta-relay-helotable: names",
                "mta-relay-source: out",
            ],
            id="by MX with all options",
        ),
        pytest.param(
            RemoteDispatcher("h.test", True, 587, "require", True, "<dynamic:1>:bob", "", "", "", ""),
            ["mta-relay: tls+auth://bob@h.test:587", "mta-relay-auth: <dynamic:1>", "mta-relay-flags: verify"],
            id="a login",
        ),
        pytest.param(
            RemoteDispatcher("h.test", True, 24, "none", False, "", "", "", "", "", is_lmtp=True),
            ["mta-relay: lmtp://h.test:24"],
            id="LMTP",
        ),
        pytest.param(
            RemoteDispatcher("h.test", True, 0, "smtps", False, "", "", "", "", ""),
            ["mta-relay: smtps://h.test"],
            id="smtps",
        ),
        pytest.param(
            RemoteDispatcher("127.0.0.1", True, 2526, "none", False, "", "", "", "", ""),
            ["mta-relay: smtp://127.0.0.1:2526"],
            id="never TLS",
        ),
    ],
)
def test_relays(dispatcher: RemoteDispatcher, lines: list[str]) -> None:
    assert lines_of(replace(ENVELOPE, dispatcher=dispatcher), "mta-") == lines


def test_a_file_is_called_as_there() -> None:
    local = LocalDispatcher("file", "/var/mail/x", "_smtpd", "users")
    assert lines_of(replace(ENVELOPE, dispatcher=local), "mda-") == [
        "mda-buffer: /var/mail/x",
        "mda-method: filename",
        "mda-user: _smtpd",
        "mda-usertable: users",
    ]


def test_reports_flags_and_an_ipv6_peer() -> None:
    envelope = replace(
        ENVELOPE,
        peer="2001:db8::1",
        tag="in",
        flags=int(EnvelopeFlag.AUTHENTICATED | EnvelopeFlag.INTERNAL),
        dsn_notify=int(DsnNotify.SUCCESS | DsnNotify.DELAY),
        dsn_ret="HDRS",
        dsn_envid="x",
        dsn_orcpt="rfc822;b@example.net",
    )
    assert "sockaddr: IPv6:2001:db8::1" in envelope_text(envelope).splitlines()
    assert lines_of(envelope, "tag") == ["tag: in"]
    assert lines_of(envelope, "flags") == ["flags: authenticated internal"]
    assert lines_of(envelope, "dsn-") == [
        "dsn-notify: SUCCESS,DELAY",
        "dsn-ret: HDRS",
        "dsn-envid: x",
        "dsn-orcpt: rfc822;b@example.net",
    ]
