"""From a Config and placements to the snapshot that workers decide by."""

import pytest

from proxy.config.compile import compile_snapshot, tls_files
from proxy.model.snapshot import (
    EscalateSpec,
    FallbackSpec,
    HealthCheck,
    KeySource,
    LimitsSpec,
    ListenSpec,
    ListenTls,
    MatchSpec,
    Placement,
    RecordSpec,
    Retry,
    RouteSpec,
    ShadowSpec,
    Timeouts,
    UpstreamSpec,
    UpstreamTls,
)
from proxy.model.words import Failure, Phase
from tests.unit.config.texts import SMALL, loaded, with_rollout

CANARY = Placement(version="1", stage="canary", phase=Phase.PROGRESSING, epoch=3, weight=5_000, shadow=50_000)


def test_an_upstream() -> None:
    text = SMALL.replace(
        'agent: {url: "http://127.0.0.1:9002"}',
        "agent: {url: 'http://[::1]:9002/base/', timeouts: {connect: 500ms}, retry: {attempts: 2, budget: 5%},\n"
        "    set_headers: {Authorization: Bearer t, Host: a}, remove_headers: [Cookie, Accept], max_idle: 4}",
    )
    assert compile_snapshot(loaded(text), {"refunds": CANARY}, 1, {}).upstreams == (
        UpstreamSpec("human", "127.0.0.1", 9001, retry=Retry(on=frozenset({"connect_failure"}))),
        UpstreamSpec(
            "agent",
            "::1",
            9002,
            base_path="/base",
            timeouts=Timeouts(connect=0.5),
            retry=Retry(2, frozenset({"connect_failure"}), 0.05),
            set_headers=(("authorization", "Bearer t"), ("host", "a")),
            remove_headers=("accept", "cookie"),
            max_idle=4,
        ),
    )


def test_the_port_of_http_is_80() -> None:
    snapshot = compile_snapshot(loaded(SMALL.replace("127.0.0.1:9001", "human.internal")), {"refunds": CANARY}, 1, {})
    assert (snapshot.upstreams[0].host, snapshot.upstreams[0].port) == ("human.internal", 80)


def test_the_port_of_https_is_443() -> None:
    text = SMALL.replace("http://127.0.0.1:9001", "https://human.internal")
    human = compile_snapshot(loaded(text), {"refunds": CANARY}, 1, {}).upstreams[0]
    assert (human.host, human.port, human.tls) == ("human.internal", 443, UpstreamTls())


def test_how_an_upstream_is_spared_and_watched() -> None:
    keys = "max_inflight: 8, max_queue: 2, queue_timeout: 1s, remove_headers: [], health_check: {path: /h, healthy: 1}"
    text = SMALL.replace('9001"}', f'9001", {keys}}}')
    human = compile_snapshot(loaded(text), {"refunds": CANARY}, 1, {}).upstreams[0]
    assert (human.max_inflight, human.max_queue, human.queue_timeout, human.remove_headers) == (8, 2, 1.0, ())
    assert human.health_check == HealthCheck("/h", healthy=1)


# TLS

SECURE = """\
listen:
  tls: {cert_file: /tls.crt, key_file: /tls.key, client_ca_file: /clients.pem}
  trusted_proxies: [10.0.0.0/8]
  proxy_protocol: true
  underscore_headers: true
""" + SMALL.replace(
    'url: "http://127.0.0.1:9002"', 'url: "https://agent", tls: {ca_file: /ca.pem, server_name: a, min_version: 1.3}'
)
DIGESTS = {"/tls.crt": "c0", "/tls.key": "c1", "/clients.pem": "c2", "/ca.pem": "c3"}


def test_the_files_of_tls_are_known_by_the_keys_that_name_them() -> None:
    assert tls_files(loaded(SECURE)) == {
        "listen.tls.cert_file": "/tls.crt",
        "listen.tls.key_file": "/tls.key",
        "listen.tls.client_ca_file": "/clients.pem",
        "upstreams.agent.tls.ca_file": "/ca.pem",
    }
    assert tls_files(loaded(SMALL)) == {}


def test_how_clients_are_heard() -> None:
    assert compile_snapshot(loaded(SECURE), {"refunds": CANARY}, 1, DIGESTS).listen == ListenSpec(
        ListenTls("/tls.crt", "/tls.key", "/clients.pem", "required", "1.2", "c0 c1 c2"),
        proxy_protocol=True,
        trusted_proxies=("10.0.0.0/8",),
        underscore_headers=True,
    )


def test_clients_are_asked_for_a_certificate_where_their_cas_are_named() -> None:
    def client_auth(text: str) -> str:
        listen = compile_snapshot(loaded(text), {"refunds": CANARY}, 1, DIGESTS).listen
        assert listen.tls is not None
        return listen.tls.client_auth

    assert client_auth(SECURE) == "required"
    assert client_auth(SECURE.replace("client_ca_file", "client_auth: optional, client_ca_file")) == "optional"
    assert client_auth(SECURE.replace(", client_ca_file: /clients.pem", "")) == "none"


def test_a_renewed_file_makes_another_snapshot() -> None:
    first = compile_snapshot(loaded(SECURE), {"refunds": CANARY}, 1, DIGESTS)
    second = compile_snapshot(loaded(SECURE), {"refunds": CANARY}, 1, DIGESTS | {"/ca.pem": "d3"})
    assert first.upstreams[1].tls == UpstreamTls("/ca.pem", server_name="a", min_version="1.3", digest="c3")
    assert second.upstreams[1].tls == UpstreamTls("/ca.pem", server_name="a", min_version="1.3", digest="d3")
    assert first.listen == second.listen


