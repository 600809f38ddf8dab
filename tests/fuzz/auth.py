"""The mechanisms of AUTH, line by line: whatever a client says ends in a question with a usable name, a challenge or a refusal.

The first line names the mechanism; each other line is what the client sends, base64 or not. Keys are answered for whoever is asked for.
"""

import base64
from collections.abc import Sequence

from smtpfleet.contracts.status import Status
from smtpfleet.smtp_in.auth import (
    USER_LIMIT_BYTES,
    Challenge,
    Claim,
    KeysQuery,
    Move,
    ProofResult,
    ScramSha256,
    decode_response,
    new_mechanism,
)
from smtpfleet.smtp_in.scram import parse_scram_keys, saslprep, scram_keys_of

WORDS: Sequence[bytes] = (
    b"PLAIN", b"LOGIN", b"SCRAM-SHA-256", b"\n", b"=", b"*", b"bob", b"\0", b"\0bob\0pw", b"n,,n=bob,r=abc", b"n,a=bob,n=bob,r=abc", b"y,,n=b=2Cb,r=x",
    b"c=biws,r=abc", b",p=", b"p=tls-unique,,", b"m=1,", b"=3D", b"=2C", b"\xff", b"\xc2\xad", b"\xd8\xa7", b"AGJvYgBwdw==", b"Ym9i", b"biwsbj1ib2Iscj1hYmM=",
    b"\r", "Ⅸ".encode(), "\u00a0".encode(), "\u0000".encode(), "\u06dd".encode(), b"SCRAM-SHA-256$4096:", b"{SCRAM-SHA-256}1,",
)  # fmt: skip
KEYS = scram_keys_of(b"pw", b"0123456789abcdef", 1)


def check(data: bytes) -> None:
    """One exchange; and each line as a stored key and as a password to be prepared."""
    name, *lines = data.split(b"\n")
    mechanism = new_mechanism(name.strip())
    for line in lines:
        _check_decoding(line)
        _check_text(line.decode("utf-8", "replace"))
    if mechanism is None:
        return
    responses = [_response(line) for line in lines]
    move: Move = mechanism.begin(responses.pop(0) if responses else None)
    while True:
        if isinstance(move, KeysQuery):
            _check_user(move.user)
            assert isinstance(mechanism, ScramSha256)
            move = mechanism.hear_keys(KEYS)
        if isinstance(move, Status):
            assert move.code == 501
            return
        if isinstance(move, Claim | ProofResult):
            _check_user(move.user)
            assert mechanism.user == move.user
            if isinstance(move, Claim):
                assert move.password and not set(move.password) & set(b"\0\r\n")
            elif isinstance(mechanism, ScramSha256):
                assert not move.is_proved, "nobody here knows the nonce"
            return
        assert isinstance(move, Challenge) and b"\r" not in move.text and b"\n" not in move.text
        if not responses:
            return
        move = mechanism.respond(responses.pop(0))


def _response(line: bytes) -> bytes:
    """What the mechanism hears: a line is the response itself where it is no base64."""
    decoded = decode_response(line)
    return line if decoded is None else decoded


def _check_user(user: str) -> None:
    assert user and len(user.encode()) <= USER_LIMIT_BYTES
    assert not any(ord(char) < 0x20 or ord(char) == 0x7F for char in user)


def _check_decoding(line: bytes) -> None:
    decoded = decode_response(line)
    if decoded is not None:
        assert len(base64.b64encode(decoded)) == len(line)


def _check_text(text: str) -> None:
    keys = parse_scram_keys(text)
    assert keys is None or keys.iterations >= 1
    try:
        prepared = saslprep(text)
    except ValueError:
        return
    assert "\0" not in prepared


def seeds() -> Sequence[bytes]:
    """An exchange of each mechanism."""
    return [
        b"PLAIN\nAGJvYgBwdw==", b"PLAIN\n\0bob\0pw", b"PLAIN\nbob\0bob\0pw", b"LOGIN\nbob\npw", b"login",
        b"SCRAM-SHA-256\nn,,n=bob,r=abc\nc=biws,r=abc,p=" + b"A" * 43 + b"=", b"SCRAM-SHA-256\nn,a=al=2Cice,n=bob,r=abc",
    ]  # fmt: skip
