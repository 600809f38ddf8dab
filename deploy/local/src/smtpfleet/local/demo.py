"""`make demo`: mail through the running fleet, local, aliased and relayed, and the trace of each message from accepted to delivered.

The next hop of relay.test is a sink started here. Called by __main__.py.
"""

from pathlib import Path

from smtpfleet.local.mailconf import DEMO_SINK_PORT
from smtpfleet.local.running import read_running
from smtpfleet.local.send import send_message
from smtpfleet.local.sink import Sink
from smtpfleet.local.trace import Trace, await_delivered

MAILS = (
    ("alice@example.test", "into a Maildir"),
    ("both@example.test", "an alias: two envelopes of one message"),
    ("carol@relay.test", f"relayed to the sink on port {DEMO_SINK_PORT}"),
)
_DEADLINE_S = 30.0


def run_demo(root: Path) -> int:
    """The exit code: 0 when every message was delivered."""
    running = read_running(root)
    with Sink(DEMO_SINK_PORT) as sink:
        traces = []
        for rcpt, what in MAILS:
            accepted = send_message(running.smtp_port, rcpt, f"demo: {what}", f"To {rcpt}: {what}.\n")
            print(f"{rcpt} ({what})\n  {accepted.reply}")
            if not accepted.msgid:
                return 1
            traces.append(Trace(root, accepted.msgid))
        delivered = await_delivered(traces, _DEADLINE_S)
        relayed = sink.message_count
    for (rcpt, what), trace in zip(MAILS, traces, strict=True):
        print(f"\n{trace.msgid}  {rcpt}, {what}")
        for line in trace.lines:
            print(f"  {line}")
    new = sorted(str(path.relative_to(root.parent)) for path in (root / "mail").glob("*/Maildir/new") if path.is_dir())
    print(f"\nThe sink took {relayed} message(s). Mail is in {', '.join(new)}.")
    if not delivered:
        print(f"Not everything was delivered within {_DEADLINE_S:.0f} s; the traces above say how far it came.")
    return 0 if delivered else 1
