"""What OpenSMTPD's modern form accepts and refuses, a line each; messages up to the quoted part, of any of the errors.

Every line stands after PREAMBLE and before a rule. What the real 6.8 says about the same kinds of lines is compared in tests/interop.
"""

from pathlib import Path

import pytest

from smtpfleet.config.document import render_document
from smtpfleet.config.language.diagnostics import Severity
from smtpfleet.contracts import wire
from smtpfleet.contracts.configuration import MODERN
from tests.unit.config.stage import compile_text

PREAMBLE = """
listen on 192.0.2.1
pki p cert "/c" key "/k"
pki q cert "/c" key "/k"
ca c1 cert "/ca"
table creds { a = "pass" }
table l { a, b }
table m { a = b }
srs key "not in the model"
filter f1 proc-exec "/bin/f"
mda wrapper w "wrap %{mda}"
action "zz" mbox
"""
RULE = '\nmatch for domain last.test action "zz"\n'

REFUSED = {
    # lexer, macros, tables
    '"a b" = "x"': "macro name cannot contain whitespace",
    "foo = 5": "syntax error: expected the value of a macro",
    'smtp = "x"': "syntax error: expected limit, ciphers, max-message-size or sub-addr-delim",
    "match for any action $nothing": "macro 'nothing' not defined",
    "table t { a, }": "syntax error: expected an element of the table",
    "table t { }": "syntax error: expected an element of the table",
    "table t { 25 }": "syntax error: expected an element of the table",
    "table t { a = b, c }": 'syntax error: expected "=" or "=>"',
    "table t { a, b = c }": 'syntax error: expected "," or "}"',
    "table t { a\n\n": 'syntax error: this "{" is never closed',
    "table quit { a }": "syntax error: expected the name of a table",
    "table l { a }": 'table "l" already defined',
    # action
    "action a": "syntax error: expected mbox, maildir",
    "action a nonsense": "syntax error: expected mbox, maildir",
    "action zz maildir": "dispatcher already declared with that name: zz",
    "action a mbox alias <l>": 'table "l" may not be used for alias lookups',
    "action a mbox alias <m> alias <m>": "alias mapping already specified for this dispatcher",
    "action a mbox alias <m> virtual <m>": "alias mapping already specified for this dispatcher",
    "action a mbox virtual <m> alias <m>": "virtual mapping already specified for this dispatcher",
    "action a mbox userbase <l>": 'table "l" may not be used for userbase lookups',
    "action a mbox userbase <m> userbase <m>": "userbase mapping already specified for this dispatcher",
    "action a mbox user root": "user may not be specified for this dispatcher",
    "action a forward-only user root": "user may not be specified for forward-only",
    "action a expand-only user root": "user may not be specified for expand-only",
    "action a maildir user root user root": "user already specified for this dispatcher",
    'action a maildir junk "x"': "syntax error: expected an option of the action",
    "action a mbox junk": 'syntax error: "junk" is out of place',
    "action a lmtp rcpt-to": "syntax error: expected a destination",
    "action a lmtp nowhere": "invalid lmtp destination: nowhere",
    'action a mda "x" wrapper nope': "no mda wrapper with that name: nope",
    "action a mbox ttl 1d ttl 2d": "ttl already specified for this dispatcher",
    "action a mbox ttl 1d alias <m>": 'syntax error: "alias" is out of place',
    "action a mbox ttl 0d": 'ttl delay "0d" is invalid',
    "action a relay alias <m>": 'syntax error: "alias" does not belong to relay',
    "action a mbox host x": 'syntax error: "host" does not belong to an action that delivers here',
    "action a relay host x host y": "host mapping already specified for this dispatcher",
    "action a relay domain <m> host x": "host mapping already specified for this dispatcher",
    "action a relay host <m>": 'table "m" may not be used for host lookups',
    "action a relay domain <l>": 'table "l" may not be used for host lookups',
    "action a relay backup host x": "backup and host are mutually exclusive",
    "action a relay domain <m> backup": "backup and host are mutually exclusive",
    "action a relay backup backup mx x": "backup already specified for this dispatcher",
    "action a relay tls tls no-verify": "tls already specified for this dispatcher",
    "action a relay host smtp+notls://h tls": '"tls" contradicts smtp+notls://',
    "action a relay auth <creds>": "auth may not be specified without host on a dispatcher",
    "action a relay auth <creds> host h": "auth may not be specified without host on a dispatcher",
    "action a relay host h auth <l>": 'table "l" may not be used for auth lookups',
    "action a relay helo x helo y": "helo already specified for this dispatcher",
    "action a relay helo-src <l>": 'table "l" may not be used for helo-source lookups',
    "action a relay src <m>": 'table "m" may not be used for source lookups',
    "action a relay pki p pki p": "pki already specified for this dispatcher",
    "action a relay pki nope": "pki name not found: nope",
    "action a relay ca nope": "ca name not found: nope",
    'action a relay mail-from "a b@c"': "invalid mail-from",
    "action a relay srs srs": "srs already specified for this dispatcher",
    "action a relay filter nope": "no filter exist with that name: nope",
    "action a relay host tls://h": "invalid url: tls://h",
    "action a relay host lmtp://h": "invalid url: lmtp://h",
    "action a relay host smtp://h:0": "invalid url: smtp://h:0",
    "action a relay host smtp://h:65536": "invalid url",
    "action a relay host smtp://label@h": "invalid url",
    "action a relay host smtps://@h": "invalid url",
    'action a relay host "smtp://[::1"': "invalid url",
    "action a relay host { a, x://b }": "invalid url: x://b",
    "action a relay domain { a.test = x://b }": "invalid url: x://b",
    # match
    "match ! reject": 'syntax error: expected a condition after "!"',
    "match ! ! from local reject": 'syntax error: expected a condition after "!"',
    "match from ! local reject": 'syntax error: "!" is out of place',
    "match from reject": "syntax error: expected any, local, socket, src, rdns, auth or mail-from",
    "match for reject": "syntax error: expected any, local, domain or rcpt-to",
    "match regex x reject": "syntax error: expected a condition",
    "match for any": "syntax error: expected a condition",
    "match for any action": "syntax error: expected the name of an action",
    "match for any action zz reject": "syntax error: expected the end of the line",
    "match for any action zz tag x": 'syntax error: "tag" is out of place',
    "match for any action zz ttl 1d": 'syntax error: "ttl" is out of place',
    "match for any action nope": "no such dispatcher: nope",
    "match for any action later\naction later mbox": "no such dispatcher: later",
    "match from any from local reject": "from already specified for this rule",
    "match from auth auth reject": "auth already specified for this rule",
    "match for any tag x for any reject": "for already specified for this rule",
    "match from mail-from a mail-from b reject": "mail-from already specified for this rule",
    "match for rcpt-to a rcpt-to b reject": "rcpt-to already specified for this rule",
    "match for any for local reject": "for already specified for this rule",
    "match tag x tag y reject": "tag already specified for this rule",
    "match helo x helo y reject": "helo already specified for this rule",
    "match tls tls reject": "tls already specified for this rule",
    "match from src <m> reject": 'table "m" may not be used for from lookups',
    "match from auth <creds> reject": 'table "creds" may not be used for from lookups',
    "match for domain <m> reject": 'table "m" may not be used for for lookups',
    "match tag <m> reject": 'table "m" may not be used for tag lookups',
    "match for domain <later> reject\ntable later { a }": "no such table: later",
    # listen
    "listen on lo0 tls": "invalid listen option: tls/smtps requires pki",
    "listen on lo0 pki p": "invalid listen option: pki requires tls/smtps",
    "listen on lo0 auth": "invalid listen option: auth requires tls/smtps",
    "listen on lo0 tls smtps pki p": "TLS mode already specified",
    "listen on lo0 tls verify pki p": 'syntax error: "verify" is out of place',
    "listen on lo0 secure pki p": 'syntax error: "secure" is gone since 6.0',
    "listen on lo0 tls pki p auth auth-optional": "auth already specified",
    "listen on lo0 tls pki nope": "pki name not found: nope",
    "listen on lo0 tls pki p pki p": "pki already specified",
    "listen on lo0 tls pki p ca nope": "ca name not found: nope",
    "listen on lo0 inet4 inet6": "address family already specified",
    "listen on lo0 port 25 port 26": "port already specified",
    "listen on lo0 port 0": "invalid port",
    "listen on lo0 tag x tag y": "tag already specified",
    f"listen on lo0 tag {'x' * 33}": "tag name too long",
    "listen on lo0 hostname ''": "invalid hostname",
    "listen on lo0 hostname 'a b'": "invalid hostname",
    "smtp ciphers ''": "invalid ciphers",
    "smtp limit max-rcpt -1": "invalid limit: -1",
    "scheduler limit max-inflight 2147483648": "invalid limit: 2147483648",
    "table t getpwnam:/x": "invalid configuration file /x for table t",
    "listen on lo0 mask-src mask-src": "mask-source already specified",
    "listen on lo0 hostnames <l>": 'invalid use of table "l" as hostnames parameter',
    "listen on lo0 senders <l>": 'invalid use of table "l" as senders parameter',
    "listen on lo0 filter f1 filter f1": "filter already specified",
    "listen on lo0 filter nope": "no filter exist with that name: nope",
    "listen on lo0 filter { f1, f1 }": "no filter allowed twice within a filter chain: f1",
    "listen on socket port 25": 'syntax error: "port" does not belong to listen on socket',
    "listen on socket\nlisten on socket": "socket listener already configured",
    # filters and processors
    "filter f1 proc-exec x": "filter already exists with that name: f1",
    "filter f proc nope": "no processor exist with that name: nope",
    "filter f chain { }": "syntax error: expected the name of a filter",
    "filter f chain f1": 'syntax error: expected "{"',
    "filter f chain { f1 f1 }": "no filter allowed twice within a filter chain: f1",
    "filter f chain { f1 }\nfilter g chain { f }": "no filter chain allowed within a filter chain: f",
    "filter f chain { f1, nope }": "no filter exist with that name: nope",
    'filter f phase connect reject "550 no"': 'syntax error: expected "match"',
    'filter f phase connect match helo a reject "550 no"': 'syntax error: "helo" is not known at connect',
    'filter f phase data match rcpt-to a reject "550 no"': 'syntax error: "rcpt-to" is not known at data',
    'filter f phase quit match fcrdns reject "550 no"': "syntax error: expected a phase",
    'filter f phase connect match fcrdns src a reject "550 no"': "syntax error: expected a decision",
    "filter f phase connect match rdns <m> junk": 'table "m" may not be used for filter rdns lookups',
    "filter f phase auth match auth regex <creds> junk": 'table "creds" may not be used for filter auth lookups',
    "filter f phase commit match fcrdns junk": 'syntax error: "junk" has no meaning at commit',
    "proc p x\nproc p y": "processor already exists with that name: p",
    "proc p x user a user b": "user already specified for this processor",
    # the rest
    "bounce warn-interval": "syntax error: expected a delay",
    "bounce warn-interval 1h 2h": "syntax error: expected the end of the line",
    "bounce warn-interval 0h": "invalid bounce delay",
    "queue ttl 1": "syntax error: expected a delay",
    "queue ttl 0d": "invalid ttl delay: 0d",
    "srs ttl 23h": 'ttl delay "23h" is too short',
    "srs ttl 1x": 'ttl delay "1x" is invalid',
    'srs key "a" "b"': "syntax error: expected the end of the line after the key",
    "srs key ''": "an empty srs key",
    "srs key backup ''": "an empty srs key",
    "admd 'a b'": "invalid admd",
    "pki a": "syntax error: expected cert, key or dhe",
    'pki a cert "/c"': "missing key file for pki a",
    'pki a certificate "/c"': 'syntax error: "certificate" belongs to the form of OpenSMTPD 5.4 to 6.3',
    "pki p dhe nonsense": "invalid dhe keyword: nonsense",
    "ca a": 'syntax error: expected "cert"',
    'mda wrapper w "y"': "mda wrapper already declared with that name: w",
    "mda limit foo 3": "invalid scheduler limit keyword: foo",
    "mta limit foo 3": "invalid mta limit keyword: foo",
    "smtp limit foo 3": "invalid session limit keyword: foo",
    "smtp limit max-rcpt": "syntax error: expected a number",
    "smtp max-message-size 35X": "invalid size: 35X",
    "smtp sub-addr-delim 'ab'": "subaddressing-delimiter must be one character",
    "smtp sub-addr-delim '@'": "subaddressing-delimiter uses invalid character",
    "hostname mx.example.org": "syntax error: expected a statement",
    "acton a mbox": "syntax error: expected a statement",
    "accept for any relay": 'syntax error: "accept" belongs to the form of OpenSMTPD 5.4 to 6.3',
    "expire 4d": 'syntax error: "expire" belongs to the form of OpenSMTPD 5.4 to 6.3',
}

