"""The reserved words of the modern form, and what may begin a line of it.

Owns spelling only. Some words are reserved though no statement uses them, as in OpenSMTPD: a table may not be called `quit`. OpenSMTPD:
lookup() in parse.y of 7.8.
"""

_RESERVED = """
    action admd alias any auth auth-optional backup bounce bypass ca cert chain chroot ciphers commit compression connect data data-line dhe
    disconnect domain ehlo encryption expand-only fcrdns filter for forward-only from group helo helo-src host hostname hostnames include
    inet4 inet6 junk key limit listen lmtp local mail-from maildir mask-src masquerade match max-deferred max-message-size mbox mda mta mx
    no-dsn no-verify noop on phase pki port proc proc-exec protocols proxy-v2 queue quit rcpt-to rdns received-auth recipient regex reject
    relay report rewrite rset scheduler senders smtp smtp-in smtp-out smtps socket src srs sub-addr-delim table tag tagged tls tls-require
    ttl user userbase verify virtual warn-interval wrapper
"""
KEYWORDS = frozenset(_RESERVED.split())

STATEMENT_KEYWORDS = (
    "action", "match", "listen", "table", "include", "pki", "ca", "srs", "smtp", "mta", "mda", "queue", "scheduler", "bounce",
    "admd", "proc", "filter",
)  # fmt: skip
"""What may begin a line, besides the name of a macro."""
