"""What parameters of MAIL and RCPT have in common: `NAME=value` words, and the refusals of those that are wrong (RFC 5321 §4.1.2).

Owns the shape of a word and that no name comes twice; which names exist and what their values mean is in mail_parameters and
rcpt_parameters. Only a well-formed name is ever repeated to the peer, so nothing of its choice enters log or reply.
"""

import re

from smtpfleet.contracts.status import Status

PARAMETER_ECHO_LIMIT = 40
"""How much of an unknown parameter's name a refusal repeats; chosen, no source."""

# RFC 5321 §4.1.2 esmtp-param; bytes above 127 in values as RFC 6531 §3.3 allows, refused by whoever did not ask for them.
_parameter = re.compile(rb"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([!-<>-~\x80-\xff]+))?").fullmatch

Words = dict[bytes, bytes | None]


def read_parameters(rest: bytes, known: frozenset[bytes]) -> Words | Status:
    """Values by name in capitals, None for a name without one; or the refusal of the first that is malformed, unknown or repeated."""
    words: Words = {}
    for word in rest.split():
        found = _parameter(word)
        if found is None:
            return Status(501, "5.5.4", "Option syntax error")
        name = found.group(1).upper()
        if name not in known:
            # RFC 5321 §4.1.1.11.
            return Status(555, "5.5.4", f"Unsupported option {name[:PARAMETER_ECHO_LIMIT].decode('ascii')}")
        if name in words:
            return bad_parameter(name)
        words[name] = found.group(2)
    return words


def bad_parameter(name: bytes) -> Status:
    """The refusal of a value."""
    return Status(501, "5.5.4", f"Invalid value of option {name.decode('ascii')}")
