"""A snapshot crosses the link as JSON and is the same on the other side."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from proxy.model.snapshot import (
    BUCKETS,
    BreakerSpec,
    EscalateSpec,
    FallbackSpec,
    HealthCheck,
    KeySource,
    LimitsSpec,
    ListenSpec,
    ListenTls,
    MatchSpec,
    RecordSpec,
    Retry,
    RolloutSpec,
    RouteSpec,
    ShadowSpec,
    Snapshot,
    Timeouts,
    UpstreamSpec,
    UpstreamTls,
    decode,
    encode,
)
from proxy.model.words import Failure, Phase

TEXT = st.text('abcö-"\\\n', max_size=6)
SECONDS = st.floats(0, 1e9)
COUNT = st.integers(0, 2**40)
PAIRS = st.lists(st.tuples(TEXT, TEXT), max_size=3).map(tuple)
ROLLOUTS: st.SearchStrategy[RolloutSpec] = st.builds(
    RolloutSpec,
    agent=TEXT,
    version=TEXT,
    stage=TEXT,
    phase=st.sampled_from(Phase),
    epoch=COUNT,
    weight=st.integers(0, BUCKETS),
    key=st.lists(st.builds(KeySource, kind=TEXT, name=TEXT), max_size=3).map(tuple),
    salt=TEXT,
    shadow=st.builds(ShadowSpec, share=st.integers(0, BUCKETS), max_body=COUNT, timeout=SECONDS),
    fallback=st.builds(FallbackSpec, on=st.frozensets(st.sampled_from(Failure)), max_body=COUNT),
    escalate=st.builds(EscalateSpec, header=TEXT, confidence_path=TEXT, confidence_below=st.floats(0, 1)),
    record=st.builds(RecordSpec, share=st.integers(0, BUCKETS), headers=st.lists(TEXT, max_size=2).map(tuple)),
    breaker=st.builds(BreakerSpec, reference=st.floats(0, 1), connect_failures=COUNT),
    slower_than=SECONDS,
)
SNAPSHOTS: st.SearchStrategy[Snapshot] = st.builds(
    Snapshot,
    number=COUNT,
    routes=st.lists(
        st.builds(
            RouteSpec,
            name=TEXT,
            match=st.builds(MatchSpec, path_prefix=TEXT, host=TEXT, methods=st.frozensets(TEXT), headers=PAIRS),
            legacy=TEXT,
            rollout=st.none() | ROLLOUTS,
            upgrades=st.frozensets(TEXT, max_size=2),
        ),
        max_size=2,
    ).map(tuple),
    upstreams=st.lists(
        st.builds(
            UpstreamSpec,
            name=TEXT,
            host=TEXT,
            port=st.integers(0, 65535),
            tls=st.none() | st.builds(UpstreamTls, ca_file=TEXT, insecure_skip_verify=st.booleans(), digest=TEXT),
            timeouts=st.builds(Timeouts, connect=SECONDS),
            retry=st.builds(Retry, attempts=COUNT, on=st.frozensets(TEXT), budget=st.floats(0, 1)),
            set_headers=PAIRS,
            remove_headers=st.none() | st.lists(TEXT, max_size=2).map(tuple),
            health_check=st.none() | st.builds(HealthCheck, path=TEXT, interval=SECONDS),
        ),
        max_size=2,
    ).map(tuple),
    limits=st.builds(LimitsSpec, max_body=COUNT, idle_timeout=SECONDS),
    listen=st.builds(
        ListenSpec,
        tls=st.none() | st.builds(ListenTls, cert_file=TEXT, key_file=TEXT, client_auth=TEXT, digest=TEXT),
        proxy_protocol=st.booleans(),
        trusted_proxies=st.lists(TEXT, max_size=2).map(tuple),
    ),
    access_log=st.booleans(),
    override_secret=TEXT,
)


@given(SNAPSHOTS)
def test_what_was_encoded_is_decoded_as_the_same(snapshot: Snapshot) -> None:
    assert decode(encode(snapshot)) == snapshot


def test_what_is_decoded_has_the_types_that_a_worker_compares_with() -> None:
    rollout = RolloutSpec("agent", "1", "canary", Phase.PROGRESSING, 1, 5_000, (KeySource("client_ip"),), "salt")
    routes = (RouteSpec("refunds", MatchSpec(methods=frozenset({"POST"})), "human", rollout),)
    decoded = decode(encode(Snapshot(1, routes, ()))).routes[0]
    assert decoded.rollout is not None
    assert decoded.rollout.phase is Phase.PROGRESSING
    assert decoded.rollout.fallback.on == frozenset(Failure)
    assert isinstance(decoded.match.methods, frozenset)
    assert isinstance(decoded.rollout.key, tuple)


def test_equal_snapshots_are_encoded_as_the_same_bytes() -> None:
    """So that a snapshot that says nothing new need not be sent."""
    words = ["503", "connect_failure", "a", "b"]
    one = Snapshot(1, (), (UpstreamSpec("a", "h", 80, retry=Retry(on=frozenset(words))),))
    other = Snapshot(1, (), (UpstreamSpec("a", "h", 80, retry=Retry(on=frozenset(reversed(words)))),))
    assert encode(one) == encode(other)


def test_credentials_cross_the_link_but_are_in_no_repr() -> None:
    upstream = UpstreamSpec("a", "h", 80, set_headers=(("authorization", "hunter2"),))
    snapshot = Snapshot(1, (), (upstream,), override_secret="hunter3")
    assert b"hunter2" in encode(snapshot)
    assert b"hunter3" in encode(snapshot)
    assert "hunter" not in repr(snapshot)


def spoil(**changes: Any) -> bytes:
    return orjson.dumps(orjson.loads(encode(Snapshot(1, (), ()))) | changes)


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b"{}", spoil(number="one"), spoil(routes=[{}]), spoil(upstreams=[{"name": "a"}])],
    ids=["nothing", "cut short", "a list", "no fields", "a word for a number", "an empty route", "half an upstream"],
)
def test_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises(ValidationError):
        decode(data)
