"""`crossfade run` for the tests of whole processes."""

import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.e2e.processes import adopting, alive_below
from tests.integration.control_world import Crossfade, Stage, stage


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Stage]:
    async with stage(tmp_path) as opened:
        yield opened


@pytest.fixture
async def crossfade(scene: Stage) -> AsyncIterator[Crossfade]:
    """Not started yet: a test may write another configuration first."""
    with adopting():
        running = Crossfade(scene.file)
        yield running
        await running.close()
        for pid in alive_below():
            os.kill(pid, signal.SIGKILL)
