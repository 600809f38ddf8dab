"""Tokens of the configuration language and its reserved words.

Owns kinds and spelling; which token may stand where is the business of parser and parse_*. The reserved words are those of OpenSMTPD
5.4.1 (parse.y, keywords[]); the 6.4 form has others and will bring its own set.
"""

from dataclasses import dataclass
from enum import Enum, auto

from smtpfleet.config.language.source import Span


class TokenKind(Enum):
    """FAULT: the lexer has reported an error and skipped the rest of the line."""

    WORD = auto()
    NUMBER = auto()
    KEYWORD = auto()
    ARROW = auto()
    SYMBOL = auto()
    NEWLINE = auto()
    END = auto()
    FAULT = auto()


@dataclass(frozen=True, slots=True, eq=False)
class Token:
    """text: the word without its quotes, the keyword, the digits or the symbol itself."""

    kind: TokenKind
    text: str
    span: Span
    is_quoted: bool = False

    @property
    def shown(self) -> str:
        """The token as messages name it."""
        match self.kind:
            case TokenKind.NEWLINE:
                return "the end of the line"
            case TokenKind.END:
                return "the end of the file"
            case TokenKind.NUMBER:
                return f"the number {self.text}"
            case TokenKind.WORD if self.is_quoted:
                return f'the string "{self.text}"'
            case _:
                return f'"{self.text}"'


_RESERVED_5_4 = """
    accept alias any as auth auth-optional backup bounce-warn ca certificate compression deliver dhparams domain encryption expire
    filter filterchain for forward-only from hostname hostnames include inet4 inet6 key limit listen lmtp local maildir mask-source
    max-message-size max-mta-deferred mbox mda mta on pki port queue recipient reject relay scheduler secure sender smtps source table
    tag tagged tls tls-require to userbase verify via virtual
"""
KEYWORDS_5_4 = frozenset(_RESERVED_5_4.split())

STATEMENT_KEYWORDS = (
    "accept", "reject", "listen", "table", "include", "expire", "bounce-warn", "max-message-size", "max-mta-deferred", "limit",
    "queue", "pki", "filter", "filterchain",
)  # fmt: skip
"""What may begin a line, besides the name of a macro."""
