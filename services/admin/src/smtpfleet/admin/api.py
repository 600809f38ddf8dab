"""The REST API: routes, access and problem responses. The only module that knows FastAPI.

Decides nothing about mail: queries.py asks, views.py says how answers look. Everything under /v1 and /metrics needs the token where one
is set; /healthz and /readyz never do. Errors are problem+json (RFC 9457). Built by app.py. OpenSMTPD: control.c.
"""

import time
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.exceptions import HTTPException as StarletteHTTPException

from smtpfleet.admin.access import Access
from smtpfleet.admin.queries import Queries, RoleSilent
from smtpfleet.admin.views import (
    Configurations,
    Explanation,
    Fleet,
    Life,
    Problem,
    QueueCounts,
    QueuedEnvelope,
    QueuedMessage,
    Readiness,
    Recipient,
    Rollback,
    ShownBans,
)
from smtpfleet.contracts.callers import NAME_LIMIT, BanKind
from smtpfleet.contracts.ids import EVPID_LENGTH, MSGID_LENGTH
from smtpfleet.mail.explain import query_fault
from smtpfleet.mail.listing import envelope_text, queue_line
from smtpfleet.runtime import metrics

PROBLEM = "application/problem+json"
RETRY_AFTER_S = 5
"""What a 503 asks a client to wait. Chosen: as long as a role has to answer."""

_TITLES = {
    401: "Token required",
    403: "Not from here",
    404: "Not found",
    405: "Method not allowed",
    409: "Not readable",
    422: "Malformed request",
    503: "A role does not answer",
}

MsgidPath = Annotated[str, Path(pattern=f"^[0-9a-f]{{{MSGID_LENGTH}}}$", description="16 hex digits, lower case.")]
EvpidPath = Annotated[str, Path(pattern=f"^[0-9a-f]{{{EVPID_LENGTH}}}$", description="24 hex digits, lower case.")]

_bearer = HTTPBearer(auto_error=False, description="SMTPFLEET_ADMIN_TOKEN; not needed where none is set.")
Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]


def _problems(*codes: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's description of these problem responses."""
    schema = {"$ref": "#/components/schemas/Problem"}
    return {code: {"description": _TITLES[code], "content": {PROBLEM: {"schema": schema}}} for code in codes}


def build_api(queries: Queries, access: Access, missing: Callable[[], list[str]], version: str) -> FastAPI:
    """The application. `missing` tells which conditions of readiness do not hold now."""
    api = FastAPI(
        title="smtpfleet admin",
        version=version,
        summary="What the fleet runs and what its queue holds.",
        openapi_url=None,  # under /v1 below, so that it needs the token
        docs_url=None,  # these pages load scripts from elsewhere
        redoc_url=None,
    )
    _add_problem_handlers(api)
    guard = Depends(_guard(access))
    api.include_router(_health_routes(missing))
    api.include_router(_metrics_routes(), dependencies=[guard])
    api.include_router(_queue_routes(queries), prefix="/v1", dependencies=[guard])
    api.include_router(_fleet_routes(queries), prefix="/v1", dependencies=[guard])
    api.include_router(_ban_routes(queries), prefix="/v1", dependencies=[guard])
    api.include_router(_config_routes(queries), prefix="/v1", dependencies=[guard])
    api.include_router(_openapi_routes(api), prefix="/v1", dependencies=[guard])
    return api


def _guard(access: Access) -> Callable[..., None]:
    def check_access(request: Request, credentials: Credentials) -> None:
        if not access.accepts_host(request.headers.get("host", "")):
            raise HTTPException(403, "without a token only localhost is answered")
        if access.needs_token and (credentials is None or not access.accepts(credentials.credentials)):
            raise HTTPException(401, "a bearer token is required", {"WWW-Authenticate": 'Bearer realm="smtpfleet"'})

    return check_access


def _health_routes(missing: Callable[[], list[str]]) -> APIRouter:
    routes = APIRouter(tags=["health"])

    @routes.get("/healthz")
    async def show_life() -> Life:
        """The process answers."""
        return Life(status="alive")

    @routes.get("/readyz", responses={503: {"model": Readiness, "description": "Not ready"}})
    async def show_readiness(response: Response) -> Readiness:
        """Whether the role can serve."""
        waiting_for = missing()
        response.status_code = 503 if waiting_for else 200
        return Readiness(status="not ready" if waiting_for else "ready", waiting_for=waiting_for)

    return routes


def _metrics_routes() -> APIRouter:
    routes = APIRouter(tags=["health"])

    @routes.get(
        "/metrics",
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **_problems(401, 403)},
    )
    async def show_metrics() -> Response:
        """Metrics of this process in Prometheus text form."""
        return Response(metrics.exposition(), media_type="text/plain; version=0.0.4")

    return routes


def _wants_text(request: Request) -> bool:
    """Whether the client names text/plain and not JSON; browsers and curl, which take anything, get JSON."""
    accepted = request.headers.get("accept", "")
    return "text/plain" in accepted and "application/json" not in accepted


