"""From a table of the configuration to the backend that answers it.

Knows which module serves which name, and reads the settings files of the helpers. A backend's library is imported when the first table
uses it: a config without such tables stays small. Nothing is connected here. Used by server.py, and by the compiler to check the files.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from smtpfleet.config.tables.backend import Backend
from smtpfleet.config.tables.bad_file import BadTableFile
from smtpfleet.config.tables.proc import ProcBackend
from smtpfleet.config.tables.settings_file import SettingsFile, parse_settings
from smtpfleet.contracts.configuration import Table

SETTINGS_BACKENDS = ("sqlite", "mysql", "postgres", "ldap", "redis")
"""Those whose path is a file of settings."""
SETTINGS_LIMIT_BYTES = 1024 * 1024
"""A larger settings file is something else. Chosen, generous."""

Resolve = Callable[[str], Path]
Clock = Callable[[], float]


def check_settings_text(backend: str, text: str) -> SettingsFile | BadTableFile:
    """The settings in `text` for one of SETTINGS_BACKENDS, or what is wrong with them."""
    module = _module(backend)
    found = parse_settings(text, module.SETTINGS)
    if isinstance(found, BadTableFile):
        return found
    fault: BadTableFile | None = module.check_settings(found.values)
    return fault or found


def open_backend(table: Table, resolve: Resolve, now_s: Clock, settings_path: Path) -> Backend | BadTableFile:
    """The backend of a dynamic table. resolve: where a path written in a settings file leads. settings_path: what to open for table.path."""
    if table.backend == "proc":
        try:
            return ProcBackend(table.name, table.path, now_s)
        except ValueError:
            return BadTableFile("the command has an unclosed quote")
    if table.backend not in SETTINGS_BACKENDS:
        return BadTableFile(f"the backend {table.backend} is not asked over the bus")
    try:
        with settings_path.open("rb") as file:
            text = file.read(SETTINGS_LIMIT_BYTES).decode()
    except OSError as error:
        return BadTableFile(f"{table.path}: {error.strerror}")
    except UnicodeDecodeError:
        return BadTableFile(f"{table.path}: not UTF-8")
    found = check_settings_text(table.backend, text)
    if isinstance(found, BadTableFile):
        return BadTableFile(f"{table.path}: {found.reason}", found.line)
    return _build(table, found.values, resolve, now_s)


def _build(table: Table, values: Mapping[str, str], resolve: Resolve, now_s: Clock) -> Backend:
    module = _module(table.backend)
    backend: Backend
    match table.backend:
        case "sqlite":
            backend = module.SqliteBackend(lambda: resolve(values["dbpath"]), values, now_s)
        case "mysql":
            backend = module.MysqlBackend(values, now_s)
        case "postgres":
            backend = module.PostgresBackend(values, now_s)
        case "ldap":
            backend = module.LdapBackend(table.name, values, now_s)
        case _:
            backend = module.RedisBackend(values)
    return backend


def _module(backend: str) -> Any:
    """The module of a backend, with its library."""
    match backend:
        case "sqlite":
            from smtpfleet.config.tables import sqlite as module
        case "mysql":
            from smtpfleet.config.tables import mysql as module  # type: ignore[no-redef]
        case "postgres":
            from smtpfleet.config.tables import postgres as module  # type: ignore[no-redef]
        case "ldap":
            from smtpfleet.config.tables import ldap as module  # type: ignore[no-redef]
        case "redis":
            from smtpfleet.config.tables import redis as module  # type: ignore[no-redef]
        case _:
            raise ValueError(backend)
    return module
