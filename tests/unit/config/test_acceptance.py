"""What OpenSMTPD 5.4.1 accepts and refuses (reference 13.1 and the notes of 1.3 to 1.6), a line each.

Every line stands after the tables and the listener of PREAMBLE; only the message of the first error is compared, up to the quoted part.
"""

from pathlib import Path

import pytest

from smtpfleet.config.language.diagnostics import Severity
from tests.unit.config.stage import compile_text

PREAMBLE = 'listen on 192.0.2.1\ntable u { alice = "1:1:/home/alice" }\npki known certificate "/c" key "/k"\n'
RULE = "\naccept for domain last.test relay\n"

REFUSED = {
    "listen on lo0 tls": "invalid listen option: tls/smtps requires pki",
    "listen on lo0 port 25 secure pki x": "invalid listen option: tls/smtps on same port",
    "listen on lo0 port smtps": "syntax error",
    "listen on lo0 auth": "invalid listen option: auth requires tls/smtps",
    "listen on lo0 pki known": "invalid listen option: pki requires tls/smtps",
    "listen on lo0 tls pki unknown": "pki name not found: unknown",
    "listen on nowhere.invalid": "invalid virtual ip or interface: nowhere.invalid",
    "listen on eth1": "invalid virtual ip or interface: eth1",
    "listen on lo0 port 65535": "invalid port",
    "listen on lo0 port 25 socket": "syntax error",
    "listen on lo0 port 25 tls smtps pki known": "invalid listen option: tls/smtps on same port",
    "listen on lo0 tls-require": "invalid listen option: tls/smtps requires pki",
    "listen on lo0 smtps": "invalid listen option: tls/smtps requires pki",
    "listen on lo0 auth-optional <u>": "invalid listen option: auth requires tls/smtps",
    "listen on lo0 tls pki known auth { a, b }": 'invalid use of table "<dynamic:1>" as auth parameter',
    "listen on lo0 tls verify pki known": "syntax error",
    "listen on lo0 hostnames { a, b }": 'invalid use of table "<dynamic:1>" as hostnames parameter',
    "listen on lo0 hostnames <later>": "no such table: later",
    "listen on lo0 senders { a }": 'invalid use of table "<dynamic:1>" as senders parameter',
    "listen on lo0 masquerade": "syntax error",
    "listen on lo0 filter nothing": "no such filter: nothing",
    "listen on socket port 25": "syntax error",
    "listen on socket\nlisten on socket": "socket listener already configured",
    'listen on "socket"': "invalid virtual ip or interface: socket",
    "table t { 25 }": "syntax error",
    "table t { a, b = c }": "syntax error",
    "table t { a = b, c }": "syntax error",
    "table t {\n a }": "syntax error",
    "table t { a\n}": "syntax error",
    "table t {}": "syntax error",
    "table t relative/path": 'backend "relative/path" does not exist',
    "table t db:rel": "invalid backend parameter for table: t",
    "table u { a }": 'table "u" already defined',
    "accept for domain a.b relay userbase <u>": "syntax error",
    "accept for domain a.b userbase <u> relay": "userbase may not be used with a relay rule",
    "accept for any virtual <u> relay": "aliases/virtual may not be used with a relay rule",
    "accept for local alias <u> from any": "syntax error",
    "accept for any relay via tls+auth://l@h": "error: auth without auth table",
    "accept for any relay via smtp://h verify": 'cannot "verify" with insecure protocol',
    "accept for any relay via lmtp://h": "invalid url",
    "accept for any relay via smtp://h:0": "invalid url",
    "accept for any relay via smtp://h:65536": "invalid url",
    "accept for any relay via label@h": "invalid url",
    "accept for any relay via tls+auth://h auth { a = b }": "invalid url",
    "accept for any relay via x://h": "invalid url",
    'accept for any relay as ""': 'invalid "as" address',
    "accept for any relay pki unknown": "pki name not found: unknown",
    "accept for any relay via tls+auth://l@h auth <none>": "no such table: none",
    "accept for any relay via secure+auth://l@h": "error: auth without auth table",
    "accept for any relay via lmtp://h:24 verify": 'cannot "verify" with insecure protocol',
    "accept for any relay via smtp+tls://h verify": 'cannot "verify" with insecure protocol',
    "accept for any relay hostnames { a }": 'invalid use of table "<dynamic:1>" as hostnames parameter',
    "accept for any relay source { a = b }": 'invalid use of table "<dynamic:1>" as relay source parameter',
    "accept for local deliver to mbox rcpt-to": "syntax error",
    "accept for local deliver to mda": "syntax error",
    "accept authenticated authenticated for any relay": "authenticated specified multiple times",
    "accept ! authenticated for any relay": "syntax error",
    "accept for local deliver to mbox forward-only": "forward-only may not be used with a default action",
    "accept for local deliver to lmtp nowhere": "invalid lmtp destination",
    "reject from any for any expire 4d": "syntax error",
    "reject for any alias <u>": "syntax error",
    "accept from local from any for any relay": "from specified multiple times",
    "accept for local for any relay": "for specified multiple times",
    "accept sender a sender b for any relay": "sender specified multiple times",
    "accept recipient a recipient b for any relay": "recipient specified multiple times",
    "accept for local userbase <u> userbase <u> deliver to maildir": "userbase specified multiple times",
    "accept for local alias <u> virtual <u> deliver to maildir": "virtual specified multiple times",
    "accept for any relay expire 1d expire 2d": "expire specified multiple times",
    "accept for any relay expire 0d": "invalid expire delay",
    "accept from source <u> for any relay": 'invalid use of table "u" as source parameter',
    "accept for local alias alice deliver to maildir": 'invalid use of table "<dynamic:1>" as alias parameter',
    "accept for domain <later> relay\ntable later { a }": "no such table: later",
    "accept for any relay tagged x": "syntax error",
    "accept for any relay auth <u>": "syntax error",
    "accept for any relay via smtp://h backup": "syntax error",
    "expire 4": "syntax error",
    "expire 0d": "invalid expire delay",
    "expire 4w": "invalid expire delay",
    "expire 1d2h": "invalid expire delay",
    "expire 2147483648s": "invalid expire delay",
    "bounce-warn 0s": "invalid bounce delay",
    "max-message-size 35X": "invalid size",
    "limit mda max-sessions 1": "invalid scheduler limit keyword: max-sessions",
    "limit mta max-sessions 1": "invalid mta limit keyword: max-sessions",
    "limit session max-rcp 5": "invalid session limit keyword: max-rcp",
    "limit scheduler inflight 5": "invalid scheduler limit keyword: inflight",
    "limit mta for domain": "syntax error",
    "limit mda inet4": "syntax error",
    "limit mta max-conn-per-host 99999999999999999999": '"99999999999999999999" invalid number',
    "max-mta-deferred -1": "invalid limit: -1",
    "queue": "syntax error",
    "queue compression key a": "syntax error",
    "queue encryption key": "syntax error",
    "filter f": "syntax error",
    'filter f "/f"\nfilter f "/g"': 'filter "f" already defined',
    "filterchain c f": "no such filter: f",
    'filter f "/f"\nfilterchain c f f': 'filter "f" is in the chain twice',
    "subaddressing-delimiter '++'": "subaddressing-delimiter must be one character",
    "subaddressing-delimiter '@'": "subaddressing-delimiter uses invalid character",
    "ciphers": "syntax error",
    "hostname mx.example.org": "syntax error",
    "deliver to maildir": "syntax error",
    "accept for local deliver to maildir ~/Maildir": "syntax error",
    "pki half certificate c": "missing key file for pki half",
    "pki half key k": "missing certificate file for pki half",
    "pki third certificate c key k dhe 2048": "syntax error",
    'pki third certificate c key k dhe "2048"': "invalid dhe keyword: 2048",
    "listen = 5": "syntax error",
    "a = 5": "syntax error",
    "a = listen": "syntax error",
    "include relative.conf": "failed to include file relative.conf",
    "accept for any relay via $nothing": "macro 'nothing' not defined",
    "accept for domain { /etc } relay": "syntax error",
    "table t { 10/8 }": "syntax error",
}

