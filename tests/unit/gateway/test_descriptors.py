"""Descriptors: the soft limit goes up to the hard one; too few are named once, with what fits."""

import resource
from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from proxy.gateway.descriptors import clients_that_fit, take_all, tell_if_few


@pytest.fixture(autouse=True)
def limits_put_back() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_the_soft_limit_is_raised_to_the_hard_one() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard // 2, hard))
    assert take_all() == hard
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
    assert take_all() == hard


def test_where_it_cannot_be_raised_the_soft_one_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object) -> None:
        raise ValueError("not allowed to raise maximum limit")

    monkeypatch.setattr(resource, "getrlimit", lambda _which: (256, resource.RLIM_INFINITY))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    with capture_logs() as said:
        assert take_all() == 256
    assert [line["event"] for line in said] == ["descriptors_not_raised"]


@pytest.mark.parametrize(("limit", "fit"), [(1024, 480), (20_000, 9_968), (64, 1), (0, 1)])
def test_two_for_each_client_and_some_for_ourselves(limit: int, fit: int) -> None:
    assert clients_that_fit(limit) == fit


def test_too_few_are_named_with_the_number_that_fits() -> None:
    with capture_logs() as said:
        tell_if_few(40_064, 20_000)
        assert said == []
        tell_if_few(1024, 20_000)
    (line,) = said
    assert {name: line[name] for name in ("event", "limit", "max_connections", "fit", "needed")} == {
        "event": "descriptors_too_few",
        "limit": 1024,
        "max_connections": 20_000,
        "fit": 480,
        "needed": 40_064,
    }
