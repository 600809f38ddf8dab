"""The pins: inputs agree with the pyproject files, every pin has hashes, no index is named."""

import re
from pathlib import Path

import pytest
from requirements import inputs

FOLDER = Path(inputs.__file__).parent
PINNED = sorted(path.name for path in FOLDER.glob("*.txt"))
PIN = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)", re.MULTILINE)
NAME = re.compile(r"^[A-Za-z0-9._-]+", re.MULTILINE)


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(name: str) -> dict[str, str]:
    return {canonical(package): version for package, version in PIN.findall((FOLDER / name).read_text())}


@pytest.mark.parametrize("name", [*inputs.SERVICES, "local"])
def test_inputs_are_what_the_pyproject_files_ask_for(name: str) -> None:
    assert (FOLDER / f"{name}.in").read_text() == inputs.input_text(name), "run `make lock`"


@pytest.mark.parametrize("name", [*inputs.SERVICES, "build", "dev"])
def test_every_requirement_of_an_input_is_pinned(name: str) -> None:
    text = (FOLDER / f"{name}.in").read_text()
    wanted = {canonical(found) for found in NAME.findall(text) if not found.startswith("-")}
    assert wanted, "an input without requirements says nothing"
    assert wanted <= set(pins(f"{name}.txt")), "run `make lock`"


@pytest.mark.parametrize("name", PINNED)
def test_every_pin_has_hashes_and_no_index_is_named(name: str) -> None:
    text = (FOLDER / name).read_text()
    blocks = re.split(r"^(?=\S)", text, flags=re.MULTILINE)[1:]
    assert blocks
    assert [block.split()[0] for block in blocks if "--hash=sha256:" not in block] == []
    assert "://" not in text
    assert "--index" not in text and "--find-links" not in text


@pytest.mark.parametrize("name", [*inputs.SERVICES, "build"])
def test_images_run_the_versions_that_were_tested(name: str) -> None:
    tested = pins("dev.txt")
    assert {package: tested.get(package) for package in pins(f"{name}.txt")} == pins(f"{name}.txt")
