"""The REST API over ASGI with a bus that answers as told."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from smtpfleet.admin.access import Access
from smtpfleet.admin.api import build_api
from smtpfleet.admin.queries import Queries
from smtpfleet.contracts import commands as c
from smtpfleet.contracts import subjects, wire
from smtpfleet.contracts.callers import Ban, BanKind, BansReply, LiftBan, LiftReply
from smtpfleet.contracts.envelope import Envelope, EnvelopeFlag, RemoteDispatcher
from smtpfleet.contracts.ids import evpid_of
from tests.support.fake_bus import FakeBus

TOKEN = "correct-horse-battery"
MSGID = "18bcfe56c8000001"
EVPID = evpid_of(MSGID, 1)
CREATED_AT_MS = 1_700_000_000_123

ENVELOPE = Envelope(
    evpid=EVPID,
    sender="",
    rcpt="info@example.test",
    dest="carol@example.net",
    dispatcher=RemoteDispatcher("example.net", False, 0, "opportunistic", False, "", "", "", "", ""),
    tag="",
    helo="peer.example",
    hostname="<unknown>",
    peer="192.0.2.1",
    smtpname="mx.example.test",
    created_at_ms=CREATED_AT_MS,
    expire_s=3600,
    retry=2,
    last_try_at_ms=CREATED_AT_MS + 60_000,
    error_line="451 4.3.0 Temporary failure",
    flags=int(EnvelopeFlag.BOUNCE | EnvelopeFlag.INTERNAL),
)
PENDING = c.EnvelopeView(EVPID, c.EnvelopeState.PENDING, CREATED_AT_MS + 900_000, "", ENVELOPE)
UNREADABLE = c.EnvelopeView(evpid_of(MSGID, 2), c.EnvelopeState.QUARANTINED, 0, "unknown version", None)
FOUND = c.MessageView(True, MSGID, 4096, CREATED_AT_MS, [PENDING, UNREADABLE])
GONE = c.MessageView(False, MSGID, 0, 0, [])

NewClient = Callable[..., httpx.AsyncClient]


@pytest.fixture
def bus() -> FakeBus:
    return FakeBus()


@pytest.fixture
async def new_client(bus: FakeBus) -> AsyncIterator[NewClient]:
    clients: list[httpx.AsyncClient] = []

    def new(*, token: str = "", sends: str = "", missing: tuple[str, ...] = (), host: str = "127.0.0.1:8025") -> Any:
        api = build_api(Queries(bus), Access(token), lambda: list(missing), "1.2.3")
        headers = {"Authorization": sends} if sends else {}
        transport = httpx.ASGITransport(app=api)
        clients.append(httpx.AsyncClient(transport=transport, base_url=f"http://{host}", headers=headers))
        return clients[-1]

    yield new
    for client in clients:
        await client.aclose()


def assert_problem(answer: httpx.Response, status: int, detail: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert detail in problem["detail"]
    assert problem["type"] == "about:blank"
    assert problem["title"]


async def test_queue(bus: FakeBus, new_client: NewClient) -> None:
    bus.answer(subjects.QUEUE_SUMMARY_SHOW, c.QueueSummary(3, 5, 2, 1, 1, 1, 77))
    answer = await new_client().get("/v1/queue")
    assert answer.status_code == 200
    assert answer.json() == {
        "messages": 3,
        "envelopes": 5,
        "pending": 2,
        "inflight": 1,
        "bouncing": 1,
        "quarantined": 1,
        "oldest_age_s": 77,
    }


async def test_an_empty_queue_has_no_oldest(bus: FakeBus, new_client: NewClient) -> None:
    bus.answer(subjects.QUEUE_SUMMARY_SHOW, c.QueueSummary(0, 0, 0, 0, 0, 0, -1))
    assert (await new_client().get("/v1/queue")).json()["oldest_age_s"] is None


async def test_message(bus: FakeBus, new_client: NewClient) -> None:
    bus.answer(subjects.QUEUE_MESSAGE_SHOW, FOUND)
    answer = await new_client().get(f"/v1/messages/{MSGID}")
    assert answer.status_code == 200
    message = answer.json()
    assert (message["msgid"], message["size_bytes"]) == (MSGID, 4096)
    assert message["created_at"] == "2023-11-14T22:13:20.123000Z"
    readable, unreadable = message["envelopes"]
    assert readable["due_at"] == "2023-11-14T22:28:20.123000Z"
    assert readable["envelope"] == {
        "sender": "",
        "rcpt": "info@example.test",
        "dest": "carol@example.net",
        "agent": "mta",
        "relay": "example.net,tls=opportunistic",
        "tag": "",
        "helo": "peer.example",
        "hostname": "<unknown>",
        "peer": "192.0.2.1",
        "smtpname": "mx.example.test",
        "created_at": "2023-11-14T22:13:20.123000Z",
        "expires_at": "2023-11-14T23:13:20.123000Z",
        "retry": 2,
        "last_try_at": "2023-11-14T22:14:20.123000Z",
        "error_line": "451 4.3.0 Temporary failure",
        "flags": ["bounce", "internal"],
    }
    assert unreadable == {
        "evpid": evpid_of(MSGID, 2),
        "msgid": MSGID,
        "state": "quarantined",
        "due_at": None,
        "reason": "unknown version",
        "envelope": None,
    }
    assert bus.asked == [("queue.message.show", c.MessageQuery(MSGID))]


async def test_envelope(bus: FakeBus, new_client: NewClient) -> None:
    bus.answer(subjects.QUEUE_ENVELOPE_SHOW, FOUND)
    answer = await new_client().get(f"/v1/envelopes/{EVPID}")
    assert answer.status_code == 200
    assert (answer.json()["evpid"], answer.json()["state"]) == (EVPID, "pending")


TEXT = {"Accept": "text/plain"}


async def test_a_message_in_the_lines_of_smtpctl(bus: FakeBus, new_client: NewClient) -> None:
    bus.answer(subjects.QUEUE_MESSAGE_SHOW, FOUND)
    answer = await new_client().get(f"/v1/messages/{MSGID}", headers=TEXT)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/plain; charset=utf-8")
    readable, unreadable = answer.text.splitlines()
    assert readable.startswith(f"{EVPID}|inet4|mta|bounce,internal|@|info@example.test|carol@example.net|1700000000|")
    assert unreadable == f"{evpid_of(MSGID, 2)}|||||||||||invalid||unknown version"


async def test_an_envelope_in_the_lines_of_smtpctl(bus: FakeBus, new_client: NewClient) -> None:
    bus.answer(subjects.QUEUE_ENVELOPE_SHOW, FOUND)
    answer = await new_client().get(f"/v1/envelopes/{EVPID}", headers=TEXT)
    assert (answer.status_code, answer.text.splitlines()[:2]) == (200, ["version: 2", "type: mta"])


async def test_an_unreadable_envelope_has_no_text(bus: FakeBus, new_client: NewClient) -> None:
    bus.answer(subjects.QUEUE_ENVELOPE_SHOW, FOUND)
    answer = await new_client().get(f"/v1/envelopes/{UNREADABLE.evpid}", headers=TEXT)
    assert_problem(answer, 409, "cannot be read: unknown version")


@pytest.mark.parametrize("accept", ["*/*", "text/html,*/*", "text/plain, application/json"])
async def test_who_takes_json_gets_json(bus: FakeBus, new_client: NewClient, accept: str) -> None:
    bus.answer(subjects.QUEUE_MESSAGE_SHOW, FOUND)
    answer = await new_client().get(f"/v1/messages/{MSGID}", headers={"Accept": accept})
    assert answer.json()["msgid"] == MSGID


@pytest.mark.parametrize(
    ("path", "subject"),
    [
        pytest.param(f"/v1/messages/{MSGID}", subjects.QUEUE_MESSAGE_SHOW, id="message"),
        pytest.param(f"/v1/envelopes/{EVPID}", subjects.QUEUE_ENVELOPE_SHOW, id="envelope"),
    ],
)
async def test_what_the_queue_has_not(
    bus: FakeBus, new_client: NewClient, path: str, subject: subjects.Subject
) -> None:
    bus.answer(subject, GONE)
    assert_problem(await new_client().get(path), 404, path.rpartition("/")[2])


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("/v1/messages/18bcfe56c800000", id="too short"),
        pytest.param("/v1/messages/18bcfe56c80000012", id="too long"),
        pytest.param("/v1/messages/18BCFE56C8000001", id="upper case"),
        pytest.param("/v1/messages/18bcfe56c8000001%0A", id="line end behind"),
        pytest.param(f"/v1/envelopes/{MSGID}", id="a msgid is no evpid"),
        pytest.param("/v1/envelopes/%7Bs0%7D:msg:18bcfe56c800", id="a key"),
    ],
)
async def test_malformed_ids_reach_nobody(bus: FakeBus, new_client: NewClient, path: str) -> None:
    assert_problem(await new_client().get(path), 422, "path.")
    assert bus.asked == []


async def test_fleet(bus: FakeBus, new_client: NewClient) -> None:
    reports = [
        c.RoleReport("queue", "queue-2", "1.0", "3-abc", CREATED_AT_MS, True),
        c.RoleReport("queue", "queue-1", "1.0", "", CREATED_AT_MS, False),
        c.RoleReport("queue", "queue-1", "1.0", "", CREATED_AT_MS, False),
        c.RoleReport("filter", "filter-1", "2.0", "3-abc", CREATED_AT_MS, True),
    ]
    bus.answer(subjects.FLEET_ROLE_REPORT, reports)
    roles = (await new_client().get("/v1/fleet")).json()["roles"]
    assert [role["role"] for role in roles] == [*subjects.ROLES, "filter"]
    by_name = {role["role"]: role["replicas"] for role in roles}
    assert by_name["mta"] == []
    assert by_name["queue"] == [
        {
            "replica": "queue-1",
            "version": "1.0",
            "configuration": None,
            "started_at": "2023-11-14T22:13:20.123000Z",
            "is_ready": False,
        },
        {
            "replica": "queue-2",
            "version": "1.0",
            "configuration": "3-abc",
            "started_at": "2023-11-14T22:13:20.123000Z",
            "is_ready": True,
        },
    ]


@pytest.mark.parametrize("path", ["/v1/queue", f"/v1/messages/{MSGID}", f"/v1/envelopes/{EVPID}"])
async def test_a_role_that_does_not_answer_is_named(new_client: NewClient, path: str) -> None:
    answer = await new_client().get(path)
    assert_problem(answer, 503, "queue did not answer")
    assert int(answer.headers["retry-after"]) > 0


@pytest.mark.parametrize("path", ["/v1/queue", "/v1/fleet"])
async def test_without_nats_that_is_said(bus: FakeBus, new_client: NewClient, path: str) -> None:
    bus.is_connected = False
    assert_problem(await new_client().get(path), 503, "not connected to nats")


@pytest.mark.parametrize(
    ("error", "detail"),
    [
        pytest.param(wire.RemoteFault("failed"), "queue could not answer; its log says why", id="fault"),
        pytest.param(wire.UnknownVersion("version 9"), "this version cannot read", id="another version"),
        pytest.param(wire.Malformed("QueueSummary: x"), "this version cannot read", id="garbage"),
    ],
)
async def test_answers_of_no_use(bus: FakeBus, new_client: NewClient, error: Exception, detail: str) -> None:
    bus.answer(subjects.QUEUE_SUMMARY_SHOW, error)
    assert_problem(await new_client().get("/v1/queue"), 503, detail)


@pytest.mark.parametrize(
    ("sends", "status"),
    [
        pytest.param(f"Bearer {TOKEN}", 200, id="the token"),
        pytest.param(f"bearer {TOKEN}", 200, id="scheme in lower case"),
        pytest.param("", 401, id="none"),
        pytest.param(f"Bearer {TOKEN}x", 401, id="another"),
        pytest.param(f"Basic {TOKEN}", 401, id="another scheme"),
        pytest.param("Bearer ", 401, id="empty"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/queue", "/v1/openapi.json", "/metrics"])
async def test_token(bus: FakeBus, new_client: NewClient, sends: str, status: int, path: str) -> None:
    bus.answer(subjects.QUEUE_SUMMARY_SHOW, c.QueueSummary(0, 0, 0, 0, 0, 0, -1))
    client = new_client(token=TOKEN, sends=sends, host="admin.example.test")
    answer = await client.get(path)
    assert answer.status_code == status
    if status == 401:
        assert_problem(answer, 401, "bearer token")
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert bus.asked == []


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_health_needs_no_token(new_client: NewClient, path: str) -> None:
    assert (await new_client(token=TOKEN, host="10.0.0.7:8025").get(path)).status_code == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8025", 200),
        ("localhost", 200),
        ("[::1]:8025", 200),
        ("evil.example", 403),
        ("127.0.0.1.evil.example", 403),
    ],
)
async def test_without_a_token_only_names_of_this_host_are_answered(
    bus: FakeBus, new_client: NewClient, host: str, status: int
) -> None:
    bus.answer(subjects.QUEUE_SUMMARY_SHOW, c.QueueSummary(0, 0, 0, 0, 0, 0, -1))
    assert (await new_client(host=host).get("/v1/queue")).status_code == status


async def test_readiness_says_what_is_missing(new_client: NewClient) -> None:
    answer = await new_client(missing=("nats", "configuration")).get("/readyz")
    assert answer.status_code == 503
    assert answer.json() == {"status": "not ready", "waiting_for": ["nats", "configuration"]}


async def test_metrics_are_in_prometheus_form(new_client: NewClient) -> None:
    answer = await new_client().get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert "# TYPE smtpfleet_bus_requests_total counter" in answer.text


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/v1/nothing", 404), ("POST", "/v1/queue", 405), ("GET", "/docs", 404)]
)
async def test_what_is_not_served_is_a_problem_too(new_client: NewClient, method: str, path: str, status: int) -> None:
    assert_problem(await new_client().request(method, path), status, "")


async def test_openapi_describes_every_answer(new_client: NewClient) -> None:
    schema = (await new_client().get("/v1/openapi.json")).json()
    paths = schema["paths"]
    assert set(paths) == {
        "/healthz",
        "/readyz",
        "/metrics",
        "/v1/queue",
        "/v1/messages/{msgid}",
        "/v1/envelopes/{evpid}",
        "/v1/fleet",
        "/v1/bans",
        "/v1/config",
        "/v1/config/explain",
        "/v1/config/rollback",
    }
    assert set(paths["/v1/messages/{msgid}"]["get"]["responses"]) == {"200", "401", "403", "404", "422", "503"}
    assert paths["/v1/queue"]["get"]["security"] == [{"HTTPBearer": []}]
    assert "security" not in paths["/healthz"]["get"]
    parameter = paths["/v1/envelopes/{evpid}"]["get"]["parameters"][0]["schema"]
    assert parameter["pattern"] == "^[0-9a-f]{24}$"
    assert "HTTPValidationError" not in str(schema)
    for found in _references(schema):
        assert found.removeprefix("#/components/schemas/") in schema["components"]["schemas"]


def _references(node: Any) -> list[str]:
    if isinstance(node, dict):
        own = [node["$ref"]] if "$ref" in node else []
        return own + [found for value in node.values() for found in _references(value)]
    return [found for value in node for found in _references(value)] if isinstance(node, list) else []


async def test_explain(bus: FakeBus, new_client: NewClient) -> None:
    steps = ["address a@b.test", "  no rule matches"]
    bus.answer(subjects.CONFIG_RULESET_EXPLAIN, c.ExplainReply("3-ab", steps, "550 5.7.1 Invalid recipient", []))
    answer = await new_client().post("/v1/config/explain", json={"rcpt": "a@b.test", "peer": "192.0.2.1", "tls": True})
    assert answer.status_code == 200
    assert answer.json() == {
        "configuration": "3-ab",
        "accepted": False,
        "reply": "550 5.7.1 Invalid recipient",
        "envelopes": [],
        "steps": steps,
    }
    assert bus.asked == [
        ("config.ruleset.explain", c.ExplainQuery("192.0.2.1", "", "", "a@b.test", "", "", True, "")),
    ]


@pytest.mark.parametrize(
    "body", [{}, {"rcpt": "nonsense"}, {"rcpt": "a@b.test", "peer": "x"}, {"rcpt": "a@b.test", "more": 1}]
)
async def test_explain_refuses_what_is_no_question(
    bus: FakeBus, new_client: NewClient, body: dict[str, object]
) -> None:
    assert_problem(await new_client().post("/v1/config/explain", json=body), 422, "")
    assert bus.asked == []


async def test_configurations_and_going_back(bus: FakeBus, new_client: NewClient) -> None:
    kept = c.ConfigurationVersion("3-ab", "mx.example.test", 4, 2, 1, "")
    bus.answer(subjects.CONFIG_VERSION_LIST, c.VersionsReply([kept], "x:1:1: syntax error"))
    answer = (await new_client().get("/v1/config")).json()
    assert answer["in_force"] == "3-ab" and answer["errors"] == "x:1:1: syntax error"
    assert answer["versions"] == [
        {
            "version": "3-ab",
            "hostname": "mx.example.test",
            "rules": 4,
            "listeners": 2,
            "tables": 1,
            "rolled_back_from": None,
        }
    ]
    bus.answer(subjects.CONFIG_VERSION_RESTORE, c.GoBackReply("4-cd"))
    done = await new_client().post("/v1/config/rollback", json={"version": "2-cd"})
    assert (done.status_code, done.json()) == (200, {"version": "4-cd"})
    bus.answer(subjects.CONFIG_VERSION_RESTORE, c.GoBackReply(""))
    assert_problem(await new_client().post("/v1/config/rollback", json={"version": "9-xx"}), 404, "9-xx is not kept")


async def test_bans_are_listed(bus: FakeBus, new_client: NewClient) -> None:
    bus.answer(subjects.SCHEDULER_BAN_LIST, BansReply([Ban(BanKind.AUTH_USER, "bob", 12_345)]))
    answer = await new_client().get("/v1/bans")
    assert answer.json() == {"bans": [{"kind": "auth-user", "name": "bob", "ends_in_s": 12}]}


async def test_a_ban_is_lifted_by_kind_and_name(bus: FakeBus, new_client: NewClient) -> None:
    bus.answer(subjects.SCHEDULER_BAN_LIFT, LiftReply(found=True))
    client = new_client()
    answer = await client.delete("/v1/bans", params={"kind": "network", "name": "2001:db8::/48"})
    assert answer.status_code == 204 and answer.content == b""
    assert bus.asked == [("scheduler.ban.lift", LiftBan(BanKind.NETWORK, "2001:db8::/48"))]
    bus.answer(subjects.SCHEDULER_BAN_LIFT, LiftReply(found=False))
    gone = await client.delete("/v1/bans", params={"kind": "network", "name": "2001:db8::/48"})
    assert_problem(gone, 404, "no ban of this kind on 2001:db8::/48")
    assert_problem(await client.delete("/v1/bans", params={"kind": "everyone", "name": "x"}), 422, "kind")
    assert_problem(await client.delete("/v1/bans", params={"kind": "address"}), 422, "name")
