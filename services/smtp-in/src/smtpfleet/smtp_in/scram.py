"""SCRAM-SHA-256 as the server's side computes it: messages, keys, proof (RFC 5802, RFC 7677); channel binding is not offered.

Pure; no table, no session. The password never reaches the server: what a table holds are the two keys, in the form of RFC 5803 that
PostgreSQL writes or in Dovecot's. Used by auth for the exchange and by stored_password for PLAIN against the same keys. OpenSMTPD has no
SCRAM.
"""

import binascii
import hashlib
import hmac
import re
import secrets
import stringprep
import unicodedata
from base64 import b64decode, b64encode
from dataclasses import dataclass

ITERATIONS_FLOOR = 4096
"""RFC 7677 §4 asks for at least so many; what an unknown user seems to have until the table has shown what it holds."""
ITERATIONS_LIMIT = 10_000_000
"""Chosen: some seconds of work; more is a slip in a table that would stop a thread for ever."""
SALT_BYTES = 16
"""PostgreSQL's and most others'."""
NONCE_BYTES = 18
"""24 characters of base64; chosen, RFC 5802 asks for enough to be unique."""
NONCE_LIMIT = 256
"""Longest nonce taken from a peer. Chosen."""

_POSTGRES = re.compile(r"SCRAM-SHA-256\$([0-9]{1,9}):([A-Za-z0-9+/=]+)\$([A-Za-z0-9+/=]+):([A-Za-z0-9+/=]+)")
_DOVECOT = re.compile(r"\{SCRAM-SHA-256\}([0-9]{1,9}),([A-Za-z0-9+/=]+),([A-Za-z0-9+/=]+),([A-Za-z0-9+/=]+)")
# gs2-header without channel binding, then n= and r= of client-first-message-bare; m= (mandatory extension) never matches.
_CLIENT_FIRST = re.compile(
    r"([ny],(?:a=([^,]+))?,)(n=([^,]+),r=([\x21-\x2b\x2d-\x7e]+)(?:,[A-Za-z]=[^,]*)*)", re.DOTALL
)
_CLIENT_FINAL = re.compile(
    r"(c=([A-Za-z0-9+/=]+),r=([\x21-\x2b\x2d-\x7e]+)(?:,[A-Za-z]=[^,]*)*),p=([A-Za-z0-9+/=]+)", re.DOTALL
)
_SASLNAME_ESCAPE = re.compile(r"=(2C|3D)?")


@dataclass(frozen=True, slots=True)
class ScramKeys:
    """What proves a password without knowing it."""

    iterations: int
    salt: bytes
    stored_key: bytes
    server_key: bytes

    def __repr__(self) -> str:
        return f"ScramKeys(iterations={self.iterations})"


def parse_scram_keys(stored: str) -> ScramKeys | None:
    """The keys in a table's value, or None where it is none, or a malformed one."""
    found = _POSTGRES.fullmatch(stored) or _DOVECOT.fullmatch(stored)
    if found is None:
        return None
    try:
        salt, stored_key, server_key = (b64decode(text, validate=True) for text in found.groups()[1:])
    except binascii.Error:
        return None
    iterations = int(found[1])
    if len(stored_key) != 32 or len(server_key) != 32 or not 1 <= iterations <= ITERATIONS_LIMIT:
        return None
    return ScramKeys(iterations, salt, stored_key, server_key)


