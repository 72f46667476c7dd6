"""A round follows each round, whatever became of it."""

import asyncio

import structlog

from proxy.control.rounds import rounds
from proxy.model.errors import StoreUnavailableError


async def test_no_round_is_the_last_one_and_what_nobody_foresaw_is_logged() -> None:
    ends: list[BaseException | None] = [
        StoreUnavailableError("away"),
        RuntimeError("a mistake"),
        None,
        asyncio.CancelledError(),
    ]
    begun: list[BaseException | None] = []

    async def one() -> None:
        begun.append(end := ends[len(begun)])
        if end is not None:
            raise end

    with structlog.testing.capture_logs() as logs:
        (ended,) = await asyncio.gather(rounds(0, one, "sweeping_failed"), return_exceptions=True)
    assert isinstance(ended, asyncio.CancelledError)
    assert len(begun) == len(ends)
    assert [each["event"] for each in logs] == ["sweeping_failed"]
