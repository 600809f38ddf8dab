"""Words that only the other form of the language has, where this form has another word for the same: refused with that word as the hint.

Words inside a statement; which statements belong to which form is known to form.py. Called by parse_rule.py and modern/parse_match.py.
"""

from collections.abc import Mapping, Sequence

from smtpfleet.config.language.stream import TokenStream
from smtpfleet.config.language.tokens import TokenKind

CLASSIC_BY_MODERN = {
    "mail-from": "sender",
    "rcpt-to": "recipient",
    "tag": "tagged",
    "src": "source",
    "auth": "authenticated",
    "ttl": "expire",
}
MODERN_BY_CLASSIC = {
    "sender": "mail-from",
    "recipient": "rcpt-to",
    "tagged": "tag",
    "source": "src",
    "authenticated": "auth",
}
"""Conditions, and the lifetime."""


def refuse_other_form(tokens: TokenStream, counterparts: Mapping[str, str], known: Sequence[str], form: str) -> None:
    """Fails at a word of `form`, the other one, whose counterpart here is among `known`; else does nothing."""
    token = tokens.peek()
    is_bare = token.kind in (TokenKind.WORD, TokenKind.KEYWORD) and not token.is_quoted
    if is_bare and counterparts.get(token.text) in known:
        message = f'"{token.text}" belongs to the form of OpenSMTPD {form}'
        tokens.fail_at(token.span, message, f"this form says {counterparts[token.text]}")
