"""From a Config and placements to the snapshot that workers decide by."""

import pytest

from proxy.config.compile import compile_snapshot
from proxy.model.snapshot import (
    EscalateSpec,
    FallbackSpec,
    KeySource,
    LimitsSpec,
    MatchSpec,
    Placement,
    RecordSpec,
    Retry,
    RouteSpec,
    ShadowSpec,
    Timeouts,
    UpstreamSpec,
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
    assert compile_snapshot(loaded(text), {"refunds": CANARY}, 1).upstreams == (
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
    snapshot = compile_snapshot(loaded(SMALL.replace("127.0.0.1:9001", "human.internal")), {"refunds": CANARY}, 1)
    assert (snapshot.upstreams[0].host, snapshot.upstreams[0].port) == ("human.internal", 80)


def test_where_the_rollout_stands_comes_from_its_placement() -> None:
    rollout = compile_snapshot(loaded(SMALL), {"refunds": CANARY}, 1).routes[0].rollout
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
    rollout = compile_snapshot(loaded(with_rollout(lines)), {"refunds": CANARY}, 1).routes[0].rollout
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


def test_a_route_without_a_rollout_needs_no_placement() -> None:
    text = SMALL[: SMALL.index("    rollout:")].replace(
        "{path_prefix: /refunds}", "{host: A.example, methods: [POST], headers: {X-Tenant: a}}"
    )
    assert compile_snapshot(loaded(text), {}, 1).routes == (
        RouteSpec("refunds", MatchSpec("/", "a.example", frozenset({"POST"}), (("x-tenant", "a"),)), "human"),
    )


def test_a_rollout_without_a_placement_is_a_mistake_of_ours() -> None:
    with pytest.raises(KeyError, match="refunds"):
        compile_snapshot(loaded(SMALL), {}, 1)


def test_number_limits_and_access_log() -> None:
    text = "listen: {access_log: true}\nlimits: {max_headers: 7, max_body: 1GiB, idle_timeout: 5s}\n" + SMALL
    snapshot = compile_snapshot(loaded(text), {"refunds": CANARY}, 7)
    assert (snapshot.number, snapshot.access_log) == (7, True)
    assert snapshot.limits == LimitsSpec(max_headers=7, max_body=1 << 30, idle_timeout=5.0)


def test_left_out_the_defaults_of_schema_and_snapshot_are_the_same() -> None:
    snapshot = compile_snapshot(loaded(SMALL), {"refunds": CANARY}, 1)
    assert snapshot.limits == LimitsSpec()
    assert snapshot.upstreams[0].timeouts == Timeouts()
    assert snapshot.routes[0].rollout is not None
    assert snapshot.routes[0].rollout.fallback == FallbackSpec()
    assert snapshot.routes[0].rollout.escalate == EscalateSpec()
    assert snapshot.routes[0].rollout.record == RecordSpec()
