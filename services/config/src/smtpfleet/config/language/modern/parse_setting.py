"""Parses the statements of the modern form that stand for the whole server: bounce, admd, ca, mda, mta, pki, queue, scheduler, smtp, srs.

Those the classic form has under another name give its nodes, so that one compiler does for both. Called by parser.py. OpenSMTPD: the
statements of those names in parse.y.
"""

from smtpfleet.config.language.modern.stream import ModernTokenStream
from smtpfleet.config.language.modern.tree import (
    AdmdStatement,
    CaStatement,
    QueueTtlStatement,
    SrsKeyStatement,
    SrsTtlStatement,
    WrapperStatement,
)
from smtpfleet.config.language.other_form import CLASSIC_PKI, CLASSIC_QUEUE, refuse_other_form
from smtpfleet.config.language.parse_global import parse_delays, parse_limit_settings
from smtpfleet.config.language.source import span_from
from smtpfleet.config.language.tokens import Token
from smtpfleet.config.language.tree import (
    BounceWarnStatement,
    LimitStatement,
    MaxDeferredStatement,
    PkiStatement,
    QueueStatement,
    SizeStatement,
    TextStatement,
    Word,
)

_PKI_OPTIONS = {"cert": "certificate", "key": "key", "dhe": "dhe"}
"""By the names the classic form has for them."""


def parse_bounce(tokens: ModernTokenStream, keyword: Token) -> BounceWarnStatement:
    """`bounce warn-interval DELAY {, DELAY}`."""
    tokens.expect_keyword(("warn-interval",), '"warn-interval" after "bounce"')
    return BounceWarnStatement(parse_delays(tokens), keyword.span)


def parse_admd(tokens: ModernTokenStream, keyword: Token) -> AdmdStatement:
    """`admd NAME`."""
    return AdmdStatement(tokens.expect_word("the name of the administrative domain"), keyword.span)


def parse_ca(tokens: ModernTokenStream, keyword: Token) -> CaStatement:
    """`ca NAME cert FILE`."""
    name = tokens.expect_word('a name, or "*"')
    tokens.expect_keyword(("cert",), '"cert" and a path')
    return CaStatement(name, tokens.expect_word('a path after "cert"'), keyword.span)


def parse_pki(tokens: ModernTokenStream, keyword: Token) -> PkiStatement:
    """`pki NAME {cert|key FILE | dhe none|auto|legacy}`."""
    name = tokens.refer("declared pki", tokens.expect_word("the name of a pki"))
    files: dict[str, Word] = {}
    while option := tokens.take_keyword(*_PKI_OPTIONS):
        what = "none, auto or legacy" if option.text == "dhe" else "a path"
        files[_PKI_OPTIONS[option.text]] = tokens.expect_word(f'{what} after "{option.text}"')
    if not files or not tokens.is_at_line_end():
        refuse_other_form(tokens, CLASSIC_PKI)
        tokens.fail("cert, key or dhe", _PKI_OPTIONS)
    return PkiStatement(name, files, keyword.span)


def parse_mda(tokens: ModernTokenStream, keyword: Token) -> LimitStatement | WrapperStatement:
    """`mda limit …` or `mda wrapper NAME COMMAND`."""
    what = tokens.expect_keyword(("limit", "wrapper"), 'limit or wrapper after "mda"')
    if what.text == "wrapper":
        name = tokens.expect_word("the name of the wrapper")
        return WrapperStatement(name, tokens.expect_word("a command"), keyword.span)
    return LimitStatement("mda", None, parse_limit_settings(tokens, "mda"), span_from(keyword.span, what.span))


def parse_mta(tokens: ModernTokenStream, keyword: Token) -> LimitStatement | MaxDeferredStatement:
    """`mta max-deferred NUMBER` or `mta limit [for domain D] …`."""
    what = tokens.expect_keyword(("limit", "max-deferred"), 'limit or max-deferred after "mta"')
    if what.text == "max-deferred":
        return MaxDeferredStatement(tokens.expect_number('a number after "max-deferred"'), keyword.span)
    domain = None
    if tokens.take_keyword("for"):
        tokens.expect_keyword(("domain",), '"domain" after "mta limit for"')
        domain = tokens.expect_word("a domain")
    return LimitStatement("mta", domain, parse_limit_settings(tokens, "mta"), span_from(keyword.span, what.span))


def parse_scheduler(tokens: ModernTokenStream, keyword: Token) -> LimitStatement:
    """`scheduler limit …`."""
    what = tokens.expect_keyword(("limit",), '"limit" after "scheduler"')
    return LimitStatement(
        "scheduler", None, parse_limit_settings(tokens, "scheduler"), span_from(keyword.span, what.span)
    )


def parse_smtp(tokens: ModernTokenStream, keyword: Token) -> LimitStatement | TextStatement | SizeStatement:
    """`smtp limit …`, `smtp ciphers …`, `smtp max-message-size …` or `smtp sub-addr-delim …`."""
    names = ("limit", "ciphers", "max-message-size", "sub-addr-delim")
    what = tokens.expect_keyword(names, f'{", ".join(names[:-1])} or {names[-1]} after "smtp"')
    match what.text:
        case "ciphers":
            return TextStatement("ciphers", tokens.expect_word('a list of ciphers after "ciphers"'), keyword.span)
        case "max-message-size":
            return SizeStatement(tokens.take_number() or tokens.expect_word("a size such as 35M"), keyword.span)
        case "sub-addr-delim":
            delimiter = tokens.expect_word('a character in quotes after "sub-addr-delim"')
            return TextStatement("subaddressing-delimiter", delimiter, keyword.span)
    return LimitStatement("session", None, parse_limit_settings(tokens, "session"), span_from(keyword.span, what.span))


def parse_queue(tokens: ModernTokenStream, keyword: Token) -> QueueStatement | QueueTtlStatement:
    """`queue compression`, `queue encryption [KEY]` or `queue ttl DELAY`."""
    what = tokens.expect_keyword(("compression", "encryption", "ttl"), 'compression, encryption or ttl after "queue"')
    if what.text == "ttl":
        return QueueTtlStatement(tokens.expect_word("a delay such as 4d"), keyword.span)
    if what.text == "encryption" and not tokens.is_at_line_end():
        what.span.source.secret_lines.add(what.span.line)  # whatever stands there: it may be the key
        refuse_other_form(tokens, CLASSIC_QUEUE)
    key = tokens.take_word() if what.text == "encryption" else None
    return QueueStatement(what.text, key, span_from(keyword.span, what.span))


def parse_srs(tokens: ModernTokenStream, keyword: Token) -> SrsKeyStatement | SrsTtlStatement:
    """`srs key [backup] KEY` or `srs ttl DELAY`."""
    what = tokens.expect_keyword(("key", "ttl"), 'key or ttl after "srs"')
    if what.text == "ttl":
        return SrsTtlStatement(tokens.expect_word("a delay such as 4d"), keyword.span)
    backup = tokens.take_keyword("backup")
    key = tokens.expect_word("a key in quotes")
    key.span.source.secret_lines.add(key.span.line)
    if not tokens.is_at_line_end():  # without naming what stands there: it may be part of a key
        tokens.fail_at(tokens.peek().span, "expected the end of the line after the key")
    return SrsKeyStatement(key, backup is not None, keyword.span)
