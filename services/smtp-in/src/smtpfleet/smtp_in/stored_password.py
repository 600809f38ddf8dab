"""What a credentials table holds for a user, and whether a password agrees with it.

Pure computation, slow on purpose: called by credentials in its threads, never on the event loop. Takes the kinds of crypt(3), argon2 and
the keys of SCRAM-SHA-256; clear text and the old DES kind are not taken. A dummy has the kind and cost of a real one, so that an unknown
user takes as long as a known one. OpenSMTPD: lka.c lka_authenticate, which knows crypt(3) alone.
"""

import hmac
import re
import secrets
from base64 import b64encode

from argon2.exceptions import Argon2Error, InvalidHashError
from argon2.low_level import Type, verify_secret

from smtpfleet.smtp_in.crypt_library import PHRASE_LIMIT_BYTES, UnknownHash, crypt
from smtpfleet.smtp_in.scram import ScramKeys, parse_scram_keys, scram_keys_of

CRYPT_PREFIXES = ("$2a$", "$2b$", "$2y$", "$6$", "$5$", "$1$", "$y$", "$gy$", "$7$")
"""bcrypt in its three spellings, sha512-crypt, sha256-crypt, md5-crypt, yescrypt, gost-yescrypt, scrypt."""
DEFAULT_DUMMY = "$6$rounds=5000$........$" + "." * 86
"""Until a table has shown what it holds: sha512-crypt as `smtpctl encrypt` makes it on Linux."""

_ARGON2_TYPES = {"$argon2id$": Type.ID, "$argon2i$": Type.I, "$argon2d$": Type.D}
_LAST_FIELD = re.compile(r"([^$]*)\$([^$]*)\Z")
_BCRYPT = re.compile(r"(\$2[aby]\$[0-9]{2}\$)[./A-Za-z0-9]{53}")
_ALPHABET = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


class UnusableHash(Exception):
    """What the table holds is of no kind we take: the operator's to mend. Never carries the hash."""


def scram_keys(stored: str) -> ScramKeys | None:
    """The SCRAM keys, or None where another kind of hash is stored."""
    return parse_scram_keys(stored)


def verify_password(stored: str, password: bytes) -> bool:
    """Whether `password` is the one. Takes as long as the kind's parameters say. Raises UnusableHash or crypt_library.CryptMissing."""
    if len(password) > PHRASE_LIMIT_BYTES or b"\0" in password:
        return False
    for prefix, kind in _ARGON2_TYPES.items():
        if stored.startswith(prefix):
            return _verify_argon2(stored, password, kind)
    keys = parse_scram_keys(stored)
    if keys is not None:
        return hmac.compare_digest(scram_keys_of(password, keys.salt, keys.iterations).stored_key, keys.stored_key)
    if not stored.startswith(CRYPT_PREFIXES):
        raise UnusableHash("kind of password hash not taken")
    try:
        computed = crypt(password, stored.encode("ascii"))
    except (UnknownHash, UnicodeEncodeError) as error:
        raise UnusableHash(f"malformed password hash: {type(error).__name__}") from None
    return hmac.compare_digest(computed, stored.encode("ascii"))


def _verify_argon2(stored: str, password: bytes, kind: Type) -> bool:
    try:
        return bool(verify_secret(stored.encode("ascii"), password, kind))
    except (InvalidHashError, UnicodeEncodeError) as error:
        raise UnusableHash(f"malformed password hash: {type(error).__name__}") from None
    except Argon2Error as error:
        # The library has one exception for a wrong password and relatives of it for a hash that it cannot decode.
        if type(error).__name__ == "VerifyMismatchError":
            return False
        raise UnusableHash(f"malformed password hash: {type(error).__name__}") from None


def dummy_like(stored: str) -> str:
    """A hash of the same kind and cost that no password has; for users the table does not know."""
    keys = parse_scram_keys(stored)
    if keys is not None:
        salt, stored_key, server_key = (b64encode(secrets.token_bytes(n)).decode() for n in (16, 32, 32))
        return f"SCRAM-SHA-256${keys.iterations}:{salt}${stored_key}:{server_key}"
    bcrypt = _BCRYPT.fullmatch(stored)
    if bcrypt is not None:
        # The last character of a salt stands for two bits: a dot is always right.
        return bcrypt[1] + _random_text(21) + "." + "." * 31
    if stored.startswith(tuple(_ARGON2_TYPES)):
        head, _, tail = stored.rpartition("$")
        head, _, salt = head.rpartition("$")
        return f"{head}${_random_base64(len(salt))}${_random_base64(len(tail))}"
    if stored.startswith(CRYPT_PREFIXES):
        found = _LAST_FIELD.search(stored)
        if found is not None:
            salt, tail = found.groups()
            return stored[: found.start()] + salt + "$" + "." * len(tail)
    return DEFAULT_DUMMY


def _random_text(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def _random_base64(length: int) -> str:
    return b64encode(bytes(length)).decode()[:length].rstrip("=")
