"""`smtpfleet-config`: check a configuration before it is used, show what it compiles to, or explain what it does with a recipient.

Compiles exactly as the service does and touches neither bus nor fleet; explain asks databases that tables name. `check` is OpenSMTPD's
`smtpd -n`, with -f and -D as there. versions and rollback speak to the fleet's bus and to nothing else.
"""

import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from smtpfleet.config.document import render_document
from smtpfleet.config.explainer import Explainer, NoFleet
from smtpfleet.config.language.compilation import Compilation, compile_file
from smtpfleet.config.language.files import ConfigFiles
from smtpfleet.config.language.host_discovery import discover_host
from smtpfleet.config.language.macros import BadMacro, is_usable_name, parse_definitions, split_definitions
from smtpfleet.config.publisher import Publisher
from smtpfleet.config.schema import render_schema
from smtpfleet.config.settings import DEFAULT_FILE, ConfigSettings
from smtpfleet.config.srs import SrsServer
from smtpfleet.config.tables.server import TableServer
from smtpfleet.contracts.commands import ExplainQuery, ExplainReply
from smtpfleet.contracts.configuration import Configuration
from smtpfleet.mail.explain import query_fault
from smtpfleet.runtime.bus import Bus, BusUnavailable
from smtpfleet.runtime.maillog import MailLog
from smtpfleet.runtime.settings import load_settings

CONNECT_S = 5.0
"""How long an operator waits for NATS. Chosen."""
T = TypeVar("T")

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Check, show and explain smtpfleet configurations.")

_Argument = Annotated[Path | None, typer.Argument(metavar="[FILE]", help="The configuration; the same as -f.")]
_File = Annotated[Path, typer.Option("-f", "--file", envvar="SMTPFLEET_CONFIG_FILE", help="The configuration.")]
_Define = Annotated[list[str], typer.Option("-D", metavar="NAME=VALUE", help="A macro the file cannot change.")]
_Root = Annotated[
    str, typer.Option("--root", envvar="SMTPFLEET_CONFIG_ROOT", help="Folder that stands for / in paths.")
]
_Macros = Annotated[str, typer.Option("--macros", envvar="SMTPFLEET_CONFIG_MACROS", help="name=value,name=value.")]
_Name = Annotated[str, typer.Option("--server-name", envvar="SMTPFLEET_SERVER_NAME", help="Name of the mail server.")]
_Local = Annotated[
    str, typer.Option("--local-addresses", envvar="SMTPFLEET_LOCAL_ADDRESSES", help="What from local means.")
]


@app.command()
def check(
    argument: _Argument = None,
    file: _File = Path(DEFAULT_FILE),
    define: _Define = [],  # noqa: B006  typer reads the default and makes a new list
    root: _Root = "",
    macros: _Macros = "",
    server_name: _Name = "",
    local_addresses: _Local = "auto",
) -> None:
    """Say whether the configuration is good: all that is wrong with it, or `configuration OK`."""
    _compile(argument or file, define, root, macros, server_name, local_addresses)
    typer.echo("configuration OK", err=True)


@app.command()
def explain(
    argument: _Argument = None,
    rcpt: Annotated[str, typer.Option("--rcpt", help="The recipient.")] = "",
    sender: Annotated[str, typer.Option("--sender", help="The reverse-path; empty for the null sender.")] = "",
    peer: Annotated[str, typer.Option("--from", help="The client's address, or local.")] = "127.0.0.1",
    helo: Annotated[str, typer.Option("--helo", help="What the client says it is.")] = "",
    tag: Annotated[str, typer.Option("--tag", help="The listener's tag.")] = "",
    auth: Annotated[str, typer.Option("--auth", help="Who has authenticated.")] = "",
    tls: Annotated[bool, typer.Option("--tls", help="The session is encrypted.")] = False,
    rdns: Annotated[str, typer.Option("--rdns", help="The client's name, if it leads back to it.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, as POST /v1/config/explain answers.")] = False,
    file: _File = Path(DEFAULT_FILE),
    define: _Define = [],  # noqa: B006
    root: _Root = "",
    macros: _Macros = "",
    server_name: _Name = "",
    local_addresses: _Local = "auto",
) -> None:
    """Say which rule decides about a recipient and why, how it expands, and what would be delivered where.

    Status 0 where it would be accepted, 2 where it would be refused, 1 where the configuration or the question is wrong.
    """
    query = ExplainQuery(peer, helo, sender, rcpt, tag, auth, tls, rdns)
    if fault := query_fault(query):
        typer.echo(f"smtpfleet-config: {fault}", err=True)
        raise typer.Exit(1)
    path = argument or file
    compiled = _compile(path, define, root, macros, server_name, local_addresses)
    assert compiled.configuration is not None
    reply = asyncio.run(_explain(compiled, compiled.configuration, path, root, query))
    if as_json:
        typer.echo(
            json.dumps({"accepted": not reply.refusal, "reply": reply.refusal or None, "envelopes": reply.destinations,
                        "steps": reply.lines}, indent=2)
        )  # fmt: skip
    else:
        typer.echo("\n".join(reply.lines))
    if reply.refusal:
        raise typer.Exit(2)


