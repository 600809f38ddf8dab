"""Looks at `ciphers` and `protocols` when they are compiled: what leaves nothing to speak would only be found when no mail goes.

Called by compile_global.py and the modern compile_*. OpenSMTPD: libtls, when the first session begins.
"""

from smtpfleet.config.language.diagnostics import Diagnostics
from smtpfleet.config.language.tree import Word
from smtpfleet.runtime.tls_files import TlsFault, ciphers_of, versions_of


def check_ciphers(diagnostics: Diagnostics, word: Word | None) -> None:
    """Reports a list that OpenSSL can make nothing of."""
    if word is None:
        return
    hint = "a list as OpenSSL writes it, as in HIGH:!aNULL"
    if not word.text or not word.text.isascii() or not word.text.isprintable():
        diagnostics.error(word.span, f"invalid ciphers: {word.text}", hint)
        return
    if all(name.startswith("TLS_") for name in word.text.split(":")):
        hint = "those of TLS 1.3 are always on, and it is no list of others"
    try:
        ciphers_of(word.text)
    except TlsFault:
        diagnostics.error(word.span, f"invalid ciphers: {word.text}", hint)


def check_protocols(diagnostics: Diagnostics, word: Word | None) -> None:
    """Reports words that are no protocols, or leave none."""
    if word is None:
        return
    try:
        versions_of(word.text)
    except TlsFault as fault:
        diagnostics.error(word.span, f"invalid protocols: {word.text}", str(fault))
