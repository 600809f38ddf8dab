"""`python -m smtpfleet.local send RCPT`: one message into the running fleet by plain SMTP, and its trace.

What an operator types first; scripts and load use real clients. Called by __main__.py and demo.py.
"""

import smtplib
import sys
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate
from pathlib import Path

from smtpfleet.contracts.ids import MSGID_LENGTH, is_msgid
from smtpfleet.local.running import read_running
from smtpfleet.local.trace import Trace, await_delivered

SENDER = "you@example.test"
_DELIVERY_DEADLINE_S = 10.0


@dataclass(frozen=True, slots=True)
class Accepted:
    """The last reply of the transaction; msgid is "" where it was refused."""

    reply: str
    msgid: str


def send_message(port: int, rcpt: str, subject: str, text: str, sender: str = SENDER) -> Accepted:
    """One transaction with the SMTP port on loopback. Raises OSError where nobody listens."""
    message = EmailMessage()
    message["From"], message["To"], message["Subject"], message["Date"] = sender, rcpt, subject, formatdate()
    message.set_content(text)
    with smtplib.SMTP("127.0.0.1", port, local_hostname="localhost", timeout=30) as client:
        client.ehlo()
        for code, reply in (client.mail(sender), client.rcpt(rcpt)):
            if code >= 400:
                return Accepted(f"{code} {reply.decode(errors='replace')}", "")
        code, reply = client.data(message.as_bytes(policy=SMTP))
    # 250 2.0.0 MSGID Message accepted for delivery
    words = reply.decode(errors="replace").split()
    found = [word for word in words if len(word) == MSGID_LENGTH and is_msgid(word)]
    return Accepted(f"{code} {' '.join(words)}", found[0] if code == 250 and found else "")


def run_send(root: Path, rcpt: str) -> int:
    """Send, wait until it is delivered, show the trace. The exit code."""
    port = read_running(root).smtp_port
    text = "Hello from smtpfleet.\n" if sys.stdin.isatty() else sys.stdin.read() or "Hello from smtpfleet.\n"
    accepted = send_message(port, rcpt, "Hello", text)
    print(accepted.reply)
    if not accepted.msgid:
        return 1
    trace = Trace(root, accepted.msgid)
    delivered = await_delivered([trace], _DELIVERY_DEADLINE_S)
    for line in trace.lines:
        print(f"  {line}")
    if not delivered:
        print(f"not delivered yet; follow it with: grep {accepted.msgid} {root}/log/*.log")
    return 0
