"""What only the modern form declares while a tree is compiled: actions, wrappers, authorities, the domain of filters, SRS.

Part of the Scope beside, which holds it; lives for one compilation. OpenSMTPD: sc_dispatchers, sc_mda_wrappers, sc_ca_dict of struct smtpd.
"""

from dataclasses import dataclass, field

from smtpfleet.config.language.source import Span
from smtpfleet.contracts.configuration import Action, Ca

DEFAULT_SRS_TTL_S = 4 * 86400
"""OpenSMTPD: sc_srs_ttl, four days."""


@dataclass(slots=True)
class DeclaredAction:
    """action: None where it could not be read (already reported). expire_s: its ttl, 0 for that of the queue, wherever that stands."""

    span: Span
    action: Action | None
    expire_s: int
    is_used: bool = False


@dataclass(slots=True)
class ModernScope:
    """wrappers: command by name. srs_key, srs_backup_key: "" for none. srs_ttl_s: as written or the default; it counts only with a key."""

    actions: dict[str, DeclaredAction] = field(default_factory=dict)
    wrappers: dict[str, str] = field(default_factory=dict)
    cas: dict[str, Ca] = field(default_factory=dict)
    admd: str = ""
    srs_key: str = field(default="", repr=False)
    srs_backup_key: str = field(default="", repr=False)
    srs_ttl_s: int = DEFAULT_SRS_TTL_S
