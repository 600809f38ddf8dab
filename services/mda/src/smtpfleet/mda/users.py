"""Who the user of an envelope is and where the home is, asked again at every delivery as OpenSMTPD does (mda.c).

Looks into the userbase of the snapshot only and never touches the home. A user that vanished since RCPT fails for good; what an
operator can mend fails for now, and the log says what to mend.
"""

from smtpfleet.contracts.envelope import LocalDispatcher
from smtpfleet.contracts.outcome import OutcomeKind
from smtpfleet.mail.tables import TableError, Tables, UserInfo
from smtpfleet.mda.attempt import S451_USER_LOOKUP, S550_USER_LOOKUP, Attempt, tempfailed


def find_user(tables: Tables, dispatcher: LocalDispatcher, evpid: str, *, own_uid: int) -> UserInfo | Attempt:
    """The user with an absolute home that the uid we run as may write to, or the attempt that failed."""
    name, table = dispatcher.user, dispatcher.userbase
    try:
        user = tables.lookup_userinfo(table, name)
    except TableError as error:
        return tempfailed(evpid, str(error), S451_USER_LOOKUP)
    if user is None:
        return Attempt(evpid, OutcomeKind.PERMFAIL, S550_USER_LOOKUP)
    if not user.home.startswith("/"):
        return tempfailed(evpid, f"userbase {table}: home of {name} is not an absolute path", S451_USER_LOOKUP)
    if user.uid != own_uid:
        return tempfailed(
            evpid,
            f"userbase {table} says uid {user.uid} for {name} but mda runs as uid {own_uid} and cannot change it: "
            f"run mda as {user.uid} or write {own_uid} into the userbase",
            S451_USER_LOOKUP,
        )
    return user
