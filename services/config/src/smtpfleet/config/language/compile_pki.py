"""`pki` to Pki: the files of a certificate by name, and who uses them.

Several statements may add to one name; what must be there is checked when the whole file is read, as OpenSMTPD does. Files are named,
never opened: keys lie where TLS is spoken, not necessarily here. Called by compiler.py; compile_listen and compile_action use names.
OpenSMTPD: pki in parse.y, load_pki_tree (smtpd.c).
"""

from smtpfleet.config.language.scope import DeclaredPki, Scope
from smtpfleet.config.language.tree import PkiStatement, Word
from smtpfleet.contracts.configuration import Pki

_DHE = ("none", "auto", "legacy")


def compile_pki(scope: Scope, statement: PkiStatement) -> None:
    """Declares the name, or adds to it."""
    name = statement.name.text.lower()
    declared = scope.pkis.setdefault(name, DeclaredPki(name, statement.name.span))
    for option, argument in statement.files.items():
        if option == "dhe":
            if argument.text not in _DHE:
                hint = (
                    scope.diagnostics.suggest(argument.text, _DHE)
                    or "none, auto or legacy; a file is given with dhparams"
                )
                scope.diagnostics.error(argument.span, f"invalid dhe keyword: {argument.text}", hint)
            declared.files["dhe"] = argument.text
        elif not argument.text:
            scope.diagnostics.error(argument.span, f"invalid {option} path: it names no file")
        else:
            declared.files["dhe" if option == "dhparams" else option] = str(scope.files.resolve(argument.text))


def use_pki(scope: Scope, name: Word) -> str:
    """The name as the snapshot has it, whether it is declared or not (reported)."""
    key = name.text.lower()
    declared = scope.pkis.get(key)
    if declared is None and key in scope.broken_pkis:
        return key
    if declared is None:
        hint = scope.diagnostics.suggest(key, scope.pkis) or "a pki is declared before it is used"
        scope.diagnostics.error(name.span, f"pki name not found: {name.text}", hint)
    else:
        declared.is_used = True
    return key


def warn_of_unused_pkis(scope: Scope) -> None:
    """A pki that nothing names is probably a listener that names another."""
    for name, declared in scope.pkis.items():
        if not declared.is_used:
            hint = "a listener or relay names it: listen on … tls pki NAME"
            scope.diagnostics.warning(declared.span, f"pki {name} is never used", hint)


def check_pkis(scope: Scope) -> dict[str, Pki]:
    """All of them, once the file is read."""
    found: dict[str, Pki] = {}
    for name, declared in scope.pkis.items():
        files = declared.files
        for option in ("certificate", "key"):
            if option not in files:
                scope.diagnostics.error(declared.span, f"missing {option} file for pki {name}")
        found[name] = Pki(
            name=name,
            certificate=files.get("certificate", ""),
            key=files.get("key", ""),
            ca=files.get("ca", ""),
            dhe=files.get("dhe", "none"),
        )
    return found
