"""Delays and sizes as the configuration writes them: `4d`, `35M`.

Pure text to number; None where it is neither. OpenSMTPD: delaytonum (parse.y), scan_scaled (libutil).
"""

import re

_DELAY = re.compile(r"([0-9]+)([smhd])")
_UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_SIZE = re.compile(r"([0-9]+)(?:\.([0-9]*))?([BKMGTPEbkmgtpe]?)")
_SCALE = {"": 0, "b": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5, "e": 6}
INT_MAX = 2**31 - 1
"""Delays fit an int in OpenSMTPD."""
_LONG_MAX = 2**63 - 1


def parse_delay_s(text: str) -> int | None:
    """Seconds in digits and one of s, m, h, d; at least one second."""
    found = _DELAY.fullmatch(text)
    if found is None or len(found.group(1)) > len(str(INT_MAX)):
        return None
    seconds = int(found.group(1)) * _UNIT_S[found.group(2)]
    return seconds if 1 <= seconds <= INT_MAX else None


def parse_size_bytes(text: str) -> int | None:
    """Bytes in a number with an optional fraction and one of B K M G T P E, powers of 1024."""
    found = _SIZE.fullmatch(text)
    if found is None or len(text) > len(str(_LONG_MAX)) + 1:
        return None
    whole, fraction, unit = found.group(1), found.group(2) or "", found.group(3).lower()
    scale = 1024 ** _SCALE[unit]
    size_bytes = int(whole) * scale + (int(fraction) * scale // 10 ** len(fraction) if fraction else 0)
    return size_bytes if size_bytes <= _LONG_MAX else None
