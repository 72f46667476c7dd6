"""The README's tables say what the code says: every key with its default, every metric with its labels."""

import re
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

import pytest

from proxy.config.fields import Section
from proxy.config.gates_schema import Ceiling, Floor
from proxy.config.load import load
from proxy.config.schema import Config
from proxy.model.measures import COUNTERS, GAUGES, HISTOGRAMS
from proxy.telemetry.exposition import PREFIX
from proxy.telemetry.families import BUILD, CONTROL_COUNTERS, CONTROL_GAUGES

README = Path(__file__).parents[2].joinpath("README.md").read_text()
IN_WORDS = {"names of credentials", "the guard's"}
NOTHING = {"none", "any"}


def written_keys() -> dict[str, str]:
    """Key -> default, as the README's tables have them."""
    found: dict[str, str] = {}
    prefix: str | None = None
    for line in README.splitlines():
        if header := re.match(r"\| (?:key|under `(?P<under>[^`]+)`) \| default \|", line):
            prefix = f"{header['under']}." if header["under"] else ""
        elif not line.startswith("|"):
            prefix = None
        elif prefix is not None and (row := re.match(r"\| `(?P<key>[^`]+)` \| `?(?P<default>[^|]*?)`? \|", line)):
            found[prefix + row["key"]] = row["default"]
    return found


def schema_keys(section: type[Section], prefix: str = "") -> Iterator[tuple[str, str]]:
    """The leaves of the schema with their defaults, in the units of a file. A gate that may be written as a share is a
    leaf, and `dry_run` is one for all gates."""
    defaults = section.model_construct().model_dump(mode="json", warnings=False)
    for name, field in section.model_fields.items():
        below, mark = section_of(field.annotation)
        if name == "dry_run" and len(section.model_fields) > 1:
            yield f"{prefix.rpartition('gates.')[0]}gates.*.dry_run", "false"
        elif below is not None and not issubclass(below, Floor | Ceiling):
            yield from schema_keys(below, f"{prefix}{name}{mark}.")
        else:
            yield prefix + name, "required" if field.is_required() else as_text(defaults[name])


def section_of(annotation: Any) -> tuple[type[Section] | None, str]:
    """The one Section that a field holds, and how a list or a mapping of it is marked in a key."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation, ""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return section_of(arguments[0])
    if origin in (Union, types.UnionType):
        found = [section_of(argument) for argument in arguments if argument is not type(None)]
        return found[0] if len(found) == 1 else (None, "")
    if origin is tuple:
        return section_of(arguments[0])[0], "[]"
    if origin is dict:
        return section_of(arguments[1])[0], ".NAME"
    return None, ""


def as_text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    return "none" if value in (None, "", {}) else str(value)


def same(written: str, default: str) -> bool:
    return written == default or written in IN_WORDS or (written in NOTHING and default == "none")


def test_every_key_is_explained_and_none_that_does_not_exist() -> None:
    assert set(written_keys()) == {key for key, _ in schema_keys(Config)}


def test_every_default_is_the_schemas() -> None:
    written = written_keys()

    assert {key: written[key] for key, default in schema_keys(Config) if not same(written[key], default)} == {}


def test_every_metric_is_explained_with_its_labels_and_none_that_does_not_exist() -> None:
    families = (*COUNTERS, *HISTOGRAMS, *GAUGES, *CONTROL_COUNTERS, *CONTROL_GAUGES, BUILD)
    rows = re.findall(r"^\| `(crossfade_\w+)` \| ([^|]*) \|", README, re.MULTILINE)

    assert {name: tuple(re.findall(r"`(\w+)`", labels)) for name, labels in rows} == {
        PREFIX + family.name: family.labels for family in families
    }


@pytest.mark.parametrize("example", re.findall(r"^```yaml\n(.*?)^```", README, re.MULTILINE | re.DOTALL))
def test_every_example_can_be_used(example: str) -> None:
    config = load(example, "README.md", {}, lambda path: path)

    assert config.routes


def test_what_the_table_of_faults_says_is_held_by_tests_that_there_are() -> None:
    named = set(re.findall(r"`(test_\w+)`", README))
    sources = "".join(file.read_text() for file in Path(__file__).parents[1].rglob("test_*.py"))
    assert len(named) > 10
    assert {name for name in named if f"def {name}(" not in sources} == set()