async def _explain(
    compiled: Compilation, configuration: Configuration, file: Path, root: str, query: ExplainQuery
) -> ExplainReply:
    files = ConfigFiles(file, root)
    tables = TableServer(MailLog("config"), files.find, follow=files.follow)
    tables.apply(configuration, compiled.withheld)
    srs = SrsServer(time.time)
    srs.apply(compiled.srs_keys, configuration.srs_ttl_s)
    try:
        return await Explainer(tables, srs, NoFleet()).explain(configuration, query)
    finally:
        await tables.close()


@app.command()
def show(
    argument: _Argument = None,
    file: _File = Path(DEFAULT_FILE),
    define: _Define = [],  # noqa: B006
    root: _Root = "",
    macros: _Macros = "",
    server_name: _Name = "",
    local_addresses: _Local = "auto",
) -> None:
    """Print what the configuration compiles to, as JSON."""
    compiled = _compile(argument or file, define, root, macros, server_name, local_addresses)
    typer.echo(render_document(compiled.configuration), nl=False)


def _compile(
    file: Path, define: list[str], root: str, macros: str, server_name: str, local_addresses: str
) -> Compilation:
    """Compiles, prints every diagnostic to stderr, and leaves with status 1 where there is an error."""
    try:
        definitions = parse_definitions([*split_definitions(macros), *define])
    except BadMacro as error:
        typer.echo(f"smtpfleet-config: {error}", err=True)
        raise typer.Exit(1) from None
    for name in definitions:
        if not is_usable_name(name):
            typer.echo(
                f'smtpfleet-config: warning: macro "{name}" can never be used: it was split at the last =', err=True
            )
    host = discover_host(server_name, local_addresses)
    compiled = compile_file(file, host, root=root, macros=definitions)
    typer.echo(compiled.render(), err=True, nl=False)
    if compiled.configuration is None:
        raise typer.Exit(1)
    return compiled


@app.command()
def schema() -> None:
    """Print the JSON schema of what `show` prints."""
    typer.echo(render_schema(), nl=False)


@app.command()
def versions() -> None:
    """List the configurations the fleet keeps, newest first; the first is in force. Needs SMTPFLEET_NATS_…."""
    for kept in asyncio.run(_with_publisher(lambda publisher: publisher.versions())):
        left = f", gone back from {kept.rolled_back_from}" if kept.rolled_back_from else ""
        typer.echo(f"{kept.version} {kept.hostname}, {len(kept.rules)} rules, {len(kept.tables)} tables{left}")


@app.command()
def rollback(version: Annotated[str, typer.Argument(help="As `versions` lists it.")]) -> None:
    """Go back to an earlier configuration; the files stay as they are and count again when they change. Needs SMTPFLEET_NATS_…."""
    done = asyncio.run(_with_publisher(lambda publisher: publisher.go_back(version)))
    if done is None:
        typer.echo(f"smtpfleet-config: version {version} is not kept", err=True)
        raise typer.Exit(1)
    typer.echo(f"in force: {done.version}")


async def _with_publisher(work: Callable[[Publisher], Awaitable[T]]) -> T:
    """Does `work` over the bus of the environment's settings; leaves with status 1 where the fleet cannot be reached."""
    settings = load_settings(ConfigSettings, os.environ)
    bus = Bus("config", settings, MailLog("config", level="error"))
    try:
        async with asyncio.timeout(CONNECT_S):
            await bus.connect()
        return await work(Publisher(bus))
    except (BusUnavailable, TimeoutError) as error:
        typer.echo(f"smtpfleet-config: {settings.nats_url}: {error or 'no answer'}", err=True)
        raise typer.Exit(1) from None
    finally:
        await bus.close()
