"""Actions that deliver here to LocalAction and ExpandAction: mbox, maildir, lmtp, mda, forward-only, expand-only.

Refuses what OpenSMTPD refuses. Called by compile_action.py. OpenSMTPD: dispatcher_local in parse.y.
"""

from smtpfleet.config.language.compile_action import compile_target
from smtpfleet.config.language.compile_table import ALIAS, USERINFO, VIRTUAL, Service
from smtpfleet.config.language.modern.options import options_by_name, table_of, text_of, word_of
from smtpfleet.config.language.modern.table_use import use_modern_table
from smtpfleet.config.language.modern.tree import ActionStatement, Option
from smtpfleet.config.language.scope import Scope
from smtpfleet.config.language.tree import Word
from smtpfleet.contracts.configuration import GETPWNAM, ExpandAction, LocalAction

SUFFIX = " for this dispatcher"
_PLACES = {
    "alias": ("mapping", "alias mapping"),
    "virtual": ("mapping", "virtual mapping"),
    "userbase": ("userbase", "userbase mapping"),
}
_NO_USER = {
    "mbox": "for this dispatcher",
    "forward-only": "for forward-only",
    "expand-only": "for expand-only",
}
"""Methods whose user is always the recipient, as OpenSMTPD names them."""


_NO_PROGRAM = ("mbox", "maildir", "lmtp")
"""Methods that mda carries out itself; OpenSMTPD has a program for each (mail.maildir, mail.lmtp) and wraps that, but for mbox."""


def compile_local(scope: Scope, statement: ActionStatement) -> LocalAction | ExpandAction:
    """The action with every option it was given."""
    # OpenSMTPD lets a second wrapper replace the first.
    once = [option for option in statement.options if option.name != "wrapper"]
    options = options_by_name(scope, once, _PLACES, SUFFIX)
    alias = _table(scope, options, "alias", ALIAS)
    virtual = _table(scope, options, "virtual", VIRTUAL)
    userbase = _table(scope, options, "userbase", USERINFO) if "userbase" in options else GETPWNAM
    if "user" in options and statement.method in _NO_USER:
        where = _NO_USER[statement.method]
        scope.diagnostics.error(options["user"].span, f"user may not be specified {where}")
    wrapper = _wrapper(scope, statement)
    _warn_of_users(scope, statement, userbase, virtual, text_of(options, "user"))
    if statement.method in ("forward-only", "expand-only"):
        return ExpandAction(alias, virtual, userbase, is_forward_only=statement.method == "forward-only")
    return LocalAction(
        method=statement.method,
        target=compile_target(scope, statement.method, statement.argument, is_modern=True),
        alias=alias,
        virtual=virtual,
        userbase=userbase,
        user=text_of(options, "user").lower(),
        wrapper=wrapper,
        is_junk=statement.detail == "junk",
        is_rcpt_to=statement.detail == "rcpt-to",
    )


def _table(scope: Scope, options: dict[str, Option], name: str, service: Service) -> str:
    use = table_of(options, name)
    return use_modern_table(scope, use, service, name) if use is not None else ""


def _wrapper(scope: Scope, statement: ActionStatement) -> str:
    """The command of the wrapper; mbox, which is no command, has none."""
    command = ""
    for option in statement.options:
        word = word_of({option.name: option}, "wrapper")
        if word is None:
            continue
        command = find_wrapper(scope, word)
        if statement.method in _NO_PROGRAM:
            message = f"no program delivers to {statement.method}, so there is none to wrap"
            hint = "the wrapper is for commands of aliases and .forward alone" if statement.method != "mbox" else ""
            scope.diagnostics.warning(word.span, message, hint)
    return command if statement.method != "mbox" else ""


def find_wrapper(scope: Scope, word: Word) -> str:
    """The command of the wrapper of that name, "" where there is none (reported)."""
    wrappers = scope.modern.wrappers
    if word.text not in wrappers:
        hint = scope.diagnostics.suggest(word.text, wrappers) or "declare it with mda wrapper"
        scope.diagnostics.error(word.span, f"no mda wrapper with that name: {word.text}", hint)
    return wrappers.get(word.text, "")


def _warn_of_users(scope: Scope, statement: ActionStatement, userbase: str, virtual: str, user: str) -> None:
    # A virtual table may lead to addresses alone, and so does expand-only.
    if userbase == GETPWNAM and not virtual and not user and statement.method != "expand-only":
        message = "no userbase: users are those of the system smtp-in and mda run on, in containers nobody"
        scope.diagnostics.warning(statement.span, message, "name a table of users: userbase <users>")
