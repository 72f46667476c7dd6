"""A file's text in, a Config or every problem of it out."""

import json
from typing import Any

import pytest

from proxy.config.fields import Address
from proxy.config.load import load, masked, watched_files
from proxy.model.errors import ConfigError
from tests.unit.config.texts import SMALL, loaded, problems, read_file, spoiled, with_rollout


def test_a_small_configuration_is_loaded_with_safe_defaults() -> None:
    config = loaded(SMALL)
    assert config.listen.address == Address("0.0.0.0", 8080)
    assert config.admin.address == Address("127.0.0.1", 9900)
    assert (config.workers, config.store) == (1, "embedded")
    route = config.routes[0]
    assert route.rollout is not None
    assert route.rollout.gates.readiness == "off"
    assert [stage.weight for stage in route.rollout.stages] == [0, 5_000, 10_000, 25_000, 50_000, 100_000]


def test_a_number_and_a_boolean_may_come_from_the_environment() -> None:
    text = "workers: ${N}\nlisten: {access_log: '${LOG}'}\n" + with_rollout("split: {weight: '${W}'}")
    config = loaded(text, {"N": "3", "LOG": "true", "W": "12.5"})
    assert config.workers == 3
    assert config.listen.access_log is True
    assert config.routes[0].rollout is not None
    assert config.routes[0].rollout.split is not None
    assert config.routes[0].rollout.split.weight == 12_500


def test_text_from_the_environment_stays_text() -> None:
    config = loaded(SMALL.replace('version: "1"', "version: ${BUILD}"), {"BUILD": "0123"})
    assert config.routes[0].rollout is not None
    assert config.routes[0].rollout.version == "0123"


def test_an_empty_reference_means_no_tokens_file() -> None:
    text = SMALL.replace('{address: "127.0.0.1:9900"}', "{tokens_file: '${TOKENS:-}'}")
    assert loaded(text).admin.tokens_file is None
    assert loaded(text, {"TOKENS": "/etc/tokens"}).admin.tokens_file == "/etc/tokens"


def test_every_problem_is_told_in_the_order_of_the_file() -> None:
    text = with_rollout("shadow: {percent: 120}\ngates: {min_sample: 5}").replace("legacy: human", "legcy: human")
    assert problems(text) == [
        "c.yaml:6: routes[0].legacy: is missing",
        "c.yaml:8: routes[0].legcy: is no known key; did you mean legacy?",
        "c.yaml:13: routes[0].rollout.shadow.percent: 120 is not between 0 and 100 percent",
        "c.yaml:14: routes[0].rollout.gates.min_sample: is no known key; did you mean min_samples?",
    ]


def test_the_error_itself_is_the_first_problem_and_counts_the_others() -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(SMALL.replace("legacy: human", "legcy: human"))
    error = caught.value
    assert str(error) == "c.yaml:6: routes[0].legacy: is missing (and 1 more)"
    assert (error.file, error.line, error.path, error.problem) == ("c.yaml", 6, "routes[0].legacy", "is missing")


def test_references_come_first_since_nothing_can_be_said_of_what_they_stand_for() -> None:
    (said,) = spoiled("legacy: human", "legacy: ${LEGACY}\n    nonsense: true")
    assert said == (
        "c.yaml:8: routes[0].legacy: needs the environment variable LEGACY, which is not set;"
        " set it or write ${LEGACY:-default}"
    )


def test_a_syntax_error_has_its_line() -> None:
    assert spoiled("legacy: human", "legacy: [human") == [
        "c.yaml:9: is no YAML: while parsing a flow sequence, expected ',' or ']', but got ':'"
    ]


