"""JSON schema of the compiled configuration as `smtpfleet-config show` prints it, made from the contract structs themselves.

Structs become objects by field name with their docstring; tagged ones carry `type`. Kept in docs/configuration.schema.json, which a test
compares. Never validates. Used by cli.py.
"""

import inspect
import json
from typing import Any

from msgspec import NODEFAULT
from msgspec import inspect as types

from smtpfleet.contracts.configuration import Configuration

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_PLAIN = {
    types.StrType: "string",
    types.IntType: "integer",
    types.BoolType: "boolean",
    types.FloatType: "number",
    types.NoneType: "null",
}


def render_schema() -> str:
    """The schema as indented JSON, ending in a newline."""
    definitions: dict[str, Any] = {}
    root = _schema(types.type_info(Configuration), definitions)
    document = {
        "$schema": DIALECT,
        "title": "smtpfleet configuration",
        **root,
        "$defs": dict(sorted(definitions.items())),
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _schema(kind: types.Type, definitions: dict[str, Any]) -> dict[str, Any]:
    if plain := _PLAIN.get(type(kind)):
        return {"type": plain}
    if isinstance(kind, types.StructType):
        name = kind.cls.__name__
        if name not in definitions:
            definitions[name] = {}  # in its place before its fields, which may lead back to it
            definitions[name] = _object(kind, definitions)
        return {"$ref": f"#/$defs/{name}"}
    if isinstance(kind, types.UnionType):
        return {"anyOf": [_schema(each, definitions) for each in kind.types]}
    if isinstance(kind, types.DictType):
        return {"type": "object", "additionalProperties": _schema(kind.value_type, definitions)}
    if isinstance(kind, types.VarTupleType | types.ListType):
        return {"type": "array", "items": _schema(kind.item_type, definitions)}
    raise TypeError(f"no schema for {kind}")


def _object(kind: types.StructType, definitions: dict[str, Any]) -> dict[str, Any]:
    tag = {"type": {"const": kind.tag}} if kind.tag is not None else {}
    fields = {field.name: _schema(field.type, definitions) for field in kind.fields}
    for field in kind.fields:
        if field.default is not NODEFAULT and isinstance(field.default, str | int | bool):
            fields[field.name]["default"] = field.default
    return {
        "type": "object",
        "description": inspect.getdoc(kind.cls) or "",
        "properties": tag | fields,
        # `show` prints every field: none is left out to mean its default.
        "required": [*tag, *fields],
        "additionalProperties": False,
    }
