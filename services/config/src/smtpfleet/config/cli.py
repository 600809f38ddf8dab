"""`smtpfleet-config`: check a configuration before it is used, or show what it compiles to.

Compiles exactly as the service does and touches neither bus nor fleet. `check` is OpenSMTPD's `smtpd -n`, with -f and -D as there.
"""

from pathlib import Path
from typing import Annotated

import typer

from smtpfleet.config.document import render_document
from smtpfleet.config.language.compilation import Compilation, compile_file
from smtpfleet.config.language.host_discovery import discover_host
from smtpfleet.config.language.macros import BadMacro, parse_definitions, split_definitions
from smtpfleet.config.settings import DEFAULT_FILE

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Check and show smtpfleet configurations.")

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
    host = discover_host(server_name, local_addresses)
    compiled = compile_file(file, host, root=root, macros=definitions)
    typer.echo(compiled.render(), err=True, nl=False)
    if compiled.configuration is None:
        raise typer.Exit(1)
    return compiled