def test_a_file_without_a_digest_is_a_mistake_of_ours() -> None:
    with pytest.raises(KeyError, match=r"/ca\.pem"):
        compile_snapshot(loaded(SECURE), {"refunds": CANARY}, 1, {})


# Routes


def test_where_the_rollout_stands_comes_from_its_placement() -> None:
    rollout = compile_snapshot(loaded(SMALL), {"refunds": CANARY}, 1, {}).routes[0].rollout
    assert rollout is not None
    assert (rollout.version, rollout.stage, rollout.phase, rollout.epoch) == ("1", "canary", Phase.PROGRESSING, 3)
    assert (rollout.weight, rollout.shadow.share) == (5_000, 50_000)


def test_the_rest_of_a_rollout_comes_from_the_configuration() -> None:
    lines = """\
key: [{header: X-User-Id}, {cookie: session}, {query: user}, client_ip]
shadow: {max_body: 2MiB, max_pending: 8, max_pending_bytes: 4MiB, timeout: 5s, percent: 1}
fallback: {on: [5xx, timeout], max_body: 3MiB}
escalate: {header: X-Hand-Over, confidence: {path: $.c, below: 0.6}}
record: {percent: 10, max_body: 1KiB, headers: [Content-Type, X-A]}
guard: {latency: {slower_than: 5s}}"""
    rollout = compile_snapshot(loaded(with_rollout(lines)), {"refunds": CANARY}, 1, {}).routes[0].rollout
    assert rollout is not None
    assert rollout.key == (
        KeySource("header", "x-user-id"), KeySource("cookie", "session"), KeySource("query", "user"),
        KeySource("client_ip"),
    )  # fmt: skip
    assert rollout.shadow == ShadowSpec(50_000, 2 << 20, 8, 4 << 20, 5.0)
    assert rollout.fallback == FallbackSpec(frozenset({Failure.SERVER_ERROR, Failure.TIMEOUT}), 3 << 20)
    assert rollout.escalate == EscalateSpec("x-hand-over", "$.c", 0.6)
    assert rollout.record == RecordSpec(10_000, 1024, ("content-type", "x-a"))
    assert (rollout.agent, rollout.salt, rollout.slower_than) == ("agent", "refunds-1", 5.0)


def test_the_header_that_is_compared_is_recorded_once() -> None:
    for kept in ("[Content-Type]", "[content-type, x-decision]"):
        lines = f"compare: {{decision: {{header: X-Decision}}}}\nrecord: {{headers: {kept}}}"
        rollout = compile_snapshot(loaded(with_rollout(lines)), {"refunds": CANARY}, 1, {}).routes[0].rollout
        assert rollout is not None
        assert rollout.record.headers == ("content-type", "x-decision")


def test_a_route_without_a_rollout_needs_no_placement() -> None:
    text = SMALL[: SMALL.index("    rollout:")].replace(
        "{path_prefix: /refunds}", "{host: A.example, methods: [POST], headers: {X-Tenant: a}}"
    )
    assert compile_snapshot(loaded(text), {}, 1, {}).routes == (
        RouteSpec("refunds", MatchSpec("/", "a.example", frozenset({"POST"}), (("x-tenant", "a"),)), "human"),
    )


def test_a_rollout_without_a_placement_is_a_mistake_of_ours() -> None:
    with pytest.raises(KeyError, match="refunds"):
        compile_snapshot(loaded(SMALL), {}, 1, {})


def test_the_secret_of_overrides() -> None:
    text = f"override: {{secret: sixteen-characters}}\n{SMALL}"
    assert compile_snapshot(loaded(text), {"refunds": CANARY}, 1, {}).override_secret == "sixteen-characters"
    assert compile_snapshot(loaded(SMALL), {"refunds": CANARY}, 1, {}).override_secret == ""


def test_protocols_that_a_route_may_change_to() -> None:
    text = SMALL.replace("legacy: human", "legacy: human\n    upgrades: []")
    assert compile_snapshot(loaded(text), {"refunds": CANARY}, 1, {}).routes[0].upgrades == frozenset()
    assert compile_snapshot(loaded(SMALL), {"refunds": CANARY}, 1, {}).routes[0].upgrades == {"websocket"}


def test_number_limits_and_access_log() -> None:
    text = "listen: {access_log: true}\nlimits: {max_headers: 7, max_body: 1GiB, idle_timeout: 5s}\n" + SMALL
    snapshot = compile_snapshot(loaded(text), {"refunds": CANARY}, 7, {})
    assert (snapshot.number, snapshot.access_log) == (7, True)
    assert snapshot.limits == LimitsSpec(max_headers=7, max_body=1 << 30, idle_timeout=5.0)


def test_left_out_the_defaults_of_schema_and_snapshot_are_the_same() -> None:
    snapshot = compile_snapshot(loaded(SMALL), {"refunds": CANARY}, 1, {})
    assert snapshot.limits == LimitsSpec()
    assert snapshot.listen == ListenSpec()
    retry = Retry(on=frozenset({"connect_failure"}))
    assert snapshot.upstreams[0] == UpstreamSpec("human", "127.0.0.1", 9001, retry=retry)
    assert snapshot.routes[0].rollout is not None
    assert snapshot.routes[0].rollout.fallback == FallbackSpec()
    assert snapshot.routes[0].rollout.escalate == EscalateSpec()
    assert snapshot.routes[0].rollout.record == RecordSpec()
