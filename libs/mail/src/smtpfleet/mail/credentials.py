"""The value of a table of credentials as the roles that read one need to understand it: where the hash is, and of which kind.

Owns the form `user:hash` and the two spellings of SCRAM keys; verifies nothing and keeps nothing. Called by config, which says of a table
it has read what kinds it holds, and by smtp-in. OpenSMTPD: reference 9.1, service credentials; it knows crypt(3) alone.
"""

from collections.abc import Iterable

SCRAM = "scram"
OTHER = "other"

_SCRAM_PREFIXES = ("SCRAM-SHA-256$", "{SCRAM-SHA-256}")
_BARE = ("$", *_SCRAM_PREFIXES, "*", "!")


def hash_of_value(value: str) -> str:
    """The hash in a credentials value, `user:hash` or `hash` (reference 9.1). A hash may contain colons, a user none."""
    if value.startswith(_BARE):
        return value
    _, colon, rest = value.partition(":")
    return rest if colon else value


def password_kinds(values: Iterable[str]) -> tuple[str, ...]:
    """Of which kinds the hashes in these values are, in order: SCRAM keys, well-formed or not, and others."""
    kinds = {SCRAM if hash_of_value(value).startswith(_SCRAM_PREFIXES) else OTHER for value in values}
    return tuple(sorted(kinds))