ACCEPTED = [
    'listen on lo0 port "smtps"',
    "listen on lo0 tls pki known",
    "listen on lo0 tls smtps pki KNOWN",
    "listen on lo0 secure pki known auth-optional <u>",
    "listen on lo0 port 587 tls-require verify pki known auth <u> senders <u> masquerade received-auth no-dsn mask-source",
    "listen on lo0 port 588 tls pki known auth senders <u>",
    'listen on lo0 hostname a.test hostnames { "127.0.0.1" = b.test }',
    "listen on egress port 26",
    "listen on lo port 27",
    "listen on socket",
    'socket = "lo0"\nlisten on $socket',
    "table senders { a = b }\nlisten on lo0 tls pki known auth <senders>",
    "listen on lo0 port 465 port 26",
    "listen on lo0 inet4",
    'table t { "25" }',
    "table t { 10.0.0.0/8 ::1 a@b tls://h:25 4h 35M }",
    "table t { a = b c => d, e = f }",
    "table t { a\n\nb, c\n d }",
    "accept from ! local for any relay",
    "accept for ! domain { a.test } sender ! b@c.test relay",
    "accept for any relay via h",
    "accept for any relay via SMTP://h:25",
    "accept for any relay tls verify as user backup",
    "accept for any relay backup mx.example.test expire 5m",
    "accept for domain a.test alias <u> userbase <u>",
    'accept for local userbase <u> deliver to maildir "~/Maildir"',
    "accept for local forward-only",
    "accept for local alias <u> userbase <u> forward-only expire 1h",
    "accept for local deliver to mbox",
    'accept for local deliver to mda "procmail -f %{sender}"',
    "accept for local deliver to lmtp localhost:24",
    'accept for local deliver to lmtp "/run/lmtp" rcpt-to',
    "accept authenticated from any for any relay",
    "accept for any relay via tls+auth://l@h auth <u>",
    "accept for any relay via SECURE+AUTH://l@h:2525 auth { l = 'user:password' } verify pki known",
    "accept for any relay via secure://h verify",
    "accept for any relay via lmtp://h:24",
    "accept for any relay via smtp://h auth <u>",
    "accept for any relay hostnames { '127.0.0.1' = a.test }",
    "accept",
    "reject",
    "bounce-warn",
    "bounce-warn 1h, 6h, 2d, 3d, 4d",
    "max-message-size 35M",
    "max-message-size 36700160",
    "limit mta for domain a.test inet4 max-conn-per-host 1",
    "limit mta",
    "limit mta inet6 conn-delay-route 0 task-hiwat 1",
    "limit scheduler max-inflight 1 max-evp-batch-size 2 max-msg-batch-size 3 max-schedule 4",
    "limit mda max-session 1 max-session-per-user 1 task-hiwat 3 task-lowat 2 task-release 1",
    "limit session max-rcpt 5 max-mails 6",
    "max-mta-deferred 0",
    "queue compression",
    "queue encryption",
    "queue encryption key stdin",
    'filter f "/f"\nfilterchain default f',
    "ciphers HIGH",
    'ciphers = "a macro, as it always was"',
    "subaddressing-delimiter '-'",
    "expire 2147483647s",
    "a = 'b'\nA = $a",
    "# comment \\\n listen on nothing",
    "accept for any \\\n relay",
    "accept for an\\y relay",
    "pki second certificate a key b ca c dhparams d",
    "pki second certificate a\npki second key b dhe legacy",
]


