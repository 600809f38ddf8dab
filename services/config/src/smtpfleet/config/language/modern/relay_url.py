"""Why a relay URL is wrong, in words that tell how to mend it.

The URLs themselves are read by mail.relay_url, for what is written here and for what tables answer later alike. Called by compile_relay.py
and table_use.py.
"""

from smtpfleet.config.language.diagnostics import did_you_mean
from smtpfleet.mail.relay_url import RELAY_SCHEMES, BadRelayUrl

_CLASSIC_SCHEMES = {
    "tls": "smtp+tls",
    "tls+auth": "smtp+tls",
    "smtps+auth": "smtps",
    "secure": "smtp+tls",
    "secure+auth": "smtp+tls",
}


def hint_for_url(text: str, bad: BadRelayUrl) -> str:
    """The scheme that was meant, or the reason."""
    name = text.partition("://")[0].lower() if "://" in text else ""
    if name in _CLASSIC_SCHEMES:
        return f'"{name}://" is of the form of 5.4; write {_CLASSIC_SCHEMES[name]}://'
    suggestion = did_you_mean(f"{name}://", [f"{each}://" for each in RELAY_SCHEMES]) if name else ""
    return suggestion if suggestion and name not in RELAY_SCHEMES else bad.reason
