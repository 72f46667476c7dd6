"""Background tasks: their errors are told, and they can be stopped."""

import asyncio

from structlog.testing import capture_logs

from proxy.telemetry.tasks import spawn, stop


async def test_what_a_task_raises_is_logged() -> None:
    async def fail() -> None:
        raise ValueError("no")

    with capture_logs() as lines:
        await asyncio.wait({spawn(fail(), "the one")})
        await asyncio.sleep(0)
    assert [(line["event"], line["task"]) for line in lines] == [("task_failed", "the one")]


async def test_a_stopped_task_is_no_error() -> None:
    with capture_logs() as lines:
        task = spawn(asyncio.Event().wait(), "waits")
        await stop(task)
    assert task.cancelled()
    assert lines == []


async def test_a_task_that_loses_a_cancellation_is_stopped_all_the_same() -> None:
    lost = asyncio.Event()

    async def go_on() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            lost.set()
        await asyncio.Event().wait()

    task = spawn(go_on(), "goes on")
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await stop(task)
    assert lost.is_set()
    assert task.cancelled()


async def test_stopping_what_has_ended_or_nothing_returns_at_once() -> None:
    async def done() -> None:
        pass

    task = spawn(done(), "done")
    await task
    await stop(task)
    await stop()
