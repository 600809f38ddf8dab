"""Lists of targets as users and operators write them: alias values, `.forward` files, included files.

All three readers read the same text in both languages; what one of them takes must be something that can be delivered to.
"""

import contextlib
import re
from collections.abc import Sequence

from smtpfleet.mail.address import parse_mailbox
from smtpfleet.mail.aliases import AliasFault, Target, TargetKind, include_path, parse_targets, split_items
from smtpfleet.mail.targetfile import FORWARD_TARGET_LIMIT, parse_forward, read_included

WORDS: Sequence[bytes] = (
    b",", b", ", b"\n", b"\r\n", b"\\", b"\\\n", b"#", b'"', b"|", b'"|', b"/", b":include:/", b"include:/", b"error:550 ", b":error:451 x", b"joe",
    b"joe+tag", b"bob@d.org", b'"a b"@d.org', b"@", b"\0", b"\t", b" ", b"\xc2\xa0", b"\xe2\x80\xa8", b"/dev/null", b"\\joe", b"|/bin/x a,b",
)  # fmt: skip
_control = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]").search


def check(data: bytes) -> None:
    """One text."""
    text = data.decode("utf-8", "replace")
    for is_modern in (False, True):
        with contextlib.suppress(AliasFault):
            targets = parse_targets(text, is_modern)
            assert targets
            _check_targets(targets)
        with contextlib.suppress(AliasFault):
            forward = parse_forward(text, is_modern=is_modern)
            assert len(forward) <= FORWARD_TARGET_LIMIT
            assert all(target.kind is not TargetKind.INCLUDE for target in forward)
            _check_targets(forward)
        included = read_included(text, is_modern=is_modern)
        for line in included.lines:
            # config puts these lines into the entry instead of the include.
            again = parse_targets(f"x, {line}", is_modern)
            assert again[0].value == "x" and all(target.kind is not TargetKind.INCLUDE for target in again)
    try:
        items = split_items(text)
    except AliasFault:
        return
    assert split_items(", ".join(items)) == items
    assert all(not include_path(item) or include_path(item).startswith("/") for item in items)


def _check_targets(targets: Sequence[Target]) -> None:
    for target in targets:
        assert target.value
        match target.kind:
            case TargetKind.ADDRESS:
                mailbox = parse_mailbox(target.value)
                assert mailbox is not None and mailbox.text == target.value
            case TargetKind.USER:
                assert target.value == target.value.lower() and not set(target.value) & set("/@ \n")
            case TargetKind.ERROR:
                assert 400 <= int(target.value[:3]) < 600
            case _:
                assert not _control(target.value) and (target.kind is TargetKind.COMMAND or target.value[0] == "/")


def seeds() -> Sequence[bytes]:
    """A list of each kind."""
    return [
        b"joe, bob@d.org, |/bin/x, /f, error:550 no, :include:/l",
        b'# away\n\\joe, "|/bin/vacation joe"\nbob \\\n alice\r\n',
        b'"a, b"@d.org,x',
    ]
