"""Every example of smtpd.conf(5), in words of our own: of the page that belongs to 5.4.1 (of 19 November 2013) and of 7.8's (26 August 2025).

Whole files are folders of `good` and `modern/good`, compiled and compared by test_folders.py and test_modern_folders.py; what the text of the
pages shows in passing stands here. Both pages show a macro by listening twice on one address, the second time with TLS and without a pki:
5.4.1 and 7.4 refuse that as we do (6.8 takes it and cannot bind), so its lines stand here one by one.
"""

from pathlib import Path

import pytest

from smtpfleet.contracts.envelope import Envelope, LocalDispatcher
from smtpfleet.mail.formats import expand_format
from tests.unit.config.stage import LISTENER, RULE, compile_text

HERE = Path(__file__).parent

FOLDERS = {
    # 5.4.1
    "outgoing mail goes to a smarthost with a login": "good/manual_relay_with_login",
    "who can authenticate may relay, an mda takes local mail": "good/manual_authenticated_relay",
    # 7.8
    "outgoing mail goes to a smarthost with a login, modern": "modern/good/manual_smart_host",
    "who can authenticate may relay, an mda takes local mail, modern": "modern/good/manual_authenticated_relay",
    "DKIM by filter-dkimsign": "modern/good/manual_dkimsign",
    "filter-rspamd": "modern/good/manual_rspamd",
    "forged senders of our own domain": "modern/good/manual_forged_senders",
}

PKI = 'pki mx.example.test certificate "/c" key "/k"\n'
MODERN_RULE = "action a relay\nmatch for any action a\n"
MODERN_PKI = 'pki mx.example.test cert "/c"\npki mx.example.test key "/k"\n'
SECRETS = 'table secrets { label = "user:password" }\n'

CLASSIC = {
    "a macro for an address": f'{RULE}lan_addr = "192.0.2.1"\nlisten on $lan_addr\n',
    "the macro with TLS and AUTH": f'{PKI}{RULE}lan_addr = "192.0.2.1"\nlisten on $lan_addr tls pki mx.example.test auth\n',
    "another file": f'{LISTENER}include "/etc/mail/smtpd.conf.local"\n',
    "all subdomains": f'{LISTENER}accept for domain "*.example.test" deliver to mbox\n',
    "all subdomains, virtual, over two lines": (
        f'{LISTENER}table users {{ "@" = alice }}\naccept for domain "*.example.test" \\\n\tvirtual <users> deliver to mbox\n'
    ),
    "three warnings": f"{LISTENER}{RULE}bounce-warn\t1h, 6h, 2d\n",
    "expire, with a comment behind it": f"{LISTENER}expire 4d\t# four days\nexpire 10h\t# ten hours\n{RULE}",
    "a key for the queue": f"{LISTENER}{RULE}queue encryption key 00112233445566778899aabbccddeeff\n",
} | {
    f"relay via {url}": f"{LISTENER}accept for any relay via {url}\n"
    for url in (
        "smtp://mx1.example.test",
        "smtp://mx1.example.test:4321",
        "lmtp://localhost:2026",
        "tls://mx1.example.test",
        "smtps://mx1.example.test",
        "secure://mx1.example.test",
    )
} | {
    f"relay via {scheme}": f"{LISTENER}{SECRETS}accept for any relay via {scheme}://label@mx.example.test auth <secrets>\n"
    for scheme in ("tls+auth", "smtps+auth", "secure+auth")
}  # fmt: skip

MODERN = {
    "a macro for an address": f'{MODERN_RULE}lan_addr = "192.0.2.1"\nlisten on $lan_addr\n',
    "the macro with TLS and AUTH": (
        f'{MODERN_PKI}{MODERN_RULE}lan_addr = "192.0.2.1"\nlisten on $lan_addr tls pki mx.example.test auth\n'
    ),
    "the default of warn-interval": f"{LISTENER}{MODERN_RULE}bounce warn-interval 4h\n",
}
DOUBLE = 'lan_addr = "192.0.2.1"\nlisten on $lan_addr\nlisten on $lan_addr tls auth\n'


@pytest.mark.parametrize("folder", FOLDERS.values(), ids=FOLDERS)
def test_an_example_is_a_folder(folder: str) -> None:
    assert (HERE / folder / "smtpd.conf").is_file() and (HERE / folder / "expected.json").is_file()


@pytest.mark.parametrize("text", CLASSIC.values(), ids=CLASSIC)
def test_what_the_page_of_5_4_shows(text: str, tmp_path: Path) -> None:
    (tmp_path / "etc" / "mail").mkdir(parents=True)
    (tmp_path / "etc" / "mail" / "smtpd.conf.local").write_text(RULE)
    compiled = compile_text(tmp_path, text, root=str(tmp_path))
    assert compiled.configuration is not None, compiled.render()


@pytest.mark.parametrize("text", MODERN.values(), ids=MODERN)
def test_what_the_page_of_7_8_shows(text: str, tmp_path: Path) -> None:
    compiled = compile_text(tmp_path, text)
    assert compiled.configuration is not None, compiled.render()


@pytest.mark.parametrize("rule", [RULE, MODERN_RULE], ids=["5.4", "7.8"])
def test_the_macro_as_both_pages_show_it_is_refused(rule: str, tmp_path: Path) -> None:
    compiled = compile_text(tmp_path, DOUBLE + rule)
    assert compiled.configuration is None
    assert "pki" in compiled.render() and "listened on twice" in compiled.render()


@pytest.mark.parametrize("is_modern", [False, True], ids=["5.4", "7.8"])
@pytest.mark.parametrize(
    ("text", "rcpt", "result"),
    [
        ("%{rcpt.domain[0]}", "a@example.org", "e"),
        ("%{rcpt.domain[1]}", "a@example.org", "x"),
        ("%{rcpt.domain[8:]}", "a@example.org", "org"),
        ("%{rcpt.domain[-3:]}", "a@example.org", "org"),
        ("%{rcpt.domain[0:6]}", "a@example.org", "example"),
        ("%{rcpt.domain[0:-4]}", "a@example.org", "example"),
        ("%{rcpt:lowercase}", "User+Tag@Example.org", "user+tag@example.org"),
        ("%{rcpt:uppercase}", "User+Tag@Example.org", "USER+TAG@EXAMPLE.ORG"),
        ("%{rcpt:strip}", "User+Tag@Example.org", "User@Example.org"),
        ("%{rcpt:lowercase|strip}", "User+Tag@Example.org", "user@example.org"),
        ("%{rcpt}", "user+t?g@example.org", "user+t:g@example.org"),
        ("%{rcpt:raw}", "user+t?g@example.org", "user+t?g@example.org"),
    ],
)
def test_formats_as_both_pages_show_them(text: str, rcpt: str, result: str, is_modern: bool) -> None:
    envelope = Envelope(
        evpid="0" * 24, sender="", rcpt=rcpt, dest=rcpt, dispatcher=LocalDispatcher("mda", text, "u", "users"), tag="", helo="c",
        hostname="c", peer="192.0.2.9", smtpname="mx", created_at_ms=0, expire_s=1,
    )  # fmt: skip
    assert expand_format(text, envelope=envelope, home="/home/u", username="u", is_modern=is_modern) == result
