"""The signed override: who may say which arm serves, and for how long."""

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.model.measures import OVERRIDES
from proxy.model.words import Arm
from proxy.routing.override import ACCEPTED, EXPIRED, INVALID, LONGEST, sign, verify

SECRET = "a-secret-of-testers"
NOW = 1_764_000_000
VALUE = sign(SECRET, "refunds", Arm.AGENT, NOW + 3600)


def check(value: str | bytes, *, secret: str = SECRET, route: str = "refunds", now: float = NOW) -> tuple[object, str]:
    return verify(secret.encode(), route, value if isinstance(value, bytes) else value.encode(), now)


def test_the_value_as_it_is_documented() -> None:
    text = b"crossfade-override-1\nagent\n1764000000\nrefunds"
    signature = hmac.new(SECRET.encode(), text, hashlib.sha256).hexdigest()
    expected = f"agent; route=refunds; expires=1764000000; sig={signature}"
    assert sign(SECRET, "refunds", Arm.AGENT, 1_764_000_000) == expected


@pytest.mark.parametrize("arm", list(Arm))
def test_what_was_signed_is_accepted(arm: Arm) -> None:
    assert check(sign(SECRET, "refunds", arm, NOW + 1)) == (arm, ACCEPTED)


def test_it_ends_when_it_says() -> None:
    assert check(VALUE, now=NOW + 3599.9) == (Arm.AGENT, ACCEPTED)
    assert check(VALUE, now=NOW + 3600) == (None, EXPIRED)
    assert check(VALUE, now=NOW + 1e9) == (None, EXPIRED)


def test_a_pass_without_an_end_in_sight_is_none() -> None:
    assert check(sign(SECRET, "refunds", Arm.AGENT, NOW + LONGEST)) == (Arm.AGENT, ACCEPTED)
    assert check(sign(SECRET, "refunds", Arm.AGENT, NOW + LONGEST + 1)) == (None, INVALID)
    assert check(sign(SECRET, "refunds", Arm.AGENT, 99_999_999_999)) == (None, INVALID)


def test_another_route_or_secret_is_none_of_ours() -> None:
    assert check(VALUE, route="orders") == (None, INVALID)
    assert check(VALUE, secret=SECRET + "!") == (None, INVALID)


def test_without_a_secret_nothing_is_accepted() -> None:
    assert check(sign("", "refunds", Arm.AGENT, NOW + 3600), secret="") == (None, INVALID)


def test_a_forged_value_that_has_expired_is_not_called_expired() -> None:
    forged = sign("another-secret-of-one", "refunds", Arm.AGENT, NOW - 1)
    assert check(forged) == (None, INVALID)


@pytest.mark.parametrize(
    "value",
    [
        "", "agent", "agent; sig=", VALUE + " ", " " + VALUE, VALUE.upper(), VALUE.replace("; ", ";"),
        VALUE.replace("expires=", "expires=0"), VALUE.replace("expires=", "expires=-"), VALUE.replace("sig=", ""),
        VALUE.replace("agent", "shadow"), VALUE.replace("agent", "legacy"), f"{VALUE}, {VALUE}", f"{VALUE}\n",
        VALUE.replace("refunds", "r" * 1000), "x" * 100_000, b"\xff" * 100, VALUE.encode("utf-16"),
    ],
)  # fmt: skip
def test_what_is_written_otherwise_is_invalid(value: str | bytes) -> None:
    assert check(value) == (None, INVALID)


def test_the_words_are_those_of_the_measure() -> None:
    assert all(word in OVERRIDES.help for word in (ACCEPTED, EXPIRED, INVALID))


@given(st.binary(max_size=300))
def test_no_value_raises_and_none_is_guessed(value: bytes) -> None:
    assert check(value) == (None, INVALID)


@given(st.integers(0, len(VALUE) - 1), st.integers(1, 255))
def test_any_change_of_any_byte_is_refused(place: int, change: int) -> None:
    changed = bytearray(VALUE.encode())
    changed[place] ^= change
    assert check(bytes(changed)) == (None, INVALID)


@given(st.integers(0, len(VALUE)), st.binary(max_size=3), st.integers(0, 3))
def test_any_byte_more_or_less_is_refused(place: int, more: bytes, less: int) -> None:
    changed = VALUE.encode()[:place] + more + VALUE.encode()[place + less :]
    if changed != VALUE.encode():
        assert check(changed) == (None, INVALID)


ROUTES = st.from_regex(r"[a-z0-9]([a-z0-9_-]{0,62}[a-z0-9])?", fullmatch=True)
PASSES = st.tuples(st.text(min_size=16, max_size=40), ROUTES, st.sampled_from(Arm), st.integers(NOW + 1, NOW + LONGEST))


@given(PASSES, PASSES)
def test_a_pass_is_good_for_what_it_was_signed_for_and_nothing_else(
    mine: tuple[str, str, Arm, int], other: tuple[str, str, Arm, int]
) -> None:
    secret, route, arm, _ = mine
    value = sign(*mine)
    assert check(value, secret=secret, route=route) == (arm, ACCEPTED)
    if mine[:2] != other[:2]:
        assert check(value, secret=other[0], route=other[1]) == (None, INVALID)
    if mine != other:
        assert value != sign(*other)
