"""docs/configuration.schema.json is current, and every compiled example is what it says; SMTPFLEET_REWRITE_GOLDENS=1 writes it anew."""

import json
import os
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from smtpfleet.config.schema import render_schema

HERE = Path(__file__).parent
PAGE = HERE.parents[2] / "docs" / "configuration.schema.json"
EXAMPLES = sorted(HERE.glob("**/good/*/expected.json"))


def test_the_page_is_current() -> None:
    if os.environ.get("SMTPFLEET_REWRITE_GOLDENS"):
        PAGE.write_text(render_schema())
    assert PAGE.read_text() == render_schema()


@pytest.fixture(scope="module")
def validator() -> Any:
    schema = json.loads(render_schema())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.parent.name)
def test_every_example_is_as_the_schema_says(example: Path, validator: Any) -> None:
    document = json.loads(example.read_text())
    document.pop("warnings", None)
    validator.validate(document)
    damaged = dict(document, hostname=25)
    assert not validator.is_valid(damaged)
