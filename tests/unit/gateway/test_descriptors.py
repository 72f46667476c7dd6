"""Descriptors: the soft limit goes up to the hard one; too few are named once, with what fits."""

import resource
from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from proxy.gateway.descriptors import Descriptors, take_all
from proxy.model.snapshot import LimitsSpec, Snapshot, UpstreamSpec


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


def snapshot(clients: int, *upstreams: tuple[int, int]) -> Snapshot:
    """`upstreams`: max_inflight and max_idle of each."""
    return Snapshot(
        number=1,
        routes=(),
        upstreams=tuple(
            UpstreamSpec(f"u{index}", "127.0.0.1", 1, max_inflight=inflight, max_idle=idle)
            for index, (inflight, idle) in enumerate(upstreams)
        ),
        limits=LimitsSpec(max_connections=clients),
    )


@pytest.mark.parametrize(
    ("limit", "upstreams", "fit"),
    [
        pytest.param(1024, [(1024, 256)] * 2, 320, id="three for each client"),
        pytest.param(20_000, [(1024, 256)] * 2, 17_376, id="upstreams have a limit of their own"),
        pytest.param(20_000, [(1024, 256), (0, 256)], 6_645, id="one of them has none"),
        pytest.param(20_000, [], 19_936, id="no upstreams"),
        pytest.param(0, [(1024, 256)], 1, id="hopeless"),
    ],
)
def test_so_many_clients_fit(limit: int, upstreams: list[tuple[int, int]], fit: int) -> None:
    assert Descriptors(limit).fit(snapshot(1, *upstreams)) == fit


def test_too_few_are_named_with_the_number_that_fits_once() -> None:
    descriptors = Descriptors(1024)
    with capture_logs() as said:
        assert descriptors.fit(snapshot(320, (1024, 256))) == 320
        assert said == []
        for _ in range(2):
            descriptors.fit(snapshot(20_000, (1024, 256)))
        descriptors.fit(snapshot(400, (1024, 256)))
    assert [{name: line[name] for name in ("event", "limit", "fit", "max_connections", "needed")} for line in said] == [
        {"event": "descriptors_too_few", "limit": 1024, "fit": 320, "max_connections": 20_000, "needed": 21_344},
        {"event": "descriptors_too_few", "limit": 1024, "fit": 320, "max_connections": 400, "needed": 1_264},
    ]
