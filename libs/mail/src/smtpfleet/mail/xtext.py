"""xtext: how RFC 3461 §4 and RFC 4954 §5 carry any printable text inside a parameter, `+2B` for a plus sign.

Owns encoding and decoding, and what a decoded value may contain: no control character ever comes out, because values end up in headers
of reports and in commands to other servers. Pure; used by mail_parameters, rcpt_parameters and dsn.
"""

import re

_is_xtext = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})*+").fullmatch
_ENCODED = re.compile(r"\+([0-9A-F]{2})")
_MUST_ENCODE = re.compile(r"[^!-*,-<>-~]")
_NO_QCHAR = re.compile(r"[^!-*,-<>-\[\]-~]")
# RFC 6533 §3: `\x{41}`, two to six hexadecimal digits; what comes out of one of the two forms is not read as the other.
_UNITEXT_CHARACTER = re.compile(r"\\x\{([0-9A-F]{2,6})\}|\+([0-9A-F]{2})")


def decode_xtext(text: str) -> str | None:
    """The text behind `text`, or None where it is no xtext or hides something that cannot be printed."""
    if not _is_xtext(text):
        return None
    decoded = _ENCODED.sub(lambda found: chr(int(found[1], 16)), text)
    return decoded if decoded.isascii() and decoded.isprintable() else None


def encode_xtext(text: str) -> str:
    """Printable ASCII `text` as xtext."""
    return _MUST_ENCODE.sub(lambda found: f"+{ord(found[0]):02X}", text)


def encode_unitext(text: str) -> str:
    r"""An address of type utf-8 in ASCII, `\x{FC}` for what is beyond it (RFC 6533 §3, utf-8-addr-xtext)."""
    return _NO_QCHAR.sub(lambda found: f"\\x{{{ord(found[0]):02X}}}", text)


def decode_unitext(text: str) -> str | None:
    r"""The address behind `text` of an ORCPT of type utf-8: characters as they are, as `+HH` or as `\x{HHHH}`; None where it is none."""
    pieces: list[str] = []
    at = 0
    for found in _UNITEXT_CHARACTER.finditer(text):
        pieces.append(text[at : found.start()])
        point = int(found[1] or found[2], 16)
        if point > 0x10FFFF or 0xD800 <= point <= 0xDFFF:
            return None
        pieces.append(chr(point))
        at = found.end()
    pieces.append(text[at:])
    decoded = "".join(pieces)
    return decoded if decoded.isprintable() and " " not in decoded else None
