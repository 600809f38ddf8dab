"""Values of alias and virtual entries (reference 3.3)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpfleet.mail.aliases import AliasFault, Target, TargetKind, parse_targets

K = TargetKind


@pytest.mark.parametrize(
    ("value", "targets"),
    [
        pytest.param("alice", [(K.USER, "alice")], id="a user"),
        pytest.param("Alice", [(K.USER, "alice")], id="a user in lower case"),
        pytest.param("a, b ,c", [(K.USER, "a"), (K.USER, "b"), (K.USER, "c")], id="a list"),
        pytest.param("a,,b,", [(K.USER, "a"), (K.USER, "b")], id="empty items"),
        pytest.param("Bob@Example.Test", [(K.ADDRESS, "Bob@Example.Test")], id="an address keeps its case"),
        pytest.param(r"\joe", [(K.USER, "joe")], id="a guarded user"),
        pytest.param("|/bin/x -y", [(K.COMMAND, "/bin/x -y")], id="a command"),
        pytest.param('"|/bin/x a, b"', [(K.COMMAND, "/bin/x a, b")], id="a quoted command with a comma"),
        pytest.param("/var/mail/x", [(K.FILE, "/var/mail/x")], id="a file"),
        pytest.param(":include:/etc/list", [(K.INCLUDE, "/etc/list")], id="include"),
        pytest.param("INCLUDE:/etc/list", [(K.INCLUDE, "/etc/list")], id="include without its colon"),
        pytest.param("error:550 go away", [(K.ERROR, "550 go away")], id="error"),
        pytest.param(":Error:421 4.2.1 Later", [(K.ERROR, "421 4.2.1 Later")], id="error with enhanced code"),
        pytest.param(
            r'\joe, joe@remote.org, "|/bin/vacation joe"',
            [(K.USER, "joe"), (K.ADDRESS, "joe@remote.org"), (K.COMMAND, "/bin/vacation joe")],
            id="the forward of reference 13.2",
        ),
    ],
)
def test_targets(value: str, targets: list[tuple[TargetKind, str]]) -> None:
    assert parse_targets(value) == tuple(Target(kind, text) for kind, text in targets)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("", id="empty"),
        pytest.param(" , ", id="only separators"),
        pytest.param("foo@bad_domain", id="a bad domain does not leave a user"),
        pytest.param("error:550x", id="an error without its blank"),
        pytest.param("error:250 fine", id="an error that is none"),
        pytest.param("include:relative", id="a relative include"),
        pytest.param('"|/bin/x', id="an open quote"),
        pytest.param("a\\", id="a backslash at the end"),
        pytest.param("|", id="no command"),
        pytest.param("a b", id="two words"),
        pytest.param("a\0b", id="NUL"),
    ],
)
def test_a_malformed_value_is_a_fault(value: str) -> None:
    with pytest.raises(AliasFault):
        parse_targets(value)


@given(st.text(alphabet='ab,@."\\|/: \n\0errorinclude5', max_size=30))
def test_no_value_breaks_the_parser(value: str) -> None:
    try:
        targets = parse_targets(value)
    except AliasFault as fault:
        assert str(fault)
    else:
        assert targets and all(target.value for target in targets)
