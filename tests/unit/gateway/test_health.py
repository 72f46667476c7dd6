"""Active health checks: the state machine and what is sent. (What it does to traffic is in the integration tests.)"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.gateway.health import Health, request
from proxy.model.snapshot import UpstreamSpec, UpstreamTls


def states(health: Health, results: str) -> str:
    """The state after each result: `+` passed or healthy, `-` failed or not."""
    said = []
    for result in results:
        health.note(passed=result == "+")
        said.append("+" if health.healthy else "-")
    return "".join(said)


@pytest.mark.parametrize(
    ("results", "after_each"),
    [
        ("", ""),
        ("--", "++"),
        ("---", "++-"),
        ("----", "++--"),
        ("--+--+--", "++++++++"),  # flapping: never three in a row
        ("---+", "++--"),
        ("---++", "++--+"),
        ("---+-+-++", "++------+"),
        ("---++--", "++--+++"),
        ("---++---", "++--+++-"),
    ],
)
def test_three_bad_ones_in_a_row_fell_it_and_two_good_ones_raise_it(results: str, after_each: str) -> None:
    assert states(Health(3, 2), results) == after_each


def test_one_is_enough_where_one_was_asked_for() -> None:
    assert states(Health(1, 1), "-+-+") == "-+-+"


def test_a_change_is_told_once() -> None:
    health = Health(2, 1)
    assert [health.note(passed=passed) for passed in (False, False, False, True, True)] == [
        False, True, False, True, False,
    ]  # fmt: skip


@given(st.integers(1, 5), st.integers(1, 5), st.lists(st.booleans(), max_size=60))
def test_it_is_what_the_last_long_enough_row_said(unhealthy: int, healthy: int, results: list[bool]) -> None:
    health = Health(unhealthy, healthy)
    for result in results:
        health.note(passed=result)
    expected = True
    for end in range(1, len(results) + 1):
        if all(results[max(0, end - healthy) : end]) and end >= healthy:
            expected = True
        elif not any(results[max(0, end - unhealthy) : end]) and end >= unhealthy:
            expected = False
    assert health.healthy is expected


def asked(**spec: object) -> bytes:
    made: dict[str, object] = {"name": "agent", "host": "agent.example", "port": 9002, **spec}
    return request(UpstreamSpec(**made), "/healthz?deep=1")  # type: ignore[arg-type]  # what the test says


def test_what_is_sent() -> None:
    assert asked() == (
        b"GET /healthz?deep=1 HTTP/1.1\r\nhost: agent.example:9002\r\nuser-agent: crossfade-health\r\n"
        b"connection: close\r\n\r\n"
    )


def test_what_is_sent_below_a_base_path_with_credentials() -> None:
    own = (("authorization", "Bearer t"), ("host", "inner.example"))
    assert asked(base_path="/v1", set_headers=own) == (
        b"GET /v1/healthz?deep=1 HTTP/1.1\r\nhost: inner.example\r\nuser-agent: crossfade-health\r\n"
        b"authorization: Bearer t\r\nconnection: close\r\n\r\n"
    )


@pytest.mark.parametrize(
    ("spec", "host"),
    [
        ({"port": 80}, b"agent.example"),
        ({"port": 443}, b"agent.example:443"),
        ({"port": 443, "tls": UpstreamTls()}, b"agent.example"),
        ({"port": 80, "tls": UpstreamTls()}, b"agent.example:80"),
        ({"host": "::1"}, b"[::1]:9002"),
    ],
)
def test_the_host_is_the_urls(spec: dict[str, object], host: bytes) -> None:
    assert b"\r\nhost: %b\r\n" % host in asked(**spec)
