"""One instance of every struct that crosses the bus or lies in the store, with every field filled."""

from msgspec import Struct

from smtpfleet.contracts import callers as p
from smtpfleet.contracts import commands as c
from smtpfleet.contracts import configuration as cfg
from smtpfleet.contracts import events as e
from smtpfleet.contracts import srs
from smtpfleet.contracts.envelope import Envelope, LocalDispatcher, RemoteDispatcher
from smtpfleet.contracts.outcome import Outcome, OutcomeKind
from smtpfleet.contracts.status import Status

MSGID = "0018bcfe56800abc"
EVPID = MSGID + "00000001"
TOKEN = "0123456789abcdef"
STATUS = Status(550, "5.1.1", "No such user")

REMOTE = Envelope(
    evpid=EVPID,
    sender="alice@example.net",
    rcpt="bob@example.org",
    dest="robert@example.org",
    dispatcher=RemoteDispatcher("example.org", False, 2525, "opportunistic", True, "t:l", "src", "helo", "pki", "mx2"),
    tag="submission",
    helo="client.example.net",
    hostname="<unknown>",
    peer="192.0.2.9",
    smtpname="mx.example.org",
    created_at_ms=1_700_000_000_123,
    expire_s=345600,
    retry=2,
    last_try_at_ms=1_700_000_400_000,
    last_bounce_at_ms=1_700_014_400_123,
    error_line="451 4.7.1 Greylisted",
    flags=5,
    dsn_notify=6,
    dsn_orcpt="rfc822;bob@example.org",
    dsn_envid="QQ314159",
    dsn_ret="HDRS",
    remote="mx1.example.org",
)
LOCAL = Envelope(
    evpid=EVPID,
    sender="",
    rcpt="bob@example.org",
    dest="bob@example.org",
    dispatcher=LocalDispatcher("maildir", "~/Maildir", "bob", "users"),
    tag="",
    helo="client",
    hostname="<unknown>",
    peer="2001:db8::1",
    smtpname="mx.example.org",
    created_at_ms=1_700_000_000_123,
    expire_s=345600,
)
VIEW = c.EnvelopeView(EVPID, c.EnvelopeState.PENDING, 1_700_000_400_000, "", REMOTE)
EVENT = e.EnvelopeEvent(
    EVPID, "alice@example.net", "bob@example.org", "robert@example.org", "example.org,tls=none", 7, STATUS
)
ACCEPTED = e.MessageAccepted(MSGID, "session", "alice@example.net", 2, 4096, "192.0.2.9", 7)