@pytest.mark.parametrize(("text", "message"), REFUSED.items(), ids=REFUSED)
def test_refused(text: str, message: str, tmp_path: Path) -> None:
    compiled = compile_text(tmp_path, PREAMBLE + text + RULE)
    errors = [item.message for item in compiled.diagnostics if item.severity is Severity.ERROR]
    assert compiled.configuration is None
    assert [error for error in errors if error.startswith(message)], errors


@pytest.mark.parametrize("text", ACCEPTED)
def test_accepted(text: str, tmp_path: Path) -> None:
    compiled = compile_text(tmp_path, PREAMBLE + text + RULE)
    assert compiled.configuration is not None, compiled.render()


def test_what_is_accepted_means(tmp_path: Path) -> None:
    """The rows of 13.1 that say what comes of it."""
    text = "table t { a = b c => d, e = f }\nbounce-warn 1h, 6h, 2d, 3d, 4d\n"
    compiled = compile_text(tmp_path, PREAMBLE + text + "accept for domain a.test alias <t> userbase <u>\n")
    assert compiled.configuration is not None, compiled.render()
    assert compiled.configuration.tables["t"].entries == {"a": "b", "c": "d", "e": "f"}
    assert compiled.configuration.bounce_warn_s == (3600, 21600, 172800, 259200)
    sizes = set()
    for size in ("35M", "36700160"):
        sized = compile_text(tmp_path, PREAMBLE + f"max-message-size {size}" + RULE)
        assert sized.configuration is not None
        sizes.add(sized.configuration.max_message_size_bytes)
    assert sizes == {36700160}


def test_a_file_without_rules_is_refused(tmp_path: Path) -> None:
    compiled = compile_text(tmp_path, PREAMBLE)
    assert [item.message for item in compiled.diagnostics if item.severity is Severity.ERROR] == [
        "no rules, nothing to do"
    ]


def test_an_empty_table_file_counts_as_a_mapping(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("# nothing\n")
    compiled = compile_text(tmp_path, "table t file:empty\naccept for domain <t> relay\n")
    assert [item.message for item in compiled.diagnostics] == ['invalid use of table "t" as domain parameter']


def test_global_expire_counts_for_the_rules_after_it(tmp_path: Path) -> None:
    compiled = compile_text(tmp_path, PREAMBLE + "accept for domain a.test relay\nexpire 1d\naccept for any relay\n")
    assert compiled.configuration is not None
    assert [rule.expire_s for rule in compiled.configuration.rules] == [345600, 86400]
    assert compiled.configuration.expire_s == 86400
