"""crypt(3) of the system's libcrypt, called without the interpreter's lock: other sessions go on while a password is hashed.

Owns the binding and nothing else: which kinds of hash are taken is credentials' business. libxcrypt knows every kind that users of
OpenSMTPD have: bcrypt, sha512-crypt, sha256-crypt, md5-crypt, yescrypt. Python's own `crypt` binds the same library, but holds the lock
for the whole computation and leaves with Python 3.13. Called from the threads of credentials. OpenSMTPD: crypt(3) in lka.c.
"""

import ctypes
import errno
from functools import lru_cache

LIBRARY_NAMES = ("libcrypt.so.1", "libcrypt.so.2")
"""glibc's name, which libxcrypt keeps on Debian, and its own, where compatibility is off."""
DATA_BYTES = 32768
"""sizeof(struct crypt_data) of libxcrypt 4; crypt_rn refuses a smaller one."""
PHRASE_LIMIT_BYTES = 511
"""CRYPT_MAX_PASSPHRASE_SIZE of libxcrypt is 512 with the terminator."""


class CryptMissing(Exception):
    """There is no libcrypt, or none with crypt_rn. An installation fault."""


class UnknownHash(Exception):
    """The library does not know this kind of hash, or its parameters are malformed."""


@lru_cache(maxsize=1)
def _crypt_rn() -> "ctypes._NamedFuncPointer":
    for name in LIBRARY_NAMES:
        try:
            # CDLL, not PyDLL: a call releases the lock.
            function = ctypes.CDLL(name, use_errno=True).crypt_rn
        except (OSError, AttributeError):
            continue
        function.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_int)
        function.restype = ctypes.c_char_p
        return function
    raise CryptMissing(f"no libcrypt with crypt_rn: tried {', '.join(LIBRARY_NAMES)}")


def crypt(phrase: bytes, setting: bytes) -> bytes:
    """The hash of `phrase` under the kind, parameters and salt of `setting`, which may be a whole hash.

    The phrase has no NUL and at most PHRASE_LIMIT_BYTES. Raises UnknownHash or CryptMissing.
    """
    # An area of its own for every call: threads share nothing, and no phrase outlives its call.
    data = ctypes.create_string_buffer(DATA_BYTES)
    try:
        found: bytes | None = _crypt_rn()(phrase, setting, data, DATA_BYTES)
        if found is None:
            raise UnknownHash(errno.errorcode.get(ctypes.get_errno(), "no reason given"))
        return bytes(found)
    finally:
        ctypes.memset(data, 0, DATA_BYTES)