def _text_or_problems(*codes: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's description where `Accept: text/plain` gets the lines of smtpctl."""
    return {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **_problems(*codes)}


def _queue_routes(queries: Queries) -> APIRouter:
    routes = APIRouter(tags=["queue"])

    @routes.get("/queue", responses=_problems(401, 403, 503))
    async def show_queue() -> QueueCounts:
        """Counts by state and the oldest age."""
        return QueueCounts.of(await queries.summary())

    @routes.get("/messages/{msgid}", response_model=QueuedMessage, responses=_text_or_problems(401, 403, 404, 422, 503))
    async def show_message(msgid: MsgidPath, request: Request) -> QueuedMessage | Response:
        """A message with the envelopes that are not done; as text, the lines of `smtpctl show queue`."""
        view = await queries.message(msgid)
        if view is None:
            raise HTTPException(404, f"the queue has no message {msgid}")
        if _wants_text(request):
            now_ms = int(time.time() * 1000)
            return PlainTextResponse("".join(f"{queue_line(envelope, now_ms)}\n" for envelope in view.envelopes))
        return QueuedMessage.of(view)

    @routes.get(
        "/envelopes/{evpid}", response_model=QueuedEnvelope, responses=_text_or_problems(401, 403, 404, 409, 422, 503)
    )
    async def show_envelope(evpid: EvpidPath, request: Request) -> QueuedEnvelope | Response:
        """An envelope and where it is; as text, what `smtpctl show envelope` prints."""
        view = await queries.envelope(evpid)
        if view is None:
            raise HTTPException(404, f"the queue has no envelope {evpid}")
        if _wants_text(request):
            if view.envelope is None:
                raise HTTPException(409, f"envelope {evpid} cannot be read: {view.reason}")
            return PlainTextResponse(envelope_text(view.envelope))
        return QueuedEnvelope.of(view)

    return routes


def _fleet_routes(queries: Queries) -> APIRouter:
    routes = APIRouter(tags=["fleet"])

    @routes.get("/fleet", responses=_problems(401, 403, 503))
    async def show_fleet() -> Fleet:
        """Roles, replicas, and the versions they run."""
        return Fleet.of(await queries.fleet())

    return routes


def _ban_routes(queries: Queries) -> APIRouter:
    routes = APIRouter(tags=["bans"])

    @routes.get("/bans", responses=_problems(401, 403, 503))
    async def show_bans() -> ShownBans:
        """Peers and users that are turned away for a while, and why."""
        return ShownBans.of(await queries.bans())

    @routes.delete("/bans", status_code=204, responses=_problems(401, 403, 404, 422, 503))
    async def lift_ban(kind: BanKind, name: Annotated[str, Query(max_length=NAME_LIMIT)]) -> None:
        """End a ban, by kind and name as they are listed, and forget the failures that led to it."""
        if not await queries.lift_ban(kind, name):
            raise HTTPException(404, f"there is no ban of this kind on {name}")

    return routes


def _config_routes(queries: Queries) -> APIRouter:
    routes = APIRouter(tags=["config"])

    @routes.get("/config", responses=_problems(401, 403, 503))
    async def show_configurations() -> Configurations:
        """The configuration in force, earlier ones that are kept, and what is wrong with the files, if anything."""
        return Configurations.of(await queries.configurations())

    @routes.post("/config/rollback", responses=_problems(401, 403, 404, 422, 503))
    async def roll_back(wanted: Rollback) -> Rollback:
        """Go back to an earlier version. It is published anew; the files count again when they change."""
        version = await queries.go_back(wanted.version)
        if version is None:
            raise HTTPException(404, f"version {wanted.version} is not kept")
        return Rollback(version=version)

    @routes.post("/config/explain", responses=_problems(401, 403, 422, 503))
    async def explain_recipient(recipient: Recipient) -> Explanation:
        """Which rule decides about a recipient, how it expands, and what would be delivered where. Nothing is sent."""
        query = recipient.query()
        if fault := query_fault(query):
            raise HTTPException(422, fault)
        return Explanation.of(await queries.explain(query))

    return routes


def _openapi_routes(api: FastAPI) -> APIRouter:
    routes = APIRouter(include_in_schema=False)

    @routes.get("/openapi.json")
    async def show_openapi() -> JSONResponse:
        schema = api.openapi()
        schema["components"].setdefault("schemas", {})["Problem"] = Problem.model_json_schema()
        return JSONResponse(schema)

    return routes


def _problem(status: int, detail: str, headers: dict[str, str] | None = None) -> JSONResponse:
    problem = Problem(title=_TITLES.get(status, "Error"), status=status, detail=detail)
    return JSONResponse(problem.model_dump(), status, headers, media_type=PROBLEM)


def _add_problem_handlers(api: FastAPI) -> None:
    @api.exception_handler(StarletteHTTPException)
    async def on_refusal(_: Request, refusal: StarletteHTTPException) -> JSONResponse:
        return _problem(refusal.status_code, str(refusal.detail), dict(refusal.headers or {}))

    @api.exception_handler(RequestValidationError)
    async def on_malformed(_: Request, error: RequestValidationError) -> JSONResponse:
        faults = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()]
        return _problem(422, "; ".join(faults))

    @api.exception_handler(RoleSilent)
    async def on_silence(_: Request, silence: RoleSilent) -> JSONResponse:
        return _problem(503, str(silence), {"Retry-After": str(RETRY_AFTER_S)})
