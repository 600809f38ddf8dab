"""Who the user of an envelope is and where the home is, asked again at every delivery as OpenSMTPD does (mda.c).

Looks into the userbase of the snapshot, asks config for one that is not in it, and never touches the home. A user that vanished since
RCPT fails for good; what an operator can mend fails for now, and the log says what to mend.
"""

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from smtpfleet.contracts.commands import TableService
from smtpfleet.contracts.envelope import LocalDispatcher
from smtpfleet.contracts.outcome import OutcomeKind
from smtpfleet.mail.tables import NotInline, TableError, Tables, UserInfo
from smtpfleet.mda.attempt import S451_USER_LOOKUP, S550_USER_LOOKUP, Attempt, tempfailed
from smtpfleet.runtime.table_client import TableClient


async def lookup_user(tables: Tables, client: TableClient, table: str, name: str) -> UserInfo | None:
    """The user, by the snapshot or, for a userbase that is not in it, by config. Raises TableError."""
    try:
        return tables.lookup_userinfo(table, name)
    except NotInline as missing:
        value = await client.lookup(table, missing.service, missing.key)
        return tables.with_answers({(table, missing.service, missing.key): value}).lookup_userinfo(table, name)


@dataclass(frozen=True, slots=True)
class Userbases:
    """What is known about users. faults: by userbase, why config could not answer."""

    tables: Tables
    faults: Mapping[str, str]


async def ask_for_users(tables: Tables, client: TableClient, names: Mapping[str, Collection[str]]) -> Userbases:
    """What config says about these users, by userbase; all userbases at once."""
    answers: dict[tuple[str, TableService, str], str | None] = {}
    faults: dict[str, str] = {}

    async def ask(table: str, users: list[str]) -> None:
        try:
            values = await client.lookup_many(table, TableService.USERINFO, users)
        except TableError as error:
            faults[table] = str(error)
            return
        answers.update({(table, TableService.USERINFO, user): value for user, value in zip(users, values, strict=True)})

    await asyncio.gather(*(ask(table, sorted({user.lower() for user in users})) for table, users in names.items()))
    return Userbases(tables.with_answers(answers), faults)


def find_user(users: Userbases, dispatcher: LocalDispatcher, evpid: str, *, own_uid: int) -> UserInfo | Attempt:
    """The user with an absolute home whose rights we have or, being root, can take on; or the attempt that failed. LMTP needs nobody's."""
    name, table = dispatcher.user, dispatcher.userbase
    try:
        user = users.tables.lookup_userinfo(table, name)
    except TableError as error:
        return tempfailed(evpid, users.faults.get(table, str(error)), S451_USER_LOOKUP)
    if user is None:
        return Attempt(evpid, OutcomeKind.PERMFAIL, S550_USER_LOOKUP)
    if not user.home.startswith("/"):
        return tempfailed(evpid, f"userbase {table}: home of {name} is not an absolute path", S451_USER_LOOKUP)
    if own_uid not in (0, user.uid) and dispatcher.method != "lmtp":
        return tempfailed(
            evpid,
            f"userbase {table} says uid {user.uid} for {name} but mda runs as uid {own_uid} and cannot change it: "
            f"run mda as {user.uid} or write {own_uid} into the userbase",
            S451_USER_LOOKUP,
        )
    return user
