"""The JSON schema that editors get, and what the sections turn values into."""

import json
from typing import Any

import pytest

from proxy.config.schema import Config, ListenTls, Override, Upstream, UpstreamTls, mask_store
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


def test_units_are_text_and_percentages_numbers() -> None:
    assert key("Timeouts", "connect")["type"] == "string"
    assert key("Limits", "max_body")["type"] == "string"
    assert key("Stage", "weight") | {"title": "", "description": ""} == {
        "type": "number", "minimum": 0, "maximum": 100, "title": "", "description": "",
    }  # fmt: skip


def test_keys_have_descriptions_and_bounds() -> None:
    assert key("Shadow", "max_pending")["description"].startswith("Copies under way per worker")
    assert (key("Shadow", "max_pending")["minimum"], key("Shadow", "max_pending")["maximum"]) == (1, 65536)
    assert key("Route", "name")["pattern"] == "^(?:[a-z0-9]([a-z0-9_-]{0,62}[a-z0-9])?)$"


def test_the_schema_shows_no_python_value_as_a_default() -> None:
    assert "1048576" not in json.dumps(SCHEMA)
    assert "86400" not in json.dumps(SCHEMA)


def test_hosts_are_in_lower_case() -> None:
    assert loaded(SMALL.replace("path_prefix: /refunds", "host: Shop.Example")).routes[0].match.host == "shop.example"


def test_a_retry_on_503_may_be_a_number_or_text() -> None:
    text = SMALL.replace('9002"}', '9002", retry: {attempts: 1, on: [503, connect_failure]}}')
    assert loaded(text).upstreams["agent"].retry.on == {"503", "connect_failure"}
    assert loaded(text.replace("[503,", '["503",')).upstreams["agent"].retry.on == {"503", "connect_failure"}


@pytest.mark.parametrize("written", ["1.3", "'1.3'", "${V}"])
def test_a_version_of_tls_may_be_a_number_or_text(written: str) -> None:
    text = f"listen: {{tls: {{cert_file: a, key_file: b, min_version: '${{V}}'}}}}\n{SMALL}".replace("'${V}'", written)
    tls = loaded(text.replace("${V}", "'${V}'"), {"V": "1.3"}).listen.tls
    assert tls == ListenTls(cert_file="a", key_file="b", min_version="1.3")


def test_an_upstream_is_verified_unless_told_otherwise() -> None:
    assert (UpstreamTls().insecure_skip_verify, UpstreamTls().min_version) == (False, "1.2")


@pytest.mark.parametrize(
    ("written", "network"),
    [
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("10.1.2.3", "10.1.2.3/32"),
        ("fd00:0::/8", "fd00::/8"),
        ("::1", "::1/128"),
        ("0.0.0.0/0", "0.0.0.0/0"),
    ],
)
def test_trusted_proxies_are_networks_or_addresses(written: str, network: str) -> None:
    config = loaded(f"listen: {{trusted_proxies: ['{written}']}}\n{SMALL}")
    assert config.listen.trusted_proxies == (network,)


def test_a_worker_for_each_cpu() -> None:
    assert loaded("workers: auto\n" + SMALL).workers == "auto"


def test_a_configuration_cannot_be_changed() -> None:
    config = loaded(SMALL)
    with pytest.raises(ValueError, match="frozen"):
        config.workers = 2  # type: ignore[misc]  # it is what is tested


def test_credentials_are_in_no_repr() -> None:
    upstream = Upstream(url="http://a", set_headers={"authorization": "Bearer hunter2"})
    assert "hunter2" not in repr(upstream)
    assert "hunter2" not in upstream.model_dump_json()
    assert upstream.set_headers == {"authorization": "Bearer hunter2"}
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
