"""What the compiler must know about where it runs: the server's name, its addresses, and how names resolve.

A plain value, so that a compilation with the same files and the same Host gives the same result; host_discovery.py finds the real
one. OpenSMTPD asks the system while it parses (parse.y: host, interface; config.c).
"""

from collections.abc import Callable
from dataclasses import dataclass

from smtpfleet.config.language.backends import HELPER_FOLDERS


@dataclass(frozen=True, slots=True)
class Host:
    """server_name: "" where none could be found, name_fault then says why. interfaces: (name, address) pairs.

    local_addresses: what `from local` means besides `local` itself. resolve: addresses of a host name, () where there are none.
    helper_folders: where the programs of table backends are that are none of ours.
    """

    server_name: str
    name_fault: str
    local_addresses: tuple[str, ...]
    interfaces: tuple[tuple[str, str], ...]
    resolve: Callable[[str], tuple[str, ...]]
    helper_folders: tuple[str, ...] = HELPER_FOLDERS
