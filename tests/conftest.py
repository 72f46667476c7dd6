"""Fixtures that several packages of tests share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.valkey import Valkey


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[Valkey]:
    """A running server with no data, for this test alone."""
    server = Valkey(tmp_path / "data")
    server.start()
    yield server
    server.kill()