SECRET = "hunter2"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('url: "http://127.0.0.1:9002"', 'url: "http://x", set_headers: {authorization: "hunter2\\n"}'),
        ('url: "http://127.0.0.1:9002"', 'url: "http://x", set_headers: {authorization: [hunter2]}'),
        ('url: "http://127.0.0.1:9002"', 'url: "http://x", set_headers: {authorization: "${SECRET}\\n"}'),
        ('url: "http://127.0.0.1:9002"', 'url: "http://x", set_headers: hunter2'),
        ('url: "http://127.0.0.1:9002"', 'url: "http://u:hunter2@x"'),
        ('url: "http://127.0.0.1:9002"', 'url: "http://u:hunter2@x:port"'),
        ("upstreams:", "store: redis+sentinel://:hunter2@h\nupstreams:"),
        ("upstreams:", "store: ${SECRET}\nupstreams:"),
        ("upstreams:", "workers: ${SECRET}\nupstreams:"),
        ("upstreams:", "override: hunter2\nupstreams:"),
        ("upstreams:", "override: [hunter2]\nupstreams:"),
        ("upstreams:", "override: {secret: hunter2}\nupstreams:"),
        ("upstreams:", "override: {secret: {hunter2: hunter2-hunter2-hunter2}}\nupstreams:"),
        ("upstreams:", "listen: {tls: {cert_file: 'hunter2\\x07', key_file: \"hunter2\\n\"}}\nupstreams:"),
        ("upstreams:", 'listen: {tls: {cert_file: a, key_file: "${SECRET}\\n"}}\nupstreams:'),
        ("legacy: human", "legacy: ${SECRET}!"),
        ("legacy: human", "legacy: human\n    rollouts: ${SECRET}"),
        ("salt: refunds-1", "salt: refunds-1\n      shadow: {percent: '${SECRET}', timeout: 'x${SECRET}'}"),
        ("salt: refunds-1", "salt: refunds-1\n      shadow: ${SECRET}"),
        ("salt: refunds-1", "salt: refunds-1\n      compare: {decision: '$.[${SECRET}'}"),
        ("salt: refunds-1", "salt: refunds-1\n      compare: {decision: '$.a ${SECRET}'}"),
        ("salt: refunds-1", "salt: refunds-1\n      key: ['${SECRET}', {header: '${SECRET}:'}]"),
        ("salt: refunds-1", "salt: refunds-1\n      fallback: {on: ['${SECRET}']}"),
        ("agent: agent", "agent: ${SECRET}"),
        ("name: refunds", "name: ${SECRET}\n    legacy: nobody\n  - name: ${SECRET}"),
        ("version:", "stages: [{name: '${SECRET}', weight: 5}, {name: '${SECRET}', weight: 1}]\n      version:"),
        ('"127.0.0.1:9900"', "'${SECRET}:9900'"),
    ],
)
def test_no_error_shows_a_secret_or_what_a_reference_stands_for(old: str, new: str) -> None:
    assert SMALL.count(old) == 1
    with pytest.raises(ConfigError) as caught:
        loaded(SMALL.replace(old, new), {"SECRET": SECRET})
    assert SECRET not in str([str(problem) for problem in caught.value.problems])
    assert SECRET not in str(caught.value.__cause__)


def watched(text: str, environment: dict[str, str] | None = None) -> tuple[str, ...]:
    return watched_files(text, "c.yaml", environment or {}, read_file)


def test_the_files_of_references_are_known_also_where_they_cannot_be_read() -> None:
    text = SMALL.replace("refunds-1", "${file:/run/secrets/salt}").replace('"1"', "'${file:/run/version}-${X}'")
    assert watched(text) == ("/run/secrets/salt", "/run/version")
    assert watched(SMALL) == ()
    with pytest.raises(ConfigError, match="is no YAML"):
        watched("a: [")


def test_certificates_and_keys_are_watched_by_the_name_that_counts() -> None:
    text = "listen: {tls: {cert_file: '${TLS}/tls.crt', key_file: '${TLS}/tls.key', client_ca_file: /clients.pem}}\n"
    upstream = 'url: "https://agent", tls: {ca_file: /ca.pem, min_version: 1.3}'
    text += SMALL.replace('url: "http://127.0.0.1:9002"', upstream)
    assert watched(text, {"TLS": "/tls"}) == ("/ca.pem", "/clients.pem", "/tls/tls.crt", "/tls/tls.key")


