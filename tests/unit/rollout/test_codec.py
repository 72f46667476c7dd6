"""What the store keeps of a rollout, and what it refuses to read."""

from dataclasses import replace

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.model.errors import StoreFormatError
from proxy.model.rollouts import Event, GateResult, RolloutState
from proxy.model.words import Phase, Verdict
from proxy.rollout.codec import decode_event, decode_state, encode_event, encode_state
from tests.unit.rollout.examples import NOW, at_stage

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
SECONDS = st.floats(0, 4e9)
STATES = st.builds(
    RolloutState,
    route=TEXT, version=TEXT, phase=st.sampled_from(Phase), stage=st.integers(0, 100), stage_name=TEXT,
    weight=st.integers(0, 100_000), shadow=st.integers(0, 100_000), epoch=st.integers(1, 10**9),
    revision=st.integers(1, 10**9), since=SECONDS, soaked=SECONDS, reason=TEXT, actor=TEXT, warned=st.booleans(),
)  # fmt: skip
PLACES = st.tuples(TEXT, TEXT, st.integers(0, 100_000))
NUMBERS = st.none() | st.floats(allow_nan=False, allow_infinity=False)
RESULTS = st.builds(
    GateResult, name=TEXT, verdict=st.sampled_from(Verdict), value=NUMBERS, bound=NUMBERS, threshold=NUMBERS,
    samples=st.integers(0, 10**12), reason=TEXT, dry_run=st.booleans(),
)  # fmt: skip
EVENTS = st.builds(
    Event, at=SECONDS, route=TEXT, version=TEXT, kind=TEXT, actor=TEXT, reason=TEXT, before=PLACES, after=PLACES,
    gates=st.lists(RESULTS, max_size=4).map(tuple),
)  # fmt: skip

STATE = at_stage(1)
EVENT = Event(
    NOW, "refunds", "v1", "pause", "ann", "lunch", ("progressing", "canary", 5000), ("paused", "canary", 5000)
)


@given(STATES)
def test_a_restart_reads_the_state_that_was_written(state: RolloutState) -> None:
    assert decode_state("k", encode_state(state)) == state


@given(EVENTS)
def test_the_history_reads_the_event_that_was_written(event: Event) -> None:
    assert decode_event("k", encode_event(event)) == event


def test_what_is_written_says_its_format() -> None:
    assert orjson.loads(encode_state(STATE))["format"] == 2
    assert orjson.loads(encode_event(EVENT))["format"] == 2


STATE_OF_FORMAT_1 = b"""{"format":1,"route":"refunds","version":"v1","phase":"progressing","stage":1,
"stage_name":"canary","weight":5000,"shadow":100000,"epoch":2,"revision":7,"since":1800000000.0,"soaked":12.5,
"reason":"all gates of stage shadow passed","actor":"gates"}"""
EVENT_OF_FORMAT_1 = b"""{"format":1,"at":1800000000.0,"route":"refunds","version":"v1","kind":"advance","actor":"gates",
"reason":"all gates of stage shadow passed","before":["progressing","shadow",0],"after":["progressing","canary",5000],
"gates":[{"name":"soak","verdict":"passed","value":86400.0,"bound":null,"threshold":86400.0,"samples":0,
"reason":"held 1d of 1d"}]}"""


def test_what_the_version_before_has_written_is_read() -> None:
    """An upgrade in place goes on where the rollout stood."""
    state = decode_state("k", STATE_OF_FORMAT_1)
    assert state == RolloutState(
        "refunds", "v1", Phase.PROGRESSING, 1, "canary", 5_000, 100_000, 2, 7, NOW, 12.5,
        "all gates of stage shadow passed", "gates", warned=False,
    )  # fmt: skip
    assert decode_state("k", encode_state(state)) == state
    (gate,) = decode_event("k", EVENT_OF_FORMAT_1).gates
    assert (gate.name, gate.verdict, gate.dry_run) == ("soak", Verdict.PASSED, False)


def changed(data: bytes, **fields: object) -> bytes:
    return orjson.dumps({**orjson.loads(data), **fields})


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "holds no JSON"),
        (b"\x80\x04garbage", "holds no JSON"),
        (b"[1, 2]", "without a format number"),
        (b'{"phase": "paused"}', "without a format number"),
        (changed(encode_state(STATE), format="1"), "without a format number"),
        (changed(encode_state(STATE), format=True), "without a format number"),
        (changed(encode_state(STATE), format=3), "holds format 3 of a newer Crossfade, this one reads 2"),
        (changed(encode_state(STATE), format=0), "holds format 0, which no Crossfade wrote"),
        (changed(encode_state(STATE), phase="melting"), "phase: "),
        (changed(encode_state(STATE), weight="5000"), "weight: "),
        (changed(encode_state(STATE), weight=100_001), "weight is 100001"),
        (changed(encode_state(STATE), weight=-1), "weight is -1"),
        (changed(encode_state(STATE), shadow=200_000), "shadow is 200000"),
        (changed(encode_state(STATE), soaked=-1.0), "soaked is -1.0"),
        (changed(encode_state(STATE), epoch=0), "epoch is 0"),
        (changed(encode_state(STATE), revision=0), "revision is 0"),
        (b'{"format": 1}', "route: Field required"),
    ],
)
def test_garbage_and_newer_formats_are_refused_by_name(data: bytes, problem: str) -> None:
    with pytest.raises(StoreFormatError) as refused:
        decode_state("crossfade:state:refunds", data)
    assert str(refused.value).startswith("crossfade:state:refunds: ")
    assert problem in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "data", [b"nonsense", changed(encode_event(EVENT), format=9), changed(encode_event(EVENT), at=None)]
)
def test_a_damaged_event_is_refused_too(data: bytes) -> None:
    with pytest.raises(StoreFormatError):
        decode_event("k", data)


@given(st.binary(max_size=200))
def test_no_bytes_at_all_raise_anything_else(data: bytes) -> None:
    with pytest.raises(StoreFormatError):
        decode_state("k", data)


def test_an_infinite_number_never_comes_back() -> None:
    with pytest.raises(StoreFormatError):
        decode_state("k", encode_state(replace(STATE, soaked=float("inf"))))
