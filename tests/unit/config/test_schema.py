"""The JSON schema that editors get, and what the sections turn values into."""

import json
from typing import Any

import pytest

from proxy.config.schema import Config, Override
from proxy.config.store_url import mask_store
from tests.unit.config.texts import SMALL, loaded

SCHEMA: dict[str, Any] = Config.model_json_schema()


def key(section: str, name: str) -> dict[str, Any]:
    found = SCHEMA["$defs"][section]["properties"][name]
    assert isinstance(found, dict)
    return found


def test_sections_are_closed() -> None:
    objects = [SCHEMA, *(section for section in SCHEMA["$defs"].values() if section["type"] == "object")]
    assert len(objects) > 20
    assert [section["title"] for section in objects if section.get("additionalProperties") is not False] == []


@pytest.mark.parametrize(
    ("section", "name", "default"),
    [
        ("Limits", "max_header_bytes", "32KiB"),
        ("Timeouts", "connect", "1s"),
        ("Shadow", "percent", 100),
        ("Gates", "agreement", "95%"),
        ("Listen", "address", "0.0.0.0:8080"),
        ("Fallback", "on", ["5xx", "connect_failure", "escalation", "overload", "reset", "timeout"]),
        ("Match", "path_prefix", "/"),
    ],
)
def test_defaults_are_written_as_an_operator_writes_them(section: str, name: str, default: object) -> None:
    assert key(section, name)["default"] == default


def test_units_are_text_and_percentages_numbers_with_or_without_their_sign() -> None:
    assert key("Timeouts", "connect")["type"] == "string"
    assert key("Limits", "max_body")["type"] == "string"
    assert key("Stage", "weight") | {"title": "", "description": ""} == {
        "type": ["number", "string"], "minimum": 0, "maximum": 100, "pattern": "^[0-9]+([.][0-9]+)? ?%?$",
        "title": "", "description": "",
    }  # fmt: skip


def test_keys_have_descriptions_and_bounds() -> None:
    assert key("Shadow", "max_pending")["description"].startswith("Copies under way per worker")
    assert (key("Shadow", "max_pending")["minimum"], key("Shadow", "max_pending")["maximum"]) == (1, 65536)
    assert key("Route", "name")["pattern"] == "^(?:[a-z0-9]([a-z0-9_-]{0,62}[a-z0-9])?)$"


def test_a_gate_is_a_share_or_a_mapping() -> None:
    short, written = key("Gates", "agreement")["anyOf"]
    assert (short["type"], written) == ("string", {"$ref": "#/$defs/Floor"})
    assert SCHEMA["$defs"]["Floor"]["required"] == ["min"]
    assert [kind.get("type", kind.get("$ref")) for kind in key("Gates", "escalation_rate")["anyOf"]] == [
        "string", "#/$defs/Ceiling", "null",
    ]  # fmt: skip
    assert key("Rollout", "freeze")["items"]["type"] == "string"
    assert key("Rollout", "freeze")["default"] == []


def test_the_schema_shows_no_python_value_as_a_default() -> None:
    assert "1048576" not in json.dumps(SCHEMA)
    assert "86400" not in json.dumps(SCHEMA)


def test_hosts_are_in_lower_case() -> None:
    assert loaded(SMALL.replace("path_prefix: /refunds", "host: Shop.Example")).routes[0].match.host == "shop.example"


def test_a_worker_for_each_cpu() -> None:
    assert loaded("workers: auto\n" + SMALL).workers == "auto"


def test_a_configuration_cannot_be_changed() -> None:
    config = loaded(SMALL)
    with pytest.raises(ValueError, match="frozen"):
        config.workers = 2  # type: ignore[misc]  # it is what is tested


def test_a_secret_is_in_no_repr() -> None:
    override = Override(secret="hunter2-hunter2-hunter2")
    assert "hunter2" not in repr(override)
    assert "hunter2" not in override.model_dump_json()


@pytest.mark.parametrize(
    ("store", "shown"),
    [
        ("embedded", "embedded"),
        ("redis://redis:6379/0", "redis://redis:6379/0"),
        ("redis://:hunter2@redis:6379/0", "redis://***@redis:6379/0"),
        ("rediss://user:hun@ter2@redis/0", "rediss://***@redis/0"),
        ("redis://redis/0?password=hunter2&db=1", "redis://redis/0?password=***&db=1"),
        ("unix:///run/redis.sock?username=u&password=hunter2", "unix:///run/redis.sock?username=***&password=***"),
    ],
)
def test_a_store_is_shown_without_user_and_password(store: str, shown: str) -> None:
    assert mask_store(store) == shown
    config = loaded(f"store: {json.dumps(store)}\n{SMALL}")
    assert config.store == store
    assert config.model_dump(mode="json")["store"] == shown
    assert "hunter2" not in repr(config), "a repr may end in a log"
