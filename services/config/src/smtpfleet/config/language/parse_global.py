"""Parses the statements that stand for the whole server: expire, bounce-warn, sizes, limits, queue, pki, filters, ciphers.

Called by parser.py.
"""

from smtpfleet.config.language.other_form import MODERN_FILTERS, MODERN_PKI, MODERN_QUEUE, refuse_other_form
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
    TextStatement,
    Word,
)

_PKI_OPTIONS = ("certificate", "key", "ca", "dhparams", "dhe")
"""dhe (a keyword instead of a file) came with OpenSMTPD 6.0."""


def parse_expire(tokens: TokenStream, keyword: Token) -> ExpireStatement:
    """`expire DELAY`."""
    return ExpireStatement(tokens.expect_word("a delay such as 4d"), keyword.span)


def parse_bounce_warn(tokens: TokenStream, keyword: Token) -> BounceWarnStatement:
    """`bounce-warn [DELAY {, DELAY}]`."""
    delays = () if tokens.is_at_line_end() else parse_delays(tokens)
    return BounceWarnStatement(delays, keyword.span)


def parse_delays(tokens: TokenStream) -> tuple[Word, ...]:
    """`DELAY {, DELAY}`."""
    delays = [tokens.expect_word("a delay such as 4h")]
    while tokens.take_symbol(","):
        delays.append(tokens.expect_word("a delay such as 4h"))
    return tuple(delays)


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
    settings = parse_limit_settings(tokens, agent.text)
    return LimitStatement(agent.text, domain, settings, span_from(keyword.span, agent.span))


def parse_limit_settings(tokens: TokenStream, agent: str) -> tuple[LimitSetting, ...]:
    """`{KEY NUMBER}` up to the end of the line, and inet4 or inet6 for mta."""
    settings: list[LimitSetting] = []
    while not tokens.is_at_line_end():
        if agent == "mta" and (family := tokens.take_keyword("inet4", "inet6")):
            settings.append(LimitSetting(Word(family.text, family.span), None))
            continue
        key = tokens.expect_word("the name of a limit")
        settings.append(LimitSetting(key, tokens.expect_number(f'a number after "{key.text}"')))
    return tuple(settings)


def parse_queue(tokens: TokenStream, keyword: Token) -> QueueStatement:
    """`queue compression` or `queue encryption [key STRING]`."""
    refuse_other_form(tokens, MODERN_QUEUE)
    feature = tokens.expect_keyword(("compression", "encryption"), 'compression or encryption after "queue"')
    key = None
    if feature.text == "encryption" and not tokens.is_at_line_end():
        feature.span.source.secret_lines.add(feature.span.line)  # whatever stands there: it may be the key
    if feature.text == "encryption" and tokens.take_keyword("key"):
        key = tokens.expect_word("a key")
    return QueueStatement(feature.text, key, span_from(keyword.span, feature.span))


def parse_pki(tokens: TokenStream, keyword: Token) -> PkiStatement:
    """`pki NAME {certificate|key|ca|dhparams FILE | dhe none|auto|legacy}`."""
    name = tokens.refer("declared pki", tokens.expect_word("the name of a pki"))
    files: dict[str, Word] = {}
    while option := tokens.take_option(*_PKI_OPTIONS):
        what = "none, auto or legacy" if option.text == "dhe" else "a path"
        files[option.text] = tokens.expect_word(f'{what} after "{option.text}"')
    if not tokens.is_at_line_end():
        refuse_other_form(tokens, MODERN_PKI)
        tokens.fail("certificate, key, ca, dhparams, dhe or the end of the line", _PKI_OPTIONS)
    return PkiStatement(name, files, keyword.span)


def parse_text(tokens: TokenStream, keyword: Token) -> TextStatement:
    """`ciphers STRING` (OpenSMTPD 5.7) or `subaddressing-delimiter STRING` (6.0)."""
    what = "a list of ciphers" if keyword.text == "ciphers" else "a character in quotes"
    return TextStatement(keyword.text, tokens.expect_word(f'{what} after "{keyword.text}"'), keyword.span)


def parse_filter(tokens: TokenStream, keyword: Token) -> FilterStatement:
    """`filter NAME PATH` or `filterchain NAME FILTER …`."""
    name = tokens.expect_word("the name of a filter")
    refuse_other_form(tokens, MODERN_FILTERS)
    arguments = [tokens.expect_word("a program" if keyword.text == "filter" else "the name of a filter")]
    while keyword.text == "filterchain" and (more := tokens.take_word()):
        arguments.append(more)
    return FilterStatement(keyword.text, name, tuple(arguments), keyword.span)
