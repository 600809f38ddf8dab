"""Words inside statements that only the other form of the language has: refused with what this form says, and where this form began.

A table for each place a word may stand in, by the form it comes from. Which statements belong to which form is known to form.py. Called by
the parse_* of both forms where they can go no further.
"""

from collections.abc import Mapping

from smtpfleet.config.language.stream import TokenStream
from smtpfleet.config.language.tokens import TokenKind

Words = Mapping[str, str]
"""What this form says for a word of the other, "" where it has nothing for it."""

# Words of the modern form in a classic file.
MODERN_CONDITIONS = {
    "mail-from": "sender",
    "rcpt-to": "recipient",
    "tag": "tagged",
    "auth": "authenticated",
    "helo": "",
    "tls": "",
}
MODERN_FROM = {"src": "source", "auth": "authenticated", "mail-from": "sender", "rdns": "", "socket": "from local"}
MODERN_FOR = {"rcpt-to": "recipient"}
MODERN_ACTIONS = {
    "action": "what is to be done, as in deliver to maildir, or relay",
    "mbox": "deliver to mbox",
    "maildir": "deliver to maildir",
    "mda": "deliver to mda",
    "lmtp": "deliver to lmtp",
    "expand-only": "nothing: a rule may have no action",
    "ttl": "expire",
}
MODERN_LOCAL = {"ttl": "expire", "junk": "", "user": "", "wrapper": "the whole command in deliver to mda"}
MODERN_RELAY = {
    "ttl": "expire",
    "host": "relay via URL",
    "mail-from": "as",
    "src": "source",
    "helo": "hostname",
    "helo-src": "hostnames",
    "ca": "pki NAME ca FILE",
    "ciphers": "ciphers, a statement of its own",
    "protocols": "",
    "no-verify": "tls without verify",
    "srs": "",
}
MODERN_LISTEN = {
    "mask-src": "mask-source",
    "ca": "pki NAME ca FILE",
    "ciphers": "ciphers, a statement of its own",
    "protocols": "",
}
MODERN_PKI = {"cert": "certificate"}
MODERN_QUEUE = {"ttl": "expire, a statement of its own"}
MODERN_FILTERS = {
    "phase": "",
    "chain": "filterchain NAME FILTER …",
    "proc": 'filter NAME "command"',
    "proc-exec": 'filter NAME "command"',
}

# Words of the classic form in a modern file.
CLASSIC_CONDITIONS = {
    "sender": "mail-from",
    "recipient": "rcpt-to",
    "tagged": "tag",
    "authenticated": "auth",
    "deliver": "action NAME, and how it delivers stands in that action",
    "relay": "action NAME, and how it relays stands in that action",
    "alias": "alias in the action",
    "virtual": "virtual in the action",
    "userbase": "userbase in the action",
    "expire": "ttl in the action",
}
CLASSIC_FROM = {"source": "src"}
CLASSIC_DELIVER = {"deliver": "the way alone, as in action NAME maildir"}
CLASSIC_LOCAL = {"expire": "ttl"}
CLASSIC_RELAY = {
    "expire": "ttl",
    "via": "host",
    "as": "mail-from",
    "source": "src",
    "hostname": "helo",
    "hostnames": "helo-src",
    "verify": "tls alone, which verifies",
}
CLASSIC_LISTEN = {"mask-source": "mask-src"}
CLASSIC_PKI = {
    "certificate": "cert",
    "dhparams": "dhe none, auto or legacy",
    "ca": "ca NAME cert FILE, a statement of its own",
}
CLASSIC_QUEUE = {"key": "the key alone"}


def refuse_other_form(tokens: TokenStream, words: Words) -> None:
    """Fails at a word that is among `words` of the other form; else does nothing."""
    token = tokens.peek()
    is_bare = token.kind in (TokenKind.WORD, TokenKind.KEYWORD) and not token.is_quoted
    if is_bare and token.text in words:
        counterpart = words[token.text]
        says = f"this form says {counterpart}" if counterpart else "this form has nothing for it"
        message = f'"{token.text}" belongs to the form of OpenSMTPD {tokens.other_form}'
        tokens.fail_at(token.span, message, f"{says}; {tokens.began}")
