"""What both ends of TLS need to read of a configuration: where its files are, which versions its `protocols` and which suites its
`ciphers` mean.

Never reads a key and makes no context. Used by tls.py of smtp-in and of mta.
OpenSMTPD: ssl.c; libtls' tls_config_parse_protocols.
"""

import ssl
from pathlib import Path

from smtpfleet.runtime.root_folder import RootFolder

_VERSIONS = {"tlsv1.2": ssl.TLSVersion.TLSv1_2, "tlsv1.3": ssl.TLSVersion.TLSv1_3}
_OLD = {"tlsv1", "tlsv1.0", "tlsv1.1", "sslv3"}
_ALL = {"all", "legacy", "default", "secure", ""}

Stamp = tuple[int, int, int, int] | None
"""What changes when a file does; None for a file that is not there."""


DEFAULT_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""TLS 1.2 with forward secrecy and authenticated encryption only (RFC 9325 §4.2); those of TLS 1.3 are all like that."""
_CIPHER_WORDS = {
    "default": DEFAULT_CIPHERS,
    "secure": DEFAULT_CIPHERS,
    "compat": "HIGH:!aNULL",
    "legacy": "HIGH:MEDIUM:!aNULL",
    "all": "ALL:!aNULL:!eNULL",
    "insecure": "ALL:!aNULL:!eNULL",
}
"""libtls' words for a whole list (tls_config_set_ciphers(3)); ours for its own choice."""


class TlsFault(Exception):
    """TLS cannot be set up as configured: what is wrong with which file or option, for the operator."""


def locate(path: str, root: str) -> Path:
    """Where a path of the configuration leads in this container. One that config has found below the same root already stays there."""
    folder = RootFolder(root)
    return folder.follow(folder.place_once(path))


def stamp_of(path: Path) -> Stamp:
    """The file's stamp now."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def reason_of(error: OSError) -> str:
    """One word or sentence; ssl.SSLError is an OSError whose text names source lines of OpenSSL."""
    return (error.reason if isinstance(error, ssl.SSLError) else error.strerror) or type(error).__name__


def ciphers_of(text: str) -> str:
    """The list as OpenSSL takes it. Raises TlsFault where it leaves nothing of TLS 1.2: the suites of TLS 1.3 are always on, and Python's
    ssl cannot choose among them."""
    ciphers = _CIPHER_WORDS.get(text.lower(), text)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).set_ciphers(ciphers)
    except ssl.SSLError:
        raise TlsFault(f"no usable cipher in {text!r}") from None
    return ciphers


def versions_of(protocols: str) -> tuple[ssl.TLSVersion, ssl.TLSVersion]:
    """Lowest and highest version of libtls's `protocols` text: words that are added, or taken away with `!`. What is older than TLS 1.2
    is never on (RFC 8996). Raises TlsFault where nothing is left."""
    chosen: set[ssl.TLSVersion] = set()
    for word in protocols.lower().replace(":", ",").split(","):
        name, is_negated = word.strip().removeprefix("!"), word.strip().startswith("!")
        if name in _ALL:
            named = set(_VERSIONS.values())
        elif name in _VERSIONS:
            named = {_VERSIONS[name]}
        elif name in _OLD:
            named = set()
        else:
            raise TlsFault(f"unknown protocol {name!r}")
        if is_negated and not chosen and name not in _ALL:
            chosen = set(_VERSIONS.values())
        chosen = chosen - named if is_negated else chosen | named
    if not chosen:
        raise TlsFault(f"no protocol left of {protocols!r}; TLS 1.2 and 1.3 are what there is")
    return min(chosen), max(chosen)
