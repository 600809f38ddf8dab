"""How content and envelopes are packed and unpacked, and the keys that seal them: pure, no store."""

import base64
import os

import pytest
import zstandard

from smtpfleet.queue.keyring import BadSeal, KeyRing
from smtpfleet.queue.stored_form import COMPRESSED, SEALED, UNPACKED_LIMIT_BYTES, Damaged, KeyMissing, NoKey, StoredForm
from smtpfleet.runtime.settings import BadSettings

KEY = bytes(range(32)).hex()
OTHER_KEY = bytes(range(1, 33)).hex()
MSGID = "0018bcfe56c80001"
EVPID = MSGID + "00000001"
TEXT = b"Subject: x\r\n\r\n" + b"The quick brown fox jumps over the lazy dog.\r\n" * 40


def made(keys: str = KEY, *, compression: bool = False, encryption: bool = False) -> StoredForm:
    form = StoredForm(KeyRing.parse(keys))
    form.configure(compression=compression, encryption=encryption)
    return form


FORMS = [
    pytest.param(compression, encryption, id=f"{compression=} {encryption=}")
    for compression in (False, True)
    for encryption in (False, True)
]


@pytest.mark.parametrize(("compression", "encryption"), FORMS)
@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(TEXT, id="text"),
        pytest.param(b"\0begins with the mark", id="the mark"),
        pytest.param(os.urandom(70_000), id="incompressible"),
        pytest.param(b"\0\1" + os.urandom(50), id="what looks compressed"),
        pytest.param(b"\0\2" + os.urandom(50), id="what looks sealed"),
    ],
)
def test_what_was_packed_unpacks_whatever_the_configuration_says_by_then(
    compression: bool, encryption: bool, content: bytes
) -> None:
    packed = made(compression=compression, encryption=encryption).pack_content(MSGID, 3, content)
    for later in (made(), made(compression=True, encryption=True)):
        assert later.unpack_content(MSGID, [packed], 3) == content


def test_with_everything_off_nothing_is_changed() -> None:
    form = made("")
    assert form.pack_content(MSGID, 0, TEXT) is TEXT
    envelope = b"\x01envelope"
    assert form.pack_envelope(EVPID, envelope) is envelope
    assert form.unpack_content(MSGID, [TEXT]) is TEXT
    assert form.unpack_envelope(EVPID, envelope) is envelope


def test_compression_makes_smaller_or_leaves_alone() -> None:
    form = made(compression=True)
    assert len(form.pack_content(MSGID, 0, TEXT)) < len(TEXT) / 4
    noise = b"x" + os.urandom(100_000)
    assert form.pack_content(MSGID, 0, noise) is noise


def test_chunks_of_several_kinds_make_one_content() -> None:
    plain, small, sealed = made(), made(compression=True), made(compression=True, encryption=True)
    chunks = [
        plain.pack_content(MSGID, 0, TEXT),
        small.pack_content(MSGID, 1, TEXT),
        sealed.pack_content(MSGID, 2, TEXT),
    ]
    assert plain.unpack_content(MSGID, chunks) == TEXT * 3


def test_the_same_is_never_sealed_the_same() -> None:
    form = made(encryption=True)
    assert len({form.pack_content(MSGID, 0, TEXT) for _ in range(50)}) == 50


def test_every_changed_byte_is_noticed() -> None:
    form = made(encryption=True, compression=True)
    packed = form.pack_content(MSGID, 0, TEXT)
    for position in range(1, len(packed)):
        changed = bytearray(packed)
        changed[position] ^= 0x01
        assert not isinstance(form.unpack_content(MSGID, [bytes(changed)]), bytes), position
    for length in range(1, len(packed)):
        assert isinstance(form.unpack_content(MSGID, [packed[:length]]), Damaged), length


def test_what_is_sealed_is_bound_to_its_place() -> None:
    form = made(encryption=True)
    content, envelope = form.pack_content(MSGID, 1, TEXT), form.pack_envelope(EVPID, b"\x01envelope")
    assert isinstance(form.unpack_content(MSGID, [content], 0), Damaged)
    assert isinstance(form.unpack_content("0018bcfe56c80002", [content], 1), Damaged)
    assert isinstance(form.unpack_envelope(MSGID + "00000002", envelope), Damaged)
    assert isinstance(form.unpack_content(MSGID, [envelope], 1), Damaged)


def test_rotation_the_first_key_encrypts_and_all_decrypt() -> None:
    old = made(KEY, encryption=True).pack_content(MSGID, 0, TEXT)
    both = made(f"{OTHER_KEY}\n{KEY}", encryption=True)
    new = both.pack_content(MSGID, 0, TEXT)
    assert both.unpack_content(MSGID, [old]) == both.unpack_content(MSGID, [new]) == TEXT
    assert made(OTHER_KEY).unpack_content(MSGID, [new]) == TEXT
    assert made(OTHER_KEY).unpack_content(MSGID, [old]) == KeyMissing(KeyRing.parse(KEY).ids[0])
    assert isinstance(made("").unpack_content(MSGID, [old]), KeyMissing)


