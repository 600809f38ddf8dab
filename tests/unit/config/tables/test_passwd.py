"""Files in the form of master.passwd: both halves of a user, and every line that refuses the file."""

import pytest

from smtpfleet.config.tables.bad_file import BadTableFile
from smtpfleet.config.tables.passwd import PasswdFile, parse_passwd

ALICE = "Alice:$2b$08$secret:1001:1002:Alice A.:/home/alice:/bin/sh"


def test_a_user_answers_userinfo_and_credentials() -> None:
    assert parse_passwd(f"# users\n\n{ALICE}\nbob::7:08::/home/bob:\n") == PasswdFile(
        {"alice": "1001:1002:/home/alice", "bob": "7:8:/home/bob"}, {"alice": "Alice:$2b$08$secret"}
    )


def test_of_equal_names_the_first_counts() -> None:
    found = parse_passwd(f"{ALICE}\nALICE:other:5:5::/other:\n")
    assert isinstance(found, PasswdFile)
    assert found.userinfo == {"alice": "1001:1002:/home/alice"}


@pytest.mark.parametrize(
    "line",
    [
        "alice:x:1:1:/home:/bin/sh",
        "alice:x:1:1:::/home:/bin/sh",
        ":secret:1:1::/home:",
        "a b:secret:1:1::/home:",
        "alice:secret:0:1::/home:",
        "alice:secret:1:0::/home:",
        "alice:secret:-1:1::/home:",
        "alice:secret:1x:1::/home:",
        "alice:secret:٣:1::/home:",
        "alice:secret:4294967295:1::/home:",
        "alice:secret:99999999999999999999:1::/home:",
        "alice:secret:1:1::home:",
        "alice:secret:1:1:::",
        "alice",
    ],
)
def test_a_bad_line_refuses_the_file_without_being_quoted(line: str) -> None:
    fault = parse_passwd(f"{ALICE}\n{line}\n")
    assert isinstance(fault, BadTableFile)
    assert fault.line == 2
    assert "secret" not in fault.reason
