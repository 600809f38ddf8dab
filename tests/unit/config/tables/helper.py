"""A table helper for tests, speaking protocol 0.1 of smtpd-tables(7); the first argument says how it misbehaves, the second is a file
in which it notes each start. It stands for a program of OpenSMTPD's, so it shares no code with ours."""

import os
import sys
import time

UPDATE_ANSWERS = {"stale": "error", "nonsense to update": "maybe"}
ENTRIES = {"root": "alice, bob", "bars": "a|b|c", "empty": ""}


def answer(operation: str, service: str, identifier: str, key: str) -> str:
    if key == "down":
        return f"{operation}-result|{identifier}|error|database is away"
    if operation == "fetch":
        return f"fetch-result|{identifier}|found|192.0.2.{len(identifier)}"
    if key == "environment":
        return f"lookup-result|{identifier}|found|{' '.join(sorted(os.environ))}"
    if key not in ENTRIES:
        return f"{operation}-result|{identifier}|not-found"
    return f"{operation}-result|{identifier}|found" + (f"|{ENTRIES[key]}" if operation == "lookup" else "")


def serve(fault: str) -> None:
    configured: list[str] = []
    for line in sys.stdin:
        words = line.rstrip("\n").split("|")
        if words[0] == "config":
            configured.append(words[1])
            if words[1] == "ready":
                assert configured == ["smtpd-version", "protocol", "tablename", "ready"]
                if fault == "silent":
                    time.sleep(60)
                print(
                    "nonsense" if fault == "greeting" else "register|alias\nregister|source\nregister|ready", flush=True
                )
            continue
        assert words[:2] == ["table", "0.1"] and words[3] == "users", words
        if words[4] == "update":
            ENTRIES["updated"] = "yes"
            print(f"update-result|{words[5]}|{UPDATE_ANSWERS.get(fault, 'ok')}", flush=True)
            continue
        operation, service, identifier = words[4:7]
        key = "|".join(words[7:])
        if key == "die":
            raise SystemExit(1)
        if key == "hang":
            time.sleep(60)
        if key == "other id":
            identifier = "0" * 16
        if key == "long":
            print("x" * 200_000)
        print("garbage" if key == "garbage" else answer(operation, service, identifier, key), flush=True)


if __name__ == "__main__":
    with open(sys.argv[2], "a") as starts:
        starts.write("started\n")
    print("password: secret", file=sys.stderr)
    serve(sys.argv[1])
