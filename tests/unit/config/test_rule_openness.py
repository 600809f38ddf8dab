"""Open relays, beyond the folder open_relays: what closes a rule, and what only seems to."""

from pathlib import Path

import pytest

from smtpfleet.config.language.diagnostics import Severity
from tests.unit.config.stage import compile_text

PKI = "pki p certificate c key k\ntable creds { a = b }\n"
PUBLIC, LOCAL = "listen on 192.0.2.1 tag X\n", "listen on 127.0.0.1 tag X\n"
REQUIRED = f"{PKI}listen on 192.0.2.1 tls pki p auth <creds> tag X\n"
OFFERED = f"{PKI}listen on 192.0.2.1 tls pki p auth-optional <creds> tag X\n"
CERTIFICATE = f"{PKI}listen on 192.0.2.1 tls-require verify pki p tag X\n"
CERTIFICATE_OFFERED = f"{PKI}listen on 192.0.2.1 tls pki p tag X\n"
OTHER = "listen on 192.0.2.2 tag Y\n"
ANY, BY_TAG = "accept from any for any relay", "accept tagged X from any for any relay"

CASES = {
    "from any": (PUBLIC, ANY, True),
    "the tag of a listener without auth": (PUBLIC, BY_TAG, True),
    "the listener may stand behind the rule": (OTHER, BY_TAG, False),
    "the tag of a listener that demands auth": (REQUIRED, BY_TAG, False),
    "the tag of a listener that offers auth": (OFFERED, BY_TAG, True),
    "the tag of a listener that demands a certificate": (CERTIFICATE, BY_TAG, False),
    "the tag of a listener with TLS": (CERTIFICATE_OFFERED, BY_TAG, True),
    "the tag of a listener of this host": (LOCAL, BY_TAG, False),
    "the tag of the socket": ("listen on socket tag X\n", BY_TAG, False),
    "one of two listeners with the tag": (REQUIRED + "listen on 192.0.2.2 tag X\n", BY_TAG, True),
    "the tag and a network": (PUBLIC, "accept tagged X from source 10.0.0.0 for any relay", False),
    "the tag and local": (PUBLIC, "accept tagged X for any relay", False),
    "the tag and a sender": (PUBLIC, "accept tagged X from any sender '@a.test' for any relay", True),
    "the tag and auth": (PUBLIC, "accept tagged X authenticated from any for any relay", False),
    "not the tag": (PUBLIC, "accept tagged ! X from any for any relay", False),
    "not the tag, and there is another": (PUBLIC + OTHER, "accept tagged ! X from any for any relay", True),
    "all of IPv4 by halves": (PUBLIC, "accept from source { '0.0.0.0/1', '128.0.0.0/1' } for any relay", True),
    "all of IPv6 by parts": (PUBLIC, "accept from source { '::/2', '4000::/2', '8000::/1' } for any relay", True),
    "all of IPv4 in brackets": (PUBLIC, "accept from source '[::]/0' for any relay", True),
    "one half of each": (PUBLIC, "accept from source { '0.0.0.0/1', '8000::/1' } for any relay", False),
    "private networks": (PUBLIC, "accept from source { '10.0.0.0/8', '192.168.0.0/16' } for any relay", False),
}
MODERN = {
    "one of several tags": (PUBLIC, "match tag { Y, x } from any for any action a", True),
    "an expression for tags": (PUBLIC, "match tag regex '^x$' from any for any action a", True),
    "an expression for no tag": (PUBLIC, "match tag regex '^y' from any for any action a", False),
    "not these tags": (PUBLIC, "match ! tag { Y } from any for any action a", True),
    "by halves": (PUBLIC, "match from src { '0.0.0.0/1', '128.0.0.0/1' } for any action a", True),
}


def is_warned(folder: Path, text: str) -> bool:
    compiled = compile_text(folder, text)
    assert compiled.configuration is not None, compiled.render()
    return any(item.message == "open relay" and item.severity is Severity.WARNING for item in compiled.diagnostics)


@pytest.mark.parametrize(("listeners", "rule", "is_open"), CASES.values(), ids=CASES)
def test_classic(listeners: str, rule: str, is_open: bool, tmp_path: Path) -> None:
    assert is_warned(tmp_path, f"{listeners}{rule}\n") == is_open
    assert is_warned(tmp_path, f"{PKI if 'pki p' in listeners else ''}{rule}\n{listeners.removeprefix(PKI)}") == is_open


@pytest.mark.parametrize(("listeners", "rule", "is_open"), MODERN.values(), ids=MODERN)
def test_modern(listeners: str, rule: str, is_open: bool, tmp_path: Path) -> None:
    assert is_warned(tmp_path, f"{listeners}action a relay\n{rule}\n") == is_open
