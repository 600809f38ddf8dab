"""Deployment settings of the mta role. What belongs to mail (limits, host name, relays) is in smtpd.conf."""

from typing import Annotated

from msgspec import Meta

from smtpfleet.runtime.settings import RoleSettings


class MtaSettings(RoleSettings, frozen=True, kw_only=True):
    """Environment of mta."""

    nameservers: Annotated[
        str, Meta(description="DNS servers as ADDRESS or ADDRESS:PORT, separated by commas; empty: the system's.")
    ] = ""
    dns_timeout_s: Annotated[float, Meta(description="Seconds one DNS lookup may take with all its retries.", gt=0)] = (
        10.0
    )
    max_sessions: Annotated[int, Meta(description="Most relays worked on at once by this replica.", ge=1)] = 100
    connect_timeout_s: Annotated[
        float, Meta(description="Seconds one connection attempt may take; RFC 5321 leaves it to TCP.", gt=0)
    ] = 30.0
    find_timeout_s: Annotated[
        float, Meta(description="Seconds the search for an exchanger that answers may take in all.", gt=0)
    ] = 300.0
    source_address: Annotated[
        str, Meta(description="Local address of sessions whose relay names no source; empty: the kernel chooses.")
    ] = ""
    mx_port: Annotated[
        int, Meta(description="TCP port of exchangers and of relays without a port.", ge=1, le=65535)
    ] = 25
    smtps_port: Annotated[int, Meta(description="TCP port of smtps relays without a port.", ge=1, le=65535)] = 465
    route_penalty_s: Annotated[
        float, Meta(description="Unit of a route's penalty, multiplied by its square; 0 never disables a route.", ge=0)
    ] = 15.0
    tls_ca_file: Annotated[
        str, Meta(description="Certificates that relays with verification must chain to; empty: the system's.")
    ] = ""
    config_root: Annotated[
        str, Meta(description="Folder that stands for / in paths of certificates and keys in smtpd.conf; empty: /.")
    ] = ""
