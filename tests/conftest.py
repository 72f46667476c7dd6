"""Fixtures that several packages of tests share."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
import uvloop

from proxy.storage import owed
from tests.valkey import Cluster, Sentinel, Valkey


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loop of the tests is uvloop, as in production."""
    return {"uvloop": uvloop.new_event_loop}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--soak", action="store_true", help="also the long runs (marker `soak`)")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--soak"):
        return
    for item in items:
        if "soak" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="a long run: --soak"))


@pytest.fixture(autouse=True)
def _nothing_stays_in_memory() -> Iterator[None]:
    """What workers within a test owe is beside their spools, and goes with them."""
    with pytest.MonkeyPatch.context() as patch:  # its own: a test's is undone before the fixtures of its file
        patch.setattr(owed, "MEMORY", Path("/nowhere"))
        yield


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[Valkey]:
    """A running server with no data, for this test alone."""
    server = Valkey(tmp_path / "data")
    server.start()
    yield server
    server.kill()


@pytest.fixture
def sentinel(tmp_path: Path) -> Iterator[Sentinel]:
    """A master, its replica, and three sentinels; running, with no data."""
    with Sentinel(tmp_path / "sentinel") as group:
        group.start()
        yield group


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Three masters; running, with no data."""
    with Cluster(tmp_path / "cluster") as group:
        group.start()
        yield group
