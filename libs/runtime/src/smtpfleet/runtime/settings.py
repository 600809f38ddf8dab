"""Deployment settings from the environment: few, typed, documented, and an unknown SMTPFLEET_* is refused.

What belongs to mail is in smtpd.conf; here is only where things are and how much of them. Each service extends RoleSettings in its
own settings.py. A field marked secret may come from a file instead: SMTPFLEET_NATS_PASSWORD_FILE names it.
"""

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta, Struct

PREFIX = "SMTPFLEET_"
SECRET = {"secret": True}
"""Meta.extra of a field that must not be logged and may come from a file."""

S = TypeVar("S", bound="RoleSettings")


class BadSettings(Exception):
    """One line per thing that is wrong with the environment, for the operator."""


class RoleSettings(Struct, frozen=True, kw_only=True):
    """What every role has."""

    replica: Annotated[
        str, Meta(description="Name of this replica, unique in the fleet; default: host name and pid.")
    ] = ""
    nats_url: Annotated[str, Meta(description="Addresses of NATS, separated by commas.")] = "nats://127.0.0.1:4222"
    nats_user: Annotated[str, Meta(description="User for NATS; empty for none.")] = ""
    nats_password: Annotated[str, Meta(description="Password for NATS, or in a file by _FILE.", extra=SECRET)] = ""
    nats_prefix: Annotated[
        str, Meta(description="First token of all subjects, so that fleets may share a NATS.", pattern="^[a-z0-9-]+$")
    ] = "smtpfleet"
    health_listen: Annotated[str, Meta(description="ADDRESS:PORT of /healthz, /readyz and /metrics.")] = "127.0.0.1:0"
    drain_s: Annotated[float, Meta(description="Seconds a role may take to finish its work after SIGTERM.", gt=0)] = (
        20.0
    )
    log_level: Annotated[str, Meta(description="info, warning or error; facts about mail are info.")] = "info"


def _documented_fields(kind: type[RoleSettings]) -> dict[str, Meta]:
    """The Meta of every field of `kind`, by field name."""
    metas: dict[str, Meta] = {}
    for name, hint in get_type_hints(kind, include_extras=True).items():
        if get_origin(hint) is Annotated:
            metas[name] = next(arg for arg in get_args(hint)[1:] if isinstance(arg, Meta))
    return metas


def describe_settings(kind: type[RoleSettings]) -> list[tuple[str, str, str]]:
    """Rows (environment name, default, description) for the documentation."""
    defaults = {field.name: field.default for field in msgspec.structs.fields(kind)}
    return [
        (
            PREFIX + name.upper(),
            "" if defaults[name] is msgspec.NODEFAULT else str(defaults[name]),
            meta.description or "",
        )
        for name, meta in _documented_fields(kind).items()
    ]


def load_settings(kind: type[S], environ: Mapping[str, str]) -> S:
    """The settings of a role. Raises BadSettings naming every unknown, unreadable and invalid one at once."""
    metas = _documented_fields(kind)
    values: dict[str, Any] = {}
    faults: list[str] = []
    for variable, text in sorted(environ.items()):
        if not variable.startswith(PREFIX) or variable == PREFIX + "KILL_AT":
            continue
        name = variable[len(PREFIX) :].lower()
        if name in metas:
            values[name] = text
        elif name.endswith("_file") and _is_secret(metas.get(name[:-5])):
            try:
                values[name[:-5]] = Path(text).read_text().rstrip("\n")
            except OSError as error:
                faults.append(f"{variable}: cannot read {text}: {error.strerror}")
        else:
            faults.append(
                f"{variable}: unknown setting; known are {', '.join(sorted(PREFIX + n.upper() for n in metas))}"
            )
    values["replica"] = values.get("replica") or f"{socket.gethostname().split('.')[0]}-{os.getpid()}"
    for name, text in list(values.items()):
        hint = get_type_hints(kind, include_extras=True)[name]
        try:
            values[name] = msgspec.convert(text, hint, strict=False)
        except msgspec.ValidationError as error:
            shown = "" if _is_secret(metas.get(name)) else f" {text!r}"
            faults.append(f"{PREFIX}{name.upper()}:{shown} {error}")
    if faults:
        raise BadSettings("\n".join(faults))
    try:
        return kind(**values)
    except TypeError as error:
        raise BadSettings(f"{PREFIX}*: {error}") from None


def _is_secret(meta: Meta | None) -> bool:
    return meta is not None and bool((meta.extra or {}).get("secret"))


def split_address(text: str) -> tuple[str, int]:
    """`ADDRESS:PORT` or `[IPV6]:PORT`. Raises BadSettings."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        raise BadSettings(f"{text!r}: expected ADDRESS:PORT")
    return host.strip("[]"), int(port)
