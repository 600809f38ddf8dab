"""`listen on` of the modern form to Listeners.

Checks that options come once, then hands the statement to the compiler of the classic form, which knows addresses, ports and TLS, and adds
what only this form has: several certificates, a bundle, ciphers, lists of filters. Called by compiler.py. OpenSMTPD: listen in parse.y.
"""

from typing import Any

import msgspec

from smtpfleet.config.language.compile_listen import compile_listen
from smtpfleet.config.language.compile_pki import use_pki
from smtpfleet.config.language.compile_tls import check_ciphers, check_protocols
from smtpfleet.config.language.modern.compile_filter import use_filters
from smtpfleet.config.language.modern.compile_relay import use_ca
from smtpfleet.config.language.modern.options import names_of, options_by_name, text_of, word_of
from smtpfleet.config.language.modern.tree import ListenerStatement, Names, Option
from smtpfleet.config.language.scope import Scope
from smtpfleet.config.language.tree import ListenOption, ListenStatement, Word

TAG_LIMIT = 32
"""OpenSMTPD SMTPD_TAG_SIZE without its NUL; a tag of `match` has none."""
PKI_LIMIT = 32
"""Certificates of one listener, chosen by SNI (OpenSMTPD PKI_MAX)."""
_CLASSIC_NAMES = {"mask-src": "mask-source"}
_OWN = ("pki", "ca", "ciphers", "protocols", "filter")
"""Options the classic compiler has not, or has for one name only."""
_PLACES = {
    "mask-src": ("mask-src", "mask-source"),
    "inet4": ("family", "address family"),
    "inet6": ("family", "address family"),
    "tls": ("tls", "TLS mode"),
    "smtps": ("tls", "TLS mode"),
    "tls-require": ("tls", "TLS mode"),
    "auth": ("auth", "auth"),
    "auth-optional": ("auth", "auth"),
}


def compile_listener(scope: Scope, statement: ListenerStatement) -> None:
    """Adds the listeners of one statement."""
    pkis = [option.argument for option in statement.options if option.name == "pki"]
    names = [word for word in pkis if isinstance(word, Word)]
    options = options_by_name(scope, (each for each in statement.options if each.name != "pki"), _PLACES)
    _check_pkis(scope, names)
    check_ciphers(scope.diagnostics, word_of(options, "ciphers"))
    check_protocols(scope.diagnostics, word_of(options, "protocols"))
    filters = names_of(options, "filter") or Names(())
    own: dict[str, Any] = {
        "ca": use_ca(scope, ca) if (ca := word_of(options, "ca")) else "",
        "ciphers": text_of(options, "ciphers"),
        "protocols": text_of(options, "protocols"),
        "filters": use_filters(scope, filters),
    }
    before = len(scope.listeners)
    on = statement.on or Word("socket", statement.on_span)
    translated = ListenStatement(on, _translate(options, names), statement.span, statement.on is None)
    compile_listen(scope, translated, TAG_LIMIT)
    others = tuple(
        use_pki(scope, name) for name in names[1:]
    )  # the first is the classic form's, looked up with the rest
    scope.listeners[before:] = [
        msgspec.structs.replace(each, pki=each.pki + others, **own) for each in scope.listeners[before:]
    ]


def _translate(options: dict[str, Option], pkis: list[Word]) -> tuple[ListenOption, ...]:
    """The statement as the classic form has it, where an option of an option is one of its own."""
    found: list[ListenOption] = []
    for option in options.values():
        if option.name in _OWN or isinstance(option.argument, Names):
            continue
        found.append(ListenOption(_CLASSIC_NAMES.get(option.name, option.name), option.argument, option.span))
        if option.detail:
            found.append(ListenOption(option.detail, None, option.span))
    if pkis:
        found.append(ListenOption("pki", pkis[0], pkis[0].span))
    return tuple(found)


def _check_pkis(scope: Scope, names: list[Word]) -> None:
    seen: set[str] = set()
    for name in names:
        if name.text.lower() in seen:
            scope.diagnostics.error(name.span, f"pki already specified: {name.text}", "name each certificate once")
        seen.add(name.text.lower())
    if len(names) > PKI_LIMIT:
        scope.diagnostics.error(names[PKI_LIMIT].span, "too many pki for this listener", f"at most {PKI_LIMIT}")
