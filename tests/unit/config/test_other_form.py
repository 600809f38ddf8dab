"""Words of one form in a statement of the other: whose they are, what this form says, and where the file's form began."""

from pathlib import Path

import pytest

from smtpfleet.config.language.diagnostics import Severity
from tests.unit.config.stage import compile_text

MODERN_WORDS = {
    "queue ttl 1d": ("ttl", "expire, a statement of its own"),
    "pki a cert c key k": ("cert", "certificate"),
    "accept for any relay host smtp://h": ("host", "relay via URL"),
    "accept for any relay mail-from '@a.test'": ("mail-from", "as"),
    "accept for any relay helo x": ("helo", "hostname"),
    "accept for any relay tls no-verify": ("no-verify", "tls without verify"),
    "accept for any relay ttl 4d": ("ttl", "expire"),
    "accept for any relay srs": ("srs", ""),
    "accept for any maildir": ("maildir", "deliver to maildir"),
    "accept for any lmtp '/run/lmtp'": ("lmtp", "deliver to lmtp"),
    "accept for any action x": ("action", "what is to be done, as in deliver to maildir, or relay"),
    "accept for any deliver to mbox junk": ("junk", ""),
    "accept for any deliver to mda x wrapper y": ("wrapper", "the whole command in deliver to mda"),
    "accept from src 10.0.0.1 for any relay": ("src", "source"),
    "accept from auth for any relay": ("auth", "authenticated"),
    "accept from rdns for any relay": ("rdns", ""),
    "accept auth for any relay": ("auth", "authenticated"),
    "accept tls for any relay": ("tls", ""),
    "accept tag x for any relay": ("tag", "tagged"),
    "accept for rcpt-to a@b.test relay": ("rcpt-to", "recipient"),
    "reject helo x for any": ("helo", ""),
    "listen on 127.0.0.1 mask-src": ("mask-src", "mask-source"),
    "listen on 127.0.0.1 protocols x": ("protocols", ""),
    "listen on 127.0.0.1 ca x": ("ca", "pki NAME ca FILE"),
    "listen on socket mask-src": ("mask-src", "mask-source"),
    "filter f phase connect match fcrdns junk": ("phase", ""),
    "filter f proc-exec x": ("proc-exec", 'filter NAME "command"'),
    "filter f chain { a }": ("chain", "filterchain NAME FILTER …"),
}
CLASSIC_WORDS = {
    "queue encryption key k": ("key", "the key alone"),
    "pki a certificate c key k": ("certificate", "cert"),
    "pki a cert c key k ca x": ("ca", "ca NAME cert FILE, a statement of its own"),
    "action b relay via smtp://h": ("via", "host"),
    "action b relay as '@a.test'": ("as", "mail-from"),
    "action b relay source 10.0.0.1": ("source", "src"),
    "action b relay hostname x": ("hostname", "helo"),
    "action b relay tls verify": ("verify", "tls alone, which verifies"),
    "action b relay expire 4d": ("expire", "ttl"),
    "action b deliver to maildir": ("deliver", "the way alone, as in action NAME maildir"),
    "action b mbox expire 4d": ("expire", "ttl"),
    "match from source 10.0.0.1 reject": ("source", "src"),
    "match sender a for any reject": ("sender", "mail-from"),
    "match tagged x for any reject": ("tagged", "tag"),
    "match authenticated for any reject": ("authenticated", "auth"),
    "match for any deliver to maildir": ("deliver", "action NAME, and how it delivers stands in that action"),
    "match for any relay": ("relay", "action NAME, and how it relays stands in that action"),
    "match for any alias <t> action a": ("alias", "alias in the action"),
    "match for any action a expire 4d": ("expire", "ttl in the action"),
    "listen on 127.0.0.1 mask-source": ("mask-source", "mask-src"),
    "listen on socket mask-source": ("mask-source", "mask-src"),
}
CASES = [
    *((text, *rest, "6.4 and later", "5.4 to 6.3", "accept for local relay\n") for text, rest in MODERN_WORDS.items()),
    *((text, *rest, "5.4 to 6.3", "6.4 and later", "action a relay\n") for text, rest in CLASSIC_WORDS.items()),
]


@pytest.mark.parametrize(("text", "word", "says", "theirs", "ours", "first"), CASES, ids=[case[0] for case in CASES])
def test_the_word_is_explained(
    text: str, word: str, says: str, theirs: str, ours: str, first: str, tmp_path: Path
) -> None:
    compiled = compile_text(tmp_path, f"{first}{text}\n")
    (error,) = [item for item in compiled.diagnostics if item.severity is Severity.ERROR][:1]
    assert error.message == f'syntax error: "{word}" belongs to the form of OpenSMTPD {theirs}'
    says = f"this form says {says}" if says else "this form has nothing for it"
    began = f'this file is in the form of {ours} since "{first.split()[0]}" on line 1 of {tmp_path}/smtpd.conf'
    assert error.hint == f"{says}; {began}"
    assert (error.span.line, error.span.column) == (2, text.index(f" {word}") + 2)


@pytest.mark.parametrize("text", ['accept for any relay via "smtp://h" as "ttl"', 'pki "cert" certificate c key k'])
def test_a_quoted_word_is_a_name(text: str, tmp_path: Path) -> None:
    assert compile_text(tmp_path, f"listen on 127.0.0.1\naccept for local relay\n{text}\n").configuration is not None


@pytest.mark.parametrize(
    "form", ["accept for any relay\nqueue encryption key topsecret x", "match reject\nqueue encryption key topsecret"]
)
def test_a_key_is_not_shown(form: str, tmp_path: Path) -> None:
    compiled = compile_text(tmp_path, f"{form}\n")
    assert compiled.configuration is None and "topsecret" not in compiled.render()
