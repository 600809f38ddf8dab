"""What the rules read in a message's header: where it ends, how many hops it has made, whether it was here before.

Owns loop detection by Received (mta) and Delivered-To (mda). Never changes a message. Content has CRLF line ends; for a large message
the first chunk is enough. OpenSMTPD: mta_session.c (hop count), mda.c (Delivered-To scan), whose scan ends at the first line that is
no header.
"""

import re

HOP_LIMIT = 100
"""Received headers at which a message is held to loop (OpenSMTPD MAX_HOPS_COUNT; RFC 5321 §6.3 wants 100 at least)."""

# RFC 5322 §2.2 names; obsolete blanks before the colon are seen in the wild.
_HEADER_BLOCK = re.compile(rb"(?:[!-9;-~]++[ \t]*+:[^\r\n]*+\r\n(?:[ \t][^\r\n]*+\r\n)*+)*+")


def header_block(content: bytes) -> bytes:
    """The header lines with their line ends, without the blank line; empty where the first line is no header."""
    found = _HEADER_BLOCK.match(content)
    return content[: found.end()] if found else b""


def count_received(content: bytes) -> int:
    """How many Received headers the message has; at HOP_LIMIT it loops."""
    block = header_block(content).lower()
    return block.count(b"\r\nreceived:") + block.startswith(b"received:")


def has_delivered_to(content: bytes, dest: str) -> bool:
    """Whether a Delivered-To header names `dest`, letter case aside: then it has been delivered there before."""
    block = b"\r\n" + header_block(content).lower()
    wanted = dest.lower().encode()
    at = block.find(b"\r\ndelivered-to:")
    while at >= 0:
        end = block.find(b"\r\n", at + 2)
        if block[at + 15 : end].strip().strip(b"<>") == wanted:
            return True
        at = block.find(b"\r\ndelivered-to:", end)
    return False
