"""What the rules read in a message's header: where it ends, how many hops it has made, whether it was here before.

Owns loop detection by Received (smtp-in, mta) and Delivered-To (mda), and the blank line before a body that comes without. Changes
nothing else. Content has CRLF line ends; for a large message the first chunk is enough. OpenSMTPD: mta_session.c (hop count), mda.c
(Delivered-To scan), whose scan ends at the first line that is no header.
"""

import re

HOP_LIMIT = 100
"""Received headers at which a message is held to loop (OpenSMTPD MAX_HOPS_COUNT; RFC 5321 §6.3 wants 100 at least)."""

# RFC 5322 §2.2 names; obsolete blanks before the colon are seen in the wild.
_RECEIVED_BLANK = re.compile(rb"\r\nreceived[ \t]++:")
_DELIVERED_TO = re.compile(rb"(?<=\n)delivered-to[ \t]*+:([^\r]*+)\r\n")
_MAILBOX_LINE = re.compile(rb">*+From ")
_HEADER_BLOCK = re.compile(rb"(?:[!-9;-~]++[ \t]*+:[^\r\n]*+\r\n(?:[ \t][^\r\n]*+\r\n)*+)*+")


def header_block(content: bytes) -> bytes:
    """The header lines with their line ends, without the blank line; empty where the first line is no header."""
    found = _HEADER_BLOCK.match(content)
    return content[: found.end()] if found else b""


def separate_body(content: bytes, block: bytes) -> bytes:
    """`content`, whose header lines are `block`, with the blank line that is missing between them and what is no header line: else text
    would become part of the header, of ours at least, which is put in front. The same object where nothing is missing.

    A mailbox's `From ` line in front of the header (RFC 4155) is no body: it gets a field name. So does Postfix.
    """
    if len(block) == len(content) or content.startswith(b"\r\n", len(block)):
        return content
    if not block and _MAILBOX_LINE.match(content):
        named = b"X-Mailbox-Line: " + content
        return separate_body(named, header_block(named))
    return block + b"\r\n" + content[len(block) :]


def count_received(content: bytes) -> int:
    """How many Received headers the message has; at HOP_LIMIT it loops."""
    return count_hops(header_block(content))


def count_hops(block: bytes) -> int:
    """How many Received headers there are in a header block."""
    lower = b"\r\n" + block.lower()
    if b"\r\nreceived" not in lower:
        return 0
    count = lower.count(b"\r\nreceived:")
    # Seldom, and a search by pattern costs five times as much.
    if b"\r\nreceived " in lower or b"\r\nreceived\t" in lower:
        count += len(_RECEIVED_BLANK.findall(lower))
    return count


def has_delivered_to(content: bytes, dest: str) -> bool:
    """Whether a Delivered-To header names `dest`, letter case aside: then it has been delivered there before."""
    wanted = dest.lower().encode()
    block = b"\n" + header_block(content).lower()
    return any(value.strip().strip(b"<>") == wanted for value in _DELIVERED_TO.findall(block))
