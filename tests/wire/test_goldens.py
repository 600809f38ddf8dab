"""The bytes of every contract message: a change that alters them is seen in review, and a new version is a decision.

`SMTPFLEET_REWRITE_GOLDENS=1 pytest tests/wire` writes them anew.
"""

import os
from pathlib import Path

import pytest
from msgspec import Struct

from smtpfleet.contracts import wire
from smtpfleet.contracts.envelope import Envelope
from smtpfleet.contracts.subjects import SUBJECTS
from tests.wire.samples import SAMPLES

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("name", SAMPLES)
def test_bytes_are_as_recorded_and_decode_to_the_same(name: str) -> None:
    sample = SAMPLES[name]
    data = wire.encode(sample)
    path = GOLDEN / f"{name}.hex"
    if os.environ.get("SMTPFLEET_REWRITE_GOLDENS"):
        path.write_text(data.hex("\n", 32) + "\n")
    assert bytes.fromhex(path.read_text()) == data
    assert wire.decode(data, type(sample)) == sample


def test_every_payload_and_reply_of_the_subject_table_has_a_golden() -> None:
    covered = {type(sample) for sample in SAMPLES.values()}
    carried: set[type[Struct]] = {row.payload for row in SUBJECTS} | {row.reply for row in SUBJECTS if row.reply}
    assert carried - covered == set()


@pytest.mark.parametrize("version", [2, 3, 0x7F, 0xFF])
def test_another_version_is_refused(version: int) -> None:
    data = bytes([version]) + wire.encode(SAMPLES["Envelope.local"])[1:]
    with pytest.raises(wire.UnknownVersion):
        wire.decode(data, Envelope)


@pytest.mark.parametrize("data", [b"", b"\x01", b"\x01\xc1", b"\x01\x93\x01\x02\x03", b"\x01\xa3abc"])
def test_garbage_is_refused(data: bytes) -> None:
    with pytest.raises(wire.Malformed):
        wire.decode(data, Envelope)


def test_a_fault_is_raised_with_its_text() -> None:
    with pytest.raises(wire.RemoteFault, match="busy"):
        wire.decode(wire.encode_fault("busy"), Envelope)


def test_a_field_added_at_the_end_with_a_default_reads_older_bytes() -> None:
    whole = wire.encode(SAMPLES["Envelope.local"])
    older = bytearray(whole)
    assert older[1:4] == b"\xdc\x00\x16"  # an array of 22: the envelope of today
    older[3] -= 1
    del older[-1]  # without `remote`, the empty string at the end
    assert wire.decode(bytes(older), Envelope) == SAMPLES["Envelope.local"]
