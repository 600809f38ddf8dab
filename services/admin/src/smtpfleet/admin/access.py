"""Who may ask: the bearer token, and what counts as this host.

Pure decisions, no HTTP; api.py applies them to requests and settings.py to the listening address. RFC 6750 for the token.
"""

import hmac
import ipaddress


class Access:
    """Access with this token; "" for none, and then from this host only."""

    def __init__(self, token: str) -> None:
        self._token = token.encode()

    @property
    def needs_token(self) -> bool:
        """Whether a token is required at all."""
        return bool(self._token)

    def accepts(self, token: str) -> bool:
        """Whether this is the token; the time it takes does not tell how much of it is right."""
        return hmac.compare_digest(self._token, token.encode())

    def accepts_host(self, host: str) -> bool:
        """Whether the Host header may be answered.

        Without a token, only names of loopback: a page in the operator's browser can make its own host name resolve to 127.0.0.1 (DNS
        rebinding), and would read the queue.
        """
        return self.needs_token or is_loopback(_host_of(host))


def is_loopback(host: str) -> bool:
    """Whether `host`, a literal without brackets or a name, is this host alone. No name but localhost is trusted to be."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _host_of(header: str) -> str:
    """The host in `HOST`, `HOST:PORT`, `[IPV6]` or `[IPV6]:PORT`, lower case."""
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    return header.partition(":")[0].lower()
