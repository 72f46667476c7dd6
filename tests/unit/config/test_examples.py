"""The configurations that operators copy: they load, and the first one explains every key."""

import base64
import re
from pathlib import Path
from typing import Any, get_args

import pytest

from proxy.config.compile import tls_files
from proxy.config.fields import Section
from proxy.config.load import load, masked
from proxy.config.schema import Config
from proxy.config.source import Mapping, Node, Sequence, parse, plain
from proxy.config.upstream_schema import HealthCheck

FOLDER = Path(__file__).parents[3] / "config"
ENVIRONMENT = {"REDIS_URL": "redis://:hunter2@redis:6379/0", "AGENT_VERSION": "7", "AGENT_TOKEN": "hunter2"}


def example(name: str, environment: dict[str, str]) -> Config:
    return load((FOLDER / name).read_text("utf-8"), name, environment, lambda path: f"text of {path}")


@pytest.mark.parametrize("file", sorted(FOLDER.rglob("*.yaml")), ids=lambda file: file.name)
def test_every_example_loads_and_shows_no_secret(file: Path) -> None:
    config = example(str(file.relative_to(FOLDER)), ENVIRONMENT)
    assert "hunter2" not in str(masked(config))


def test_the_first_example_needs_nothing_but_its_two_endpoints() -> None:
    config = example("crossfade.yaml", {})
    assert config.store == "embedded"
    assert tls_files(config) == {}
    assert {upstream.url for upstream in config.upstreams.values()} == {
        "http://127.0.0.1:9001",
        "http://127.0.0.1:9002",
    }


def test_a_fixed_split() -> None:
    rollout = example("examples/fixed-split.yaml", {}).routes[0].rollout
    assert rollout is not None
    assert rollout.split is not None
    assert (rollout.split.shadow, rollout.split.weight) == (100_000, 5_000)


def test_a_sidecar() -> None:
    config = example("examples/sidecar.yaml", ENVIRONMENT)
    assert config.store == ENVIRONMENT["REDIS_URL"]
    assert config.upstreams["agent"].url == "http://localhost:9002"
    assert config.routes[0].match.path_prefix == "/"


def test_a_gateway() -> None:
    config = example("examples/gateway.yaml", {})
    assert [route.name for route in config.routes] == ["refunds", "claims", "website"]
    assert config.upstreams["agent"].timeouts.response == 20.0, "beside << it wins"
    assert config.upstreams["claims-desk"].timeouts == config.upstreams["refunds-desk"].timeouts
    assert config.routes[2].rollout is None
    assert config.listen.trusted_proxies == ("10.1.0.0/16",)
    assert sorted(tls_files(config)) == ["listen.tls.cert_file", "listen.tls.key_file", "upstreams.agent.tls.ca_file"]
    assert config.upstreams["agent"].remove_headers is None, "an agent gets none of its client's credentials"


def keys_of(section: type[Section]) -> set[str]:
    """Every key of the schema, at any depth."""
    keys = set(section.model_fields)
    for field in section.model_fields.values():
        for inner in sections_in(field.annotation):
            keys |= keys_of(inner)
    return keys


def sections_in(annotation: Any) -> set[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return {annotation}
    return {section for argument in get_args(annotation) for section in sections_in(argument)}


def keys_in(node: Node) -> set[str]:
    match node:
        case Mapping():
            return set(node.entries) | {key for entry in node.entries.values() for key in keys_in(entry.value)}
        case Sequence():
            return {key for item in node.items for key in keys_in(item)}
        case _:
            return set()


def test_the_first_example_has_every_key() -> None:
    text = (FOLDER / "crossfade.yaml").read_text("utf-8")
    commented_out = set(re.findall(r"^ *#  *(?:- )?([a-z_]+):", text, re.MULTILINE))
    assert keys_of(Config) - keys_in(parse(text, "crossfade.yaml")) - commented_out == set()
    assert {"tokens_file", "split", "tls", "override", "health_check"} <= commented_out


def test_what_the_first_example_has_in_comments_works_as_it_stands_there() -> None:
    text = (FOLDER / "crossfade.yaml").read_text("utf-8")
    text = re.sub(r"^ *# split:.*\n( *#   .*\n)+", "", text, flags=re.MULTILINE)
    text = re.sub(r"^( {0,10})# ( *(?:- )?[a-z_]+:)(?=\s)", r"\1\2", text, flags=re.MULTILINE)
    text = text.replace("url: http://127.0.0.1:9002", "url: https://agent.internal")
    config = load(
        text,
        "crossfade.yaml",
        {"OVERRIDE_SECRET": "sixteen-characters", "RECORD_KEY": base64.b64encode(bytes(32)).decode()},
        lambda path: path,
    )
    assert config.override is not None
    assert config.admin.tokens_file == "/etc/crossfade/tokens"
    assert config.upstreams["agent"].health_check == HealthCheck(path="/healthz")
    assert len(tls_files(config)) == 6
    assert config.listen.tls is not None
    assert config.listen.tls.client_auth == "required"
    rollout = config.routes[0].rollout
    assert rollout is not None
    assert rollout.pending is not None
    assert rollout.pending.callback is not None
    assert config.routes[1].match.path_prefix == rollout.pending.callback.path_prefix
    gates = rollout.gates
    assert None not in (gates.segments, gates.direction, gates.kappa, gates.fallback_rate, gates.key_coverage)
    assert rollout.guard.error_rate.objective == 0.05


def test_the_stages_that_the_first_example_calls_the_default_are_the_default() -> None:
    shown = example("crossfade.yaml", {}).routes[0].rollout
    left_out = example("examples/sidecar.yaml", ENVIRONMENT).routes[0].rollout
    assert shown is not None
    assert left_out is not None
    assert shown.stages == left_out.stages


DEFAULT = re.compile(r"^ *(?P<key>[a-z_]+):[^#\n]*#.*Default (?P<value>\S.*?)(: .*)?$", re.MULTILINE)
SAME: dict[object, str] = {0: "0B", "60s": "1m"}


def test_the_defaults_that_the_first_example_tells_are_those_of_the_schema() -> None:
    document = Config.model_json_schema()
    defaults: dict[str, list[Any]] = {}
    for section in (document, *document["$defs"].values()):
        for key, member in section.get("properties", {}).items():
            defaults.setdefault(key, []).append(member.get("default", {}))
    told = [
        (match["key"], match["value"]) for match in DEFAULT.finditer((FOLDER / "crossfade.yaml").read_text("utf-8"))
    ]
    values = [(key, plain(parse(f"value: {value}", "told"))["value"]) for key, value in told]
    assert len(told) > 30
    wrong = [(key, value) for key, value in values if value not in defaults[key]]
    assert [(key, value) for key, value in wrong if SAME.get(value) not in defaults[key]] == []
