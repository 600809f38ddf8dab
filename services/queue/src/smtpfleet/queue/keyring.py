"""The keys of `queue encryption`, and what they seal: AES-256-GCM under the first of them, opened by whichever made it.

Owns the key material, which leaves this module neither in a log nor on the bus. Before what a key has sealed stands its id, the first
bytes of a digest of it, so that keys can be changed while mail is queued. Each message is sealed under a key derived from the operator's:
random nonces must not repeat under one key, and so a busy queue never comes near their limit of 2³² (NIST SP 800-38D §8.3).
Called by stored_form. OpenSMTPD: crypto.c, with one key.
"""

import base64
import binascii
import hashlib
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from smtpfleet.runtime.settings import BadSettings

KEY_BYTES = 32
ID_BYTES = 8
"""Of the digest that tells keys apart; a handful of keys never meet in 64 bits. Chosen."""
NONCE_BYTES = 12
TAG_BYTES = 16
HOW_TO_MAKE_ONE = "make one with `openssl rand -hex 32`"


class UnknownKey(Exception):
    """Sealed with a key that is not in the ring; the text is the key's id."""


class BadSeal(Exception):
    """The sealed bytes, or what they were bound to, are not as they were when they were sealed."""


class KeyRing:
    """The operator's keys. Empty where none was given."""

    def __init__(self, keys: list[bytes]) -> None:
        self._keys = {_id_of(key): key for key in keys}
        self._first = _id_of(keys[0]) if keys else b""

    @classmethod
    def parse(cls, text: str) -> "KeyRing":
        """A key per line, 64 hex digits or base64 of 32 bytes; `#` begins a comment. Raises BadSettings, without showing a key."""
        keys = []
        for number, line in enumerate(text.splitlines(), 1):
            word = line.split("#", 1)[0].strip()
            if word:
                key = _decode(word)
                if key is None:
                    raise BadSettings(
                        f"SMTPFLEET_QUEUE_KEY, line {number}: a key is 64 hex digits or base64 of {KEY_BYTES} bytes; {HOW_TO_MAKE_ONE}"
                    )
                keys.append(key)
        return cls(keys)

    @property
    def ids(self) -> list[str]:
        """Names of the keys for the log, the one that seals first."""
        return [key_id.hex() for key_id in self._keys]

    def seal(self, msgid: str, bound_to: bytes, data: bytes) -> bytes:
        """Key id, nonce, ciphertext and tag. `bound_to` must be given again to open it. There must be a key."""
        nonce = os.urandom(NONCE_BYTES)
        return self._first + nonce + _cipher(self._keys[self._first], msgid).encrypt(nonce, data, bound_to)

    def open(self, msgid: str, bound_to: bytes, sealed: bytes) -> bytes:
        """What was sealed. Raises UnknownKey or BadSeal."""
        if len(sealed) < ID_BYTES + NONCE_BYTES + TAG_BYTES:
            raise BadSeal
        key = self._keys.get(sealed[:ID_BYTES])
        if key is None:
            raise UnknownKey(sealed[:ID_BYTES].hex())
        nonce = sealed[ID_BYTES : ID_BYTES + NONCE_BYTES]
        try:
            return _cipher(key, msgid).decrypt(nonce, sealed[ID_BYTES + NONCE_BYTES :], bound_to)
        except InvalidTag:
            raise BadSeal from None


def _decode(word: str) -> bytes | None:
    try:
        key = bytes.fromhex(word) if len(word) == 2 * KEY_BYTES else base64.b64decode(word, validate=True)
    except (ValueError, binascii.Error):
        return None
    return key if len(key) == KEY_BYTES else None


def _id_of(key: bytes) -> bytes:
    return hashlib.blake2b(key, digest_size=ID_BYTES, person=b"smtpfleet key id").digest()


def _cipher(key: bytes, msgid: str) -> AESGCM:
    return AESGCM(hashlib.blake2b(msgid.encode(), key=key, digest_size=KEY_BYTES, person=b"smtpfleet queue").digest())
