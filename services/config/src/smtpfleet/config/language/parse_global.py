"""Parses the statements that stand for the whole server: expire, bounce-warn, sizes, limits, queue, pki, filters.

Called by parser.py.
"""

from smtpfleet.config.language.source import span_from
from smtpfleet.config.language.stream import TokenStream
from smtpfleet.config.language.tokens import Token, TokenKind
from smtpfleet.config.language.tree import (
    BounceWarnStatement,
    ExpireStatement,
    FilterStatement,
    LimitSetting,
    LimitStatement,
    MaxDeferredStatement,
    PkiStatement,
    QueueStatement,
    SizeStatement,
    Word,
)

_PKI_FILES = ("certificate", "key", "ca", "dhparams")


def parse_expire(tokens: TokenStream, keyword: Token) -> ExpireStatement:
    """`expire DELAY`."""
    return ExpireStatement(tokens.expect_word("a delay such as 4d"), keyword.span)


def parse_bounce_warn(tokens: TokenStream, keyword: Token) -> BounceWarnStatement:
    """`bounce-warn [DELAY {, DELAY}]`."""
    delays: list[Word] = []
    if not tokens.is_at_line_end():
        delays.append(tokens.expect_word("a delay such as 4h"))
    while tokens.take_symbol(","):
        delays.append(tokens.expect_word("a delay such as 4h"))
    return BounceWarnStatement(tuple(delays), keyword.span)


def parse_size(tokens: TokenStream, keyword: Token) -> SizeStatement:
    """`max-message-size SIZE`."""
    return SizeStatement(tokens.take_number() or tokens.expect_word("a size such as 35M"), keyword.span)


def parse_max_deferred(tokens: TokenStream, keyword: Token) -> MaxDeferredStatement:
    """`max-mta-deferred NUMBER`."""
    return MaxDeferredStatement(tokens.expect_number("a number"), keyword.span)


def parse_limit(tokens: TokenStream, keyword: Token) -> LimitStatement:
    """`limit mta|mda|scheduler|session {KEY NUMBER}`; session came with OpenSMTPD 5.4.2."""
    following = tokens.peek()
    if following.kind is TokenKind.WORD and following.text == "session":  # no reserved word in 5.4.1
        agent = tokens.next()
    else:
        agent = tokens.expect_keyword(("mta", "mda", "scheduler"), 'mta, mda, scheduler or session after "limit"')
    domain = None
    if agent.text == "mta" and tokens.take_keyword("for"):
        tokens.expect_keyword(("domain",), '"domain" after "limit mta for"')
        domain = tokens.expect_word("a domain")
    settings: list[LimitSetting] = []
    while not tokens.is_at_line_end():
        if agent.text == "mta" and (family := tokens.take_keyword("inet4", "inet6")):
            settings.append(LimitSetting(Word(family.text, family.span), None))
            continue
        key = tokens.expect_word("the name of a limit")
        settings.append(LimitSetting(key, tokens.expect_number(f'a number after "{key.text}"')))
    return LimitStatement(agent.text, domain, tuple(settings), span_from(keyword.span, agent.span))


def parse_queue(tokens: TokenStream, keyword: Token) -> QueueStatement:
    """`queue compression` or `queue encryption [key STRING]`."""
    feature = tokens.expect_keyword(("compression", "encryption"), 'compression or encryption after "queue"')
    key = None
    if feature.text == "encryption" and tokens.take_keyword("key"):
        key = tokens.expect_word("a key")
    return QueueStatement(feature.text, key, span_from(keyword.span, feature.span))


def parse_pki(tokens: TokenStream, keyword: Token) -> PkiStatement:
    """`pki NAME {certificate|key|ca|dhparams FILE}`."""
    name = tokens.expect_word("the name of a pki")
    files: dict[str, Word] = {}
    while option := tokens.take_keyword(*_PKI_FILES):
        files[option.text] = tokens.expect_word(f'a path after "{option.text}"')
    if not tokens.is_at_line_end():
        tokens.fail("certificate, key, ca, dhparams or the end of the line", _PKI_FILES)
    return PkiStatement(name, files, keyword.span)


def parse_filter(tokens: TokenStream, keyword: Token) -> FilterStatement:
    """`filter NAME PATH` or `filterchain NAME FILTER …`."""
    name = tokens.expect_word("the name of a filter")
    arguments = [tokens.expect_word("a program" if keyword.text == "filter" else "the name of a filter")]
    while keyword.text == "filterchain" and (more := tokens.take_word()):
        arguments.append(more)
    return FilterStatement(keyword.text, name, tuple(arguments), keyword.span)