SAMPLES: dict[str, Struct] = {
    "Envelope.remote": REMOTE,
    "Envelope.local": LOCAL,
    "Outcome": Outcome(EVPID, OutcomeKind.TEMPFAIL, STATUS, "mx1.example.org"),
    "CommitMessages": c.CommitMessages([c.CommitMessage(MSGID, TOKEN, 6, b"a\r\n.\r\n", 0, [REMOTE, LOCAL])]),
    "CommitReply": c.CommitReply(
        [c.CommitVerdict.OK, c.CommitVerdict.TAKEN, c.CommitVerdict.FULL, c.CommitVerdict.FAILED]
    ),
    "AppendContent": c.AppendContent(MSGID, TOKEN, 3, b"chunk"),
    "AppendReply": c.AppendReply(c.CommitVerdict.OK),
    "DropContent": c.DropContent(MSGID, TOKEN),
    "LoadEnvelopes": c.LoadEnvelopes(1, 42, [EVPID], "queue-1"),
    "LoadReply": c.LoadReply([c.LoadedMessage(MSGID, 5, b"a\r\nb\r\n", 1, [REMOTE])], [EVPID]),
    "ReadContent": c.ReadContent(MSGID, 2),
    "ContentChunk": c.ContentChunk(b"chunk"),
    "ReportOutcomes": c.ReportOutcomes(1, 42, [Outcome(EVPID, OutcomeKind.DELIVERED, Status(250, "2.0.0", "ok"))]),
    "ReportReply": c.ReportReply([EVPID]),
    "QueueQuery": c.QueueQuery(),
    "QueueSummary": c.QueueSummary(1, 2, 3, 4, 5, 6, 7),
    "MessageQuery": c.MessageQuery(MSGID),
    "EnvelopeQuery": c.EnvelopeQuery(EVPID),
    "MessageView": c.MessageView(True, MSGID, 4096, 1_700_000_000_123, [VIEW]),
    "WorkQuery": c.WorkQuery("mta", "mta-1", "example.org,tls=none", 10, 5000, "mta-1:7"),
    "Work": c.Work(1, 42, 10000, [c.WorkItem("example.org,tls=none", [EVPID], ["queue-1"])]),
    "RenewLeases": c.RenewLeases("mta", "mta-1", [c.LeaseRef(1, 42)], [("example.org,tls=none", "mta-1:7")]),
    "RenewReply": c.RenewReply([c.LeaseRef(1, 42)]),
    "ReleaseLease": c.ReleaseLease(1, 42, [EVPID]),
    "CallerCount": p.CallerCount("192.0.2.9", "192.0.2.0/24", 3, 40, 2, 17),
    "AdmitCallers": p.AdmitCallers("smtp-in-1", [p.CallerCount("192.0.2.9", "192.0.2.0/24", 3, 40, 2, 17)]),
    "CallerVerdict": p.CallerVerdict(1, "connections", 1000, 2500),
    "AdmitReply": p.AdmitReply([p.CallerVerdict(1, "connections", 1000, 2500)]),
    "Failure": p.Failure(p.BanKind.AUTH_USER, "bob"),
    "NoteFailures": p.NoteFailures([p.Failure(p.BanKind.AUTH_USER, "bob")]),
    "FailuresReply": p.FailuresReply([3]),
    "NoteSuccess": p.NoteSuccess("bob", "192.0.2.9"),
    "WelcomeQuery": p.WelcomeQuery("bob", "192.0.2.9"),
    "WelcomeReply": p.WelcomeReply(is_welcome=True),
    "Ban": p.Ban(p.BanKind.ADDRESS, "2001:db8::/64", 900_000),
    "BansQuery": p.BansQuery(),
    "BansReply": p.BansReply([p.Ban(p.BanKind.ADDRESS, "2001:db8::/64", 900_000)]),
    "LiftBan": p.LiftBan(p.BanKind.NETWORK, "192.0.2.0/24"),
    "LiftReply": p.LiftReply(found=True),
    "BansChanged": p.BansChanged(
        [p.Ban(p.BanKind.ADDRESS, "2001:db8::/64", 900_000)], [p.Failure(p.BanKind.AUTH_USER, "bob")]
    ),
    "ReleasePermits": c.ReleasePermits("mta", [("example.org,tls=none", "mta-1:7")]),
    "Done": c.Done(),
    "TableQuery": c.TableQuery("creds", c.TableService.CREDENTIALS, "lookup", ["bob"]),
    "TableReply": c.TableReply("", ["bob:$2b$08$x", None], 30.0),
    "ExplainQuery": c.ExplainQuery(
        "192.0.2.9", "client", "a@example.net", "b@example.org", "edge", "bob", True, "c.net"
    ),
    "SrsRewriteQuery": srs.SrsRewriteQuery([("alice@example.net", "example.org")]),
    "SrsRewriteReply": srs.SrsRewriteReply("", ["SRS0=HHHH=TT=example.net=alice@example.org", None]),
    "SrsRestoreQuery": srs.SrsRestoreQuery("SRS0=HHHH=TT=example.net=alice@example.org"),
    "SrsRestoreReply": srs.SrsRestoreReply("", "alice@example.net", ""),
    "VersionsQuery": c.VersionsQuery(),
    "VersionsReply": c.VersionsReply(
        [c.ConfigurationVersion("3-0a1b2c3d", "mx.example.org", 4, 2, 3, "5d41402a")], "smtpd.conf:1:1: syntax error"
    ),
    "ConfigurationVersion": c.ConfigurationVersion("3-0a1b2c3d", "mx.example.org", 4, 2, 3, ""),
    "GoBack": c.GoBack("2-5d41402a"),
    "GoBackReply": c.GoBackReply("4-5d41402a"),
    "ExplainReply": c.ExplainReply("3-0a1b2c3d", ["rule at line 3 matches"], "", ["b@example.org via maildir"]),
    "ForwardQuery": c.ForwardQuery("users", "bob"),
    "ForwardReply": c.ForwardReply("present", "bob@example.net\n", ""),
    "RoleQuery": c.RoleQuery(),
    "RoleReport": c.RoleReport("mta", "mta-1", "0.1.0", "3-0a1b2c3d", 1_700_000_000_000, True),
    "AcceptedEvents": e.AcceptedEvents([ACCEPTED]),
    "EnvelopeEvents": e.EnvelopeEvents([EVENT]),
    "WorkReady": e.WorkReady([("mta", "example.org,tls=none")]),
    "WorkerLeaving": e.WorkerLeaving("mta", "mta-1"),
    "Configuration": cfg.Configuration(
        version="3-0a1b2c3d",
        hostname="mx.example.org",
        listeners=(cfg.Listener("0.0.0.0", 25, "mx.example.org", "edge"),),
        tables={
            "users": cfg.Table("users", "mapping", "file", "/users", {"alice": "1:1:/home/alice"}),
            "many": cfg.Table("many", "list", "file", "/many", {}, False, ("0a1b2c3d" * 4, "4e5f6071" * 4)),
        },
        rules=(
            cfg.Rule(
                cfg.Location("smtpd.conf", 3, 1),
                (cfg.Condition("source", "<anyhost>", False),),
                cfg.LocalAction("maildir", "~/Maildir", "aliases", "", "users"),
                345600,
            ),
            cfg.Rule(
                cfg.Location("smtpd.conf", 4, 1),
                (cfg.Condition("destination", "<anydestination>", True),),
                cfg.RelayAction("h", 25, "require", True, "a:b", "s", "helo", "pki", "mx", "@d"),
                60,
            ),
            cfg.Rule(cfg.Location("smtpd.conf", 5, 1), (), cfg.ExpandAction("", "v", "users", True), 60),
            cfg.Rule(cfg.Location("smtpd.conf", 6, 1), (), cfg.RejectAction(), 60),
        ),
        limits=cfg.DEFAULT_LIMITS,
        max_message_size_bytes=36700160,
        expire_s=345600,
        bounce_warn_s=(14400,),
        language=cfg.MODERN,
        pki={"mx": cfg.Pki("mx", "/etc/ssl/mx.crt", "/etc/ssl/private/mx.key", "", "none")},
        cas={"*": cfg.Ca("*", "/etc/ssl/cert.pem")},
        filters={
            "dkim": cfg.FilterProcess("sign"),
            "early": cfg.FilterPhase(
                "connect", cfg.Condition("rdns", "", negated=True, kind="any"), "disconnect", "550 no name"
            ),
            "all": cfg.FilterChain(("early", "dkim")),
        },
        processors={"sign": cfg.Processor("filter-dkimsign", "_dkim", "_dkim", "/var/empty")},
        relay_limits={"": cfg.DEFAULT_RELAY_LIMITS},
        subaddress_delimiter="-",
        admd="example.org",
        smtp_ciphers="HIGH",
        queue_compression=True,
        queue_encryption=True,
        srs_ttl_s=86400,
    ),
}