@pytest.mark.parametrize("wrong", ["tls: 5", "tls: [a]", "tls: {cert_file: [a], key_file: {b: c}}", "nonsense: true"])
def test_of_what_is_refused_all_that_can_be_read_is_watched(wrong: str) -> None:
    assert watched(f"listen: {{{wrong}}}\nupstreams: {{a: {{tls: {{ca_file: /ca.pem}}}}, b: 5}}\n") == ("/ca.pem",)
    assert watched(f"listen: {{{wrong}}}\nupstreams: [a]\n") == ()


def shown(text: str) -> dict[str, Any]:
    document = json.loads(json.dumps(masked(loaded(text))))
    assert isinstance(document, dict)
    return document


def test_secrets_are_masked() -> None:
    text = SMALL.replace(
        'agent: {url: "http://127.0.0.1:9002"}',
        'agent: {url: "http://127.0.0.1:9002", set_headers: {authorization: "Bearer ${file:/run/secrets/token}"}}\n'
        "store: redis://user:pa@ss@redis:6379/0?password=more\n"
        "override: {secret: sixteen-characters}",
    )
    document = shown(text.replace("store:", "# \nstore:").replace("  #", "#"))
    assert document["upstreams"]["agent"]["set_headers"] == {"authorization": "***"}
    assert document["store"] == "redis://***@redis:6379/0?password=***"
    assert document["override"] == {"secret": "***"}


def test_a_masked_secret_is_no_secret() -> None:
    """Whoever runs what was shown must not sign with `***`."""
    document = shown(f"override: {{secret: sixteen-characters}}\n{SMALL}")
    with pytest.raises(ConfigError, match=r"override\.secret: is shorter than 16 characters"):
        load(json.dumps(document), "shown.yaml", {}, read_file)


def test_what_is_shown_is_written_in_the_units_of_the_file() -> None:
    document = shown(with_rollout("split: {weight: 0.125}\nguard: {latency: {slower_than: 5s}}"))
    rollout = document["routes"][0]["rollout"]
    assert document["listen"]["address"] == "0.0.0.0:8080"
    assert document["limits"]["max_header_bytes"] == "32KiB"
    assert rollout["split"] == {"shadow": 100, "weight": 0.125}
    assert "stages" not in rollout
    assert rollout["guard"] == {"error_rate": {"margin": "0.2%"}, "latency": {"slower_than": "5s", "margin": "1%"}}
    assert rollout["fallback"]["on"] == ["5xx", "connect_failure", "escalation", "overload", "reset", "timeout"]
    assert rollout["key"] == ["client_ip"]


@pytest.mark.parametrize(
    "text",
    [
        SMALL,
        with_rollout("split: {shadow: 10, weight: 5}"),
        with_rollout("stages: [{name: only, weight: 0.001, soak: 1500ms}]\nkey: [{cookie: a}, {query: b}, client_ip]"),
        SMALL.replace(
            '9002"}', '9002", tls: {cert_file: a, key_file: b, min_version: 1.3}, health_check: {path: /h}}'
        ).replace("http://127.0.0.1:9002", "https://agent"),
        "listen: {tls: {cert_file: a, key_file: b}, trusted_proxies: [10.0.0.1, 'fd00::/8'], proxy_protocol: true}\n"
        + SMALL,
        with_rollout("escalate: {confidence: {path: $.c, below: 0.6}}\ncompare: {fields: {tolerance: {$.a: 0.5%}}}"),
    ],
)
def test_what_is_shown_is_the_same_configuration_when_it_is_loaded(text: str) -> None:
    config = loaded(text)
    assert load(json.dumps(masked(config)), "shown.yaml", {}, read_file) == config