def test_nothing_is_written_before_a_configuration_or_without_the_key_it_wants() -> None:
    unconfigured, keyless = StoredForm(KeyRing.parse(KEY)), made("", encryption=True)
    for form, lacks_key in ((unconfigured, False), (keyless, True)):
        assert (form.may_write, form.lacks_key) == (False, lacks_key)
        with pytest.raises(NoKey):
            form.pack_content(MSGID, 0, TEXT)
        with pytest.raises(NoKey):
            form.pack_envelope(EVPID, b"\x01envelope")
    keyless.configure(compression=True, encryption=False)
    assert (keyless.may_write, keyless.lacks_key) == (True, False)


WRITTEN = {
    "compressed": "000128b52ffd204edd0000a05375626a6563743a20780d0a0d0a48656c6c6f2e0100beb33001",
    "compressed and encrypted": "0003b99bb575cec7c29c000102030405060708090a0ba70b7c1b6a362047ca0dfe7e4840a335b01d70b39fa40d0b2c"
    "c698f91b2c8ed708772ca527ac1fd5b87ff8b05b19e7357c3c9cf1",
}
"""Chunk 1 as the first version with this form stored it; it must be readable for ever, so this is not to be written anew."""


@pytest.mark.parametrize("stored", WRITTEN.values(), ids=WRITTEN)
def test_what_an_earlier_version_stored_is_read(stored: str) -> None:
    assert made().unpack_content(MSGID, [bytes.fromhex(stored)], 1) == b"Subject: x\r\n\r\n" + b"Hello.\r\n" * 8
    sealed = "0002b99bb575cec7c29c000102030405060708090a0b8edb3d902f149237afd78892e4154154fe152200410be4a9d8"
    assert made().unpack_envelope(EVPID, bytes.fromhex(sealed)) == b"\x01envelope"


def test_no_two_messages_are_sealed_under_one_key() -> None:
    ring = KeyRing.parse(KEY)
    sealed = ring.seal(MSGID, b"place", TEXT)
    assert ring.open(MSGID, b"place", sealed) == TEXT
    with pytest.raises(BadSeal):
        ring.open("0018bcfe56c80002", b"place", sealed)


BOMB = b"\0" + bytes((COMPRESSED,)) + zstandard.ZstdCompressor().compress(bytes(UNPACKED_LIMIT_BYTES + 1))


@pytest.mark.parametrize(
    "stored",
    [
        pytest.param(b"\0", id="only the mark"),
        pytest.param(b"\0\4abc", id="a kind of a later version"),
        pytest.param(bytes((0, COMPRESSED)), id="compressed nothing"),
        pytest.param(bytes((0, COMPRESSED)) + b"not zstd", id="not compressed"),
        pytest.param(BOMB, id="more than any chunk may be"),
        pytest.param(BOMB[:-3], id="cut"),
        pytest.param(bytes((0, SEALED)) + b"short", id="too short for a seal"),
    ],
)
def test_nonsense_is_damaged_not_an_exception(stored: bytes) -> None:
    assert isinstance(made().unpack_content(MSGID, [TEXT, stored]), Damaged)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(KEY, id="64 hex digits"),
        pytest.param(KEY.upper() + "\n", id="capitals"),
        pytest.param(base64.b64encode(bytes(range(32))).decode(), id="base64"),
        pytest.param(f"# since May\n\n  {KEY}  # the first\n", id="comments and blanks"),
        pytest.param(f"{KEY}\n{KEY}", id="twice the same"),
    ],
)
def test_forms_of_a_key(text: str) -> None:
    assert KeyRing.parse(text).ids == KeyRing.parse(KEY).ids


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("0123456789abcdef0123456789abcdef", id="128 bits, OpenSMTPD's form"),
        pytest.param("g" * 64, id="not hex"),
        pytest.param(KEY[:-1], id="63 digits"),
        pytest.param("aGVsbG8=", id="base64 of less"),
        pytest.param(f"{KEY} {OTHER_KEY}", id="two on a line"),
        pytest.param("ключ", id="not ASCII"),
    ],
)
def test_a_bad_key_is_refused_without_being_shown(text: str) -> None:
    with pytest.raises(BadSettings, match=r"line 2: .*openssl rand -hex 32") as refusal:
        KeyRing.parse(f"{OTHER_KEY}\n{text}")
    assert text not in str(refusal.value) and OTHER_KEY not in str(refusal.value)


def test_an_id_tells_nothing_of_the_key() -> None:
    ring = KeyRing.parse(f"{KEY}\n{OTHER_KEY}")
    assert len(set(ring.ids)) == 2
    assert not any(key_id in KEY + OTHER_KEY for key_id in ring.ids)
    assert KEY not in repr(ring) + repr(vars(StoredForm(ring))["_ring"])
