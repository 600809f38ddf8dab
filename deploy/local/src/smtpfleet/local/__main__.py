"""The command line of the local fleet: up, send, demo. What the Makefile's targets of these names run."""

import argparse
import os
import sys
from pathlib import Path

from smtpfleet.local.binaries import BinaryMissing
from smtpfleet.local.demo import run_demo
from smtpfleet.local.running import AlreadyRunning, NotRunning
from smtpfleet.local.send import run_send
from smtpfleet.local.up import BadUp, read_settings, run_up


def main() -> int:
    parser = argparse.ArgumentParser(prog="smtpfleet.local", description="The whole fleet on one machine.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up", help="run the fleet until Ctrl-C")
    send = commands.add_parser(
        "send", help="send one message into the running fleet; its text may come on standard input"
    )
    send.add_argument("rcpt", nargs="?", default="alice@example.test")
    commands.add_parser("demo", help="send mail, local and relayed, and show each message's trace")
    chosen = parser.parse_args()
    try:
        if chosen.command == "up":
            return run_up(os.environ)
        root = Path(read_settings(os.environ).var).resolve()
        return run_demo(root) if chosen.command == "demo" else run_send(root, chosen.rcpt)
    except (AlreadyRunning, BadUp, BinaryMissing, NotRunning, OSError) as error:
        print(f"smtpfleet: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
