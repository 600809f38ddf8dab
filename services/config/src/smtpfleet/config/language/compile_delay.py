"""A delay as it is written to seconds, or what is wrong with it. Of expire, bounce-warn, ttl and whatever else takes a time.

Called by compile_* of both forms. OpenSMTPD: delaytonum in parse.y.
"""

from smtpfleet.config.language.duration import parse_delay_s
from smtpfleet.config.language.scope import Scope
from smtpfleet.config.language.tree import Word


def compile_delay_s(scope: Scope, word: Word, message: str) -> int | None:
    """Seconds, at least one; None where it is no delay, which is reported as `message`."""
    delay_s = parse_delay_s(word.text)
    if delay_s is None:
        scope.diagnostics.error(word.span, message, "digits and one of s, m, h, d, as in 4d")
    return delay_s
