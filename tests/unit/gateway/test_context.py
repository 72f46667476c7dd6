import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.baggage import get_all
from opentelemetry.baggage.propagation import W3CBaggagePropagator

from proxy.gateway.context import BAGGAGE, MAX_MEMBERS, MAX_STATE, STATE, joined, lines, own

SHADOW = own("shadow", "refunds")


def members(text: bytes, header: bytes) -> list[bytes]:
    for line in text.split(b"\r\n"):
        name, _, value = line.partition(b": ")
        if name == header:
            return value.split(b",")
    return []


def test_an_agent_is_told_its_mode_and_route() -> None:
    assert lines(SHADOW) == (
        b"tracestate: crossfade=shadow:refunds\r\nbaggage: crossfade.mode=shadow,crossfade.route=refunds\r\n"
    )


def test_a_clients_members_go_on_behind_ours() -> None:
    noted = [(b"baggage", b"tenant=7"), (b"x-user-id", b"u"), (b"tracestate", b"a=1, b=2"), (b"tracestate", b"c=3")]
    said = joined(SHADOW, noted)
    assert members(said, STATE) == [b"crossfade=shadow:refunds", b"a=1", b"b=2", b"c=3"]
    assert members(said, BAGGAGE) == [b"crossfade.mode=shadow", b"crossfade.route=refunds", b"tenant=7"]


def test_a_client_cannot_say_what_is_ours_to_say() -> None:
    forged = [
        (b"tracestate", b"crossfade=canary:refunds, Crossfade@x=1"),
        (b"baggage", b" crossfade.mode = canary,a=1"),
    ]
    said = joined(SHADOW, forged)
    assert members(said, STATE) == [b"crossfade=shadow:refunds"]
    assert members(said, BAGGAGE) == [b"crossfade.mode=shadow", b"crossfade.route=refunds", b"a=1"]


@pytest.mark.parametrize("name", ["%63rossfade.mode", "+crossfade.mode", "%20crossfade.mode", "%C2%A0Crossfade.mode"])
def test_what_an_sdk_takes_for_ours_is_ours_to_say(name: str) -> None:
    said = joined(SHADOW, [(BAGGAGE, f"{name}=canary,a%20b=1".encode())])
    assert members(said, BAGGAGE) == [b"crossfade.mode=shadow", b"crossfade.route=refunds", b"a%20b=1"]
    carrier = {"baggage": b",".join(members(said, BAGGAGE)).decode()}
    heard = get_all(W3CBaggagePropagator().extract(carrier))
    assert heard == {"crossfade.mode": "shadow", "crossfade.route": "refunds", "a b": "1"}


@given(st.lists(st.lists(st.binary(max_size=60), max_size=60).map(b",".join), max_size=3))
def test_no_more_goes_on_than_a_receiver_must_take(values: list[bytes]) -> None:
    said = joined({STATE: SHADOW[STATE]}, [(STATE, value.replace(b"\r", b"").replace(b"\n", b"")) for value in values])
    value = said.removeprefix(b"tracestate: ").removesuffix(b"\r\n")
    assert value.startswith(b"crossfade=shadow:refunds")
    assert len(value) <= MAX_STATE
    assert len(value.split(b",")) <= MAX_MEMBERS
