"""A contract struct as plain data with field names, for people: `smtpfleet-config show` and golden files.

On the wire structs are arrays (contracts.wire); this form is never read back.
"""

import json
from typing import Any

import msgspec


def to_document(value: object) -> Any:
    """Structs as objects by field name, tagged ones with their `type`."""
    if isinstance(value, msgspec.Struct):
        tag = value.__struct_config__.tag
        named = {name: to_document(getattr(value, name)) for name in value.__struct_fields__}
        return named if tag is None else {"type": tag, **named}
    if isinstance(value, dict):
        return {str(key): to_document(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_document(item) for item in value]
    return value


def render_document(value: object) -> str:
    """The document as indented JSON, ending in a newline."""
    return json.dumps(to_document(value), indent=2, ensure_ascii=False) + "\n"
