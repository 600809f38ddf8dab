"""How a struct becomes bytes on the bus and in the store: one byte of version, then msgpack.

A payload of another version is refused, never guessed (UnknownVersion). Structs are msgpack arrays in field order; a field is only
ever added at the end, with a default, and anything else is a new version. A reply may also be a fault: version byte 0 and text.
"""

from typing import Any, TypeVar

import msgspec

VERSION = 1
_VERSION_BYTE = bytes([VERSION])
_FAULT_BYTE = b"\x00"

T = TypeVar("T")
_encoder = msgspec.msgpack.Encoder()


class UnknownVersion(Exception):
    """The first byte names a version this program does not speak."""


class Malformed(Exception):
    """The bytes are not what their subject or key promises."""


class RemoteFault(Exception):
    """The serving role could not handle the request; its log says why. The text carries no content and no addresses."""


def encode(value: object) -> bytes:
    """`value`, a contract struct, as bytes."""
    return _VERSION_BYTE + _encoder.encode(value)


def encode_fault(text: str) -> bytes:
    """A negative reply; `text` is for the log of the asking role, never for a peer."""
    return _FAULT_BYTE + text.encode()


_decoders: dict[type, msgspec.msgpack.Decoder[Any]] = {}


def decode(data: bytes, kind: type[T]) -> T:
    """The struct in `data`. Raises UnknownVersion, Malformed, or RemoteFault where `data` is a negative reply."""
    if not data:
        raise Malformed("empty payload")
    if data[0] != VERSION:
        if data[0] == 0:
            raise RemoteFault(data[1:].decode(errors="replace"))
        raise UnknownVersion(f"version {data[0]}, this program speaks {VERSION}")
    decoder = _decoders.get(kind)
    if decoder is None:
        decoder = _decoders[kind] = msgspec.msgpack.Decoder(kind)
    try:
        value: T = decoder.decode(memoryview(data)[1:])
        return value
    except msgspec.MsgspecError as error:
        raise Malformed(f"{kind.__name__}: {error}") from error