ACCEPTED = [
    '"a" = "x"',
    "secure = 'a'\naccept = $secure",
    "table t {\n a\n }",
    "table t {\n\n a,\n b\n c\n }",
    "table t { a\n\n, b }",
    "table t { a = b\n c => d }",
    "table secure { a }",
    "action a maildir",
    'action a maildir "~/Maildir" junk alias <m>',
    'action a mda "x" wrapper w wrapper w',
    'action a lmtp "/x" rcpt-to user root',
    "action a lmtp x:24",
    "action a forward-only alias <m> userbase <m>",
    "action a expand-only virtual <m>",
    'action "" mbox',
    "action a mbox ttl 1d",
    "action a relay",
    "action a relay helo x helo-src <m> src 192.0.2.1 pki p ca c1 mail-from '@a.test' tls no-verify srs filter f1 ttl 1d",
    "action a relay ciphers HIGH protocols 'TLSv1.2'",
    "action a relay backup",
    "action a relay backup mx b.test",
    "action a relay host h",
    "action a relay host smtp://[::1]:25",
    "action a relay host lmtp://h:24",
    "action a relay host SMTP+TLS://label@h:587 auth <creds>",
    "action a relay host { smtp://a, smtp+notls://b } auth <creds>",
    "action a relay domain { a.test = smtp://b } auth <creds>",
    "action a relay mail-from ''",
    "match action zz",
    "match reject",
    "match for local from any action zz",
    "match ! from src 192.0.2.0/24 ! for domain a.test ! tls ! auth ! tag x reject",
    "match from src regex '^192\\.0\\.' action zz",
    "match from rdns reject",
    "match ! from rdns regex <l> reject",
    "match from auth tls reject",
    "match from auth alice for any action zz",
    "match from mail-from regex <l> reject",
    "match for rcpt-to regex { 'a.*@b', \"c\" } reject",
    "match from socket for any action zz",
    "match auth from auth reject",
    "match ! auth alice from auth bob reject",
    "match mail-from a from mail-from b reject",
    "match rcpt-to a for rcpt-to b reject",
    f"listen on lo0 tag {'x' * 32}",
    f"match tag {'x' * 33} reject",
    "table t getpwnam",
    'match for domain x from rdns "a" auth tls helo "h" mail-from "x" rcpt-to "y" tag "q" action zz',
    "match from any for any \\\n action zz",
    "listen on lo0 inet4",
    "listen on lo0 tls pki P ca C1",
    "listen on lo0 smtps verify pki p pki q port 4650 ciphers HIGH protocols 'TLSv1.3'",
    "listen on lo0 tls-require verify pki p",
    "listen on lo0 port smtp hostname a.test hostnames <m>",
    "listen on lo0 port smtps smtps pki p",
    "listen on lo0 tls pki p auth-optional <creds> senders <m> masquerade received-auth proxy-v2 no-dsn mask-src",
    "listen on lo0 filter { f1 }",
    "listen on socket filter f1 mask-src tag x no-dsn",
    "filter f phase connect match ! fcrdns disconnect '421 no'",
    "filter f phase helo match rdns junk",
    "filter f phase ehlo match helo regex <l> bypass",
    "filter f phase auth match auth <l> report x",
    "filter f phase mail-from match auth <creds> bypass",
    "filter f phase mail-from match ! auth { a = b } reject '550 no'",
    "filter f phase mail-from match mail-from <l> rewrite '<x@y>'",
    "filter f phase rcpt-to match rcpt-to regex <l> reject '550 no'",
    "filter f phase commit match auth reject '550 no'",
    "filter f proc-exec x user a group b chroot '/c'\nfilter g chain { f1,\nf\n}",
    "proc f1 x\nfilter f proc f1",
    "bounce warn-interval 1h, 6h, 2d",
    "queue compression",
    "queue encryption",
    "queue encryption 'key'",
    "queue ttl 1d",
    "srs key backup 'x'\nsrs ttl 10d",
    "admd mx.test",
    "pki p dhe auto",
    'ca "*" cert "/x"',
    "mta max-deferred 5",
    "mta limit for domain a.test inet4 max-conn-per-host 1 max-failures-per-session 3",
    "mda limit max-session 3",
    "scheduler limit max-inflight 5",
    "smtp limit max-rcpt 10 max-mails 5",
    "smtp ciphers HIGH",
    "smtp max-message-size 35M",
    "smtp sub-addr-delim '_'",
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
    assert compiled.configuration.language == MODERN


def test_srs_needs_a_key_that_stands_before_it(tmp_path: Path) -> None:
    compiled = compile_text(tmp_path, 'action a relay srs\nmatch action a\nsrs key "x"\n')
    messages = [item.message for item in compiled.diagnostics if item.severity is Severity.ERROR]
    assert messages == ["an srs key is required for srs to be specified in an action"]


def test_a_file_without_rules_is_refused(tmp_path: Path) -> None:
    compiled = compile_text(tmp_path, "listen on 192.0.2.1\naction a mbox\n")
    messages = [item.message for item in compiled.diagnostics if item.severity is Severity.ERROR]
    assert messages == ["no rules, nothing to do"]


def test_a_broken_action_is_no_unknown_action(tmp_path: Path) -> None:
    compiled = compile_text(tmp_path, "action a nonsense\nmatch for any action a\n")
    assert compiled.error_count == 1


@pytest.mark.parametrize(
    ("text", "keys", "ttl_s"),
    [
        pytest.param("", (), 0, id="none"),
        pytest.param("srs key a\n", ("a",), 345600, id="one"),
        pytest.param("srs key backup b\nsrs ttl 2d\nsrs key a\n", ("a", "b"), 172800, id="two"),
        pytest.param("srs key a\nsrs key c\n", ("c",), 345600, id="the last one counts"),
        pytest.param("srs key backup b\n", (), 0, id="a backup alone signs nothing"),
    ],
)
def test_keys_of_srs_are_kept_apart(text: str, keys: tuple[str, ...], ttl_s: int, tmp_path: Path) -> None:
    compiled = compile_text(tmp_path, f"{text}action a relay\nmatch for any action a\nlisten on 192.0.2.1\n")
    assert compiled.configuration is not None and not compiled.diagnostics
    assert (compiled.srs_keys, compiled.configuration.srs_ttl_s) == (keys, ttl_s)


def test_no_key_is_in_the_model_nor_in_a_message(tmp_path: Path) -> None:
    text = 'srs key "topsecret"\nsrs key backup "topsecret2"\nqueue encryption "topsecret"\naction a relay srs\nmatch for any action a\n'
    good = compile_text(tmp_path, text)
    assert good.configuration is not None and good.srs_keys == ("topsecret", "topsecret2")
    assert "topsecret" not in repr(good) + good.render() + render_document(good.configuration)
    assert b"topsecret" not in wire.encode(good.configuration)
    bad = compile_text(tmp_path, text + 'srs key "topsecret" "topsecret"\n')
    assert not any("topsecret" in item.line for item in (*good.diagnostics, *bad.diagnostics))


def test_the_queue_s_ttl_counts_wherever_it_stands(tmp_path: Path) -> None:
    text = "action a mbox\naction b mbox ttl 1h\nmatch action a\nqueue ttl 2d\nmatch from any action b\n"
    compiled = compile_text(tmp_path, text)
    assert compiled.configuration is not None, compiled.render()
    assert [(rule.action_name, rule.expire_s) for rule in compiled.configuration.rules] == [("a", 172800), ("b", 3600)]


def test_passwords_a_filter_names_stay_here(tmp_path: Path) -> None:
    compiled = compile_text(tmp_path, PREAMBLE + "filter f phase mail-from match auth <creds> bypass" + RULE)
    assert compiled.configuration is not None, compiled.render()
    assert compiled.configuration.tables["creds"].entries == {}
    assert compiled.withheld["creds"].entries == {"a": "pass"}


@pytest.mark.parametrize(("written", "subject"), [("auth", "auth"), ("mail-from", "sender"), ("rcpt-to", "recipient")])
def test_of_a_condition_written_twice_the_last_counts(written: str, subject: str, tmp_path: Path) -> None:
    opening = "for" if written == "rcpt-to" else "from"
    compiled = compile_text(tmp_path, f"{PREAMBLE}match ! {written} a {opening} {written} b reject{RULE}")
    assert compiled.configuration is not None, compiled.render()
    condition = next(each for each in compiled.configuration.rules[0].conditions if each.subject == subject)
    assert compiled.configuration.tables[condition.value].entries == {"b": ""} and not condition.negated
    assert f"{written} is specified twice for this rule" in compiled.render()
