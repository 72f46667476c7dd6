"""Explanations: what they say is what is done."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.model.snapshot import BUCKETS, KeySource, RolloutSpec
from proxy.model.words import Arm, Phase, Reason
from proxy.routing.bucket import bucketer, key_hasher
from proxy.routing.decide import decide
from proxy.routing.explain import explain
from proxy.routing.identity import find_key, sources

HEADER, COOKIE = KeySource("header", "x-user-id"), KeySource("cookie", "sid")
QUERY, CLIENT = KeySource("query", "user"), KeySource("client_ip")
SPEC = RolloutSpec(
    agent="agent",
    version="v1",
    stage="canary",
    phase=Phase.PROGRESSING,
    epoch=1,
    weight=5_000,
    key=(HEADER, CLIENT),
    salt="refunds-1",
)
STAGES = [("shadow", 0), ("canary", 5_000), ("half", 50_000), ("full", BUCKETS)]
IN, OUT = b"bob", b"alice"  # buckets 2,871 and 27,935

weights = st.integers(0, BUCKETS)
plans = st.lists(weights, max_size=6).map(lambda found: [(f"s{n}", weight) for n, weight in enumerate(sorted(found))])


@given(st.binary(max_size=40), weights, plans, st.sampled_from(Phase))
def test_it_says_what_is_done(key: bytes, weight: int, plan: list[tuple[str, int]], phase: Phase) -> None:
    told = explain(replace(SPEC, weight=weight, phase=phase), key, plan, 0)
    bucket = bucketer(SPEC.salt)(key) if key else None
    assert told.bucket == bucket
    assert told.now.decision == decide(weight, bucket, tripped=False)
    assert [(at.stage, at.weight, at.decision) for at in told.stages] == [
        (name, weight, decide(weight, bucket, tripped=False)) for name, weight in plan
    ]


@given(st.binary(max_size=40), plans)
def test_who_is_in_at_one_stage_is_in_at_all_later_ones(key: bytes, plan: list[tuple[str, int]]) -> None:
    told = explain(SPEC, key, plan, 0)
    arms = [at.decision.arm for at in told.stages]
    first = [at.stage for at in told.stages].index(told.enters) if told.enters is not None else len(arms)
    assert arms == [Arm.LEGACY] * first + [Arm.AGENT] * (len(arms) - first)


@given(st.binary(min_size=1, max_size=40), weights, plans)
def test_who_is_held_back_is_in_at_no_stage_of_a_plan_that_is_capped_so(
    key: bytes, holdback: int, plan: list[tuple[str, int]]
) -> None:
    capped = [(name, min(weight, BUCKETS - holdback)) for name, weight in plan]
    told = explain(SPEC, key, capped, holdback)
    full = explain(SPEC, key, [("full", BUCKETS - holdback)], holdback)
    assert told.held_back == (full.enters is None)
    assert not (told.held_back and told.enters)


@given(st.binary(min_size=1, max_size=40), st.text("aé=&%+; ", min_size=1, max_size=5))
def test_a_key_that_a_place_reads_alike_is_found_there_as_it_is(key: bytes, name: str) -> None:
    told = explain(replace(SPEC, key=(COOKIE, KeySource("query", name))), key, [], 0)
    cookie, query = told.places
    written = [(b"cookie", b"a=1; sid=" + key)]
    assert cookie.alike == (find_key(sources([COOKIE]), written, b"", b"") == key)
    if query.alike:
        assert not set(key) & set(b"&+")


def test_a_user_who_is_in() -> None:
    told = explain(SPEC, IN, STAGES, 0)
    assert (told.bucket, told.enters, told.held_back) == (2_871, "canary", False)
    assert told.now.decision.reason is Reason.BUCKET_IN
    assert told.now.sentence == "bucket 2,871 is below 5,000 (5 %), so the agent serves"
    assert told.key_hash == key_hasher("refunds-1")(IN).hex()


def test_a_user_who_is_not_in_yet() -> None:
    told = explain(SPEC, OUT, STAGES, 0)
    assert [at.decision.arm for at in told.stages] == [Arm.LEGACY, Arm.LEGACY, Arm.AGENT, Arm.AGENT]
    assert told.enters == "half"
    assert told.now.sentence == "bucket 27,935 is not below 5,000 (5 %), so legacy serves"


def test_without_a_key_there_is_no_bucket_and_no_agent() -> None:
    told = explain(SPEC, b"", STAGES, 0)
    assert (told.bucket, told.key_hash, told.enters) == (None, "", None)
    assert {at.decision.reason for at in (told.now, *told.stages)} == {Reason.NO_KEY}
    assert told.now.sentence == "a request without a key is legacy's, at every weight"


@pytest.mark.parametrize(
    ("phase", "sentence"),
    [
        (Phase.DEGRADED, "the rollout is rolled back, so legacy serves everybody until `retry`"),
        (Phase.STAGING, "version v1 has not begun, so legacy serves everybody"),
        (Phase.PROGRESSING, "the agent serves nobody here (0 %), so legacy does"),
    ],
)
def test_why_nobody_is_in(phase: Phase, sentence: str) -> None:
    told = explain(replace(SPEC, phase=phase, weight=0), IN, STAGES, 0)
    assert (told.now.decision.reason, told.now.sentence) == (Reason.BUCKET_OUT, sentence)
    assert told.enters == "canary"


def test_a_user_who_is_held_back() -> None:
    told = explain(replace(SPEC, weight=20_000), OUT, [("full", 20_000)], 80_000)
    assert told.held_back
    assert told.now.sentence == "bucket 27,935 is held back: it stays with legacy at every stage"


@pytest.mark.parametrize(
    ("source", "key", "alike"),
    [
        (HEADER, b"bob@x y", True),
        (HEADER, b"\xe9", True),
        (COOKIE, b"s7", True),
        (COOKIE, b'"s7"', False),
        (COOKIE, b"a;b", False),
        (QUERY, b"bob", True),
        (QUERY, b"bob@x", True),
        (QUERY, b"bob%40x", False),
        (QUERY, b"bob+y", False),
        (QUERY, b"a&b", False),
        (KeySource("query", "a&b=c"), b"bob", True),
        (CLIENT, b"10.0.0.1", True),
        (HEADER, b"", False),
    ],
)
def test_which_places_read_the_key_as_it_is(source: KeySource, key: bytes, alike: bool) -> None:
    (place,) = explain(replace(SPEC, key=(source,)), key, [], 0).places
    assert (place.source, place.alike) == (source, alike)