def scram_keys_of(password: bytes, salt: bytes, iterations: int) -> ScramKeys:
    """The keys of a password (RFC 5802 §3). Costs `iterations` hashes; the interpreter's lock is released."""
    try:
        prepared = saslprep(password.decode("utf-8")).encode("utf-8")
    except ValueError:
        prepared = password
    salted = hashlib.pbkdf2_hmac("sha256", prepared, salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    return ScramKeys(
        iterations, salt, hashlib.sha256(client_key).digest(), hmac.digest(salted, b"Server Key", "sha256")
    )


def unknown_keys(secret: bytes, user: str, iterations: int) -> ScramKeys:
    """Keys for a user who is not there, the same each time he is asked for: who guesses names learns nothing from the salt."""
    salt = hmac.digest(secret, user.lower().encode("utf-8", "replace"), "sha256")[:SALT_BYTES]
    return ScramKeys(iterations, salt, secrets.token_bytes(32), secrets.token_bytes(32))


@dataclass(frozen=True, slots=True)
class ClientFirst:
    """The parsed first message. authzid: "" for none."""

    gs2_header: str
    bare: str
    user: str
    authzid: str
    nonce: str


def parse_client_first(text: str) -> ClientFirst | None:
    """The client's first message, or None where it is malformed or asks for channel binding."""
    found = _CLIENT_FIRST.fullmatch(text)
    if found is None or len(found[5]) > NONCE_LIMIT:
        return None
    user, authzid = _unescape(found[4]), _unescape(found[2] or "")
    if user is None or authzid is None:
        return None
    try:
        return ClientFirst(found[1], found[3], saslprep(user), authzid, found[5])
    except ValueError:
        return None


def _unescape(saslname: str) -> str | None:
    """`=2C` is a comma, `=3D` an equals sign, and no other `=` may stand (RFC 5802 §5.1)."""
    if any(found == "" for found in _SASLNAME_ESCAPE.findall(saslname)):
        return None
    return saslname.replace("=2C", ",").replace("=3D", "=")


class ServerExchange:
    """One exchange after the keys are known."""

    def __init__(self, first: ClientFirst, keys: ScramKeys, *, nonce: str = "") -> None:
        self._first = first
        self._keys = keys
        self._nonce = first.nonce + (nonce or b64encode(secrets.token_bytes(NONCE_BYTES)).decode())
        self.server_first = f"r={self._nonce},s={b64encode(keys.salt).decode()},i={keys.iterations}"

    def verify(self, text: str) -> str | None:
        """server-final-message where the client has proved that it knows the password, else None."""
        found = _CLIENT_FINAL.fullmatch(text)
        if found is None or found[3] != self._nonce:
            return None
        try:
            binding, proof = b64decode(found[2], validate=True), b64decode(found[4], validate=True)
        except binascii.Error:
            return None
        if binding != self._first.gs2_header.encode("utf-8") or len(proof) != 32:
            return None
        message = f"{self._first.bare},{self.server_first},{found[1]}".encode()
        signature = hmac.digest(self._keys.stored_key, message, "sha256")
        client_key = bytes(a ^ b for a, b in zip(proof, signature, strict=True))
        if not hmac.compare_digest(hashlib.sha256(client_key).digest(), self._keys.stored_key):
            return None
        return "v=" + b64encode(hmac.digest(self._keys.server_key, message, "sha256")).decode()


def saslprep(text: str) -> str:
    """RFC 4013 for queries: blanks and soft hyphens mapped, NFKC, nothing prohibited. Raises ValueError."""
    mapped = "".join(
        " " if stringprep.in_table_c12(char) else char for char in text if not stringprep.in_table_b1(char)
    )
    prepared = unicodedata.normalize("NFKC", mapped)
    if any(is_prohibited(char) for char in prepared for is_prohibited in _PROHIBITED):
        raise ValueError("prohibited character")
    if any(map(stringprep.in_table_d1, prepared)) and (
        any(map(stringprep.in_table_d2, prepared))
        or not (stringprep.in_table_d1(prepared[0]) and stringprep.in_table_d1(prepared[-1]))
    ):
        raise ValueError("mixed directions")
    return prepared


_PROHIBITED = (
    stringprep.in_table_c12, stringprep.in_table_c21_c22, stringprep.in_table_c3, stringprep.in_table_c4,
    stringprep.in_table_c5, stringprep.in_table_c6, stringprep.in_table_c7, stringprep.in_table_c8, stringprep.in_table_c9,
)  # fmt: skip
