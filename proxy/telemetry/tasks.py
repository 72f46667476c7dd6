"""Background tasks that are kept and whose errors are logged: `asyncio.create_task` alone may lose both."""

import asyncio
from collections.abc import Coroutine
from typing import Any, Final

import structlog

_log = structlog.get_logger()

_CANCEL_AGAIN: Final = 0.5
_running: set[asyncio.Task[Any]] = set()


def spawn(work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
    """Run `work` in the background. What it raises, other than being cancelled, is logged as `task_failed`."""
    task = asyncio.get_running_loop().create_task(work, name=name)
    _running.add(task)
    task.add_done_callback(_finished)
    return task


async def stop(*tasks: asyncio.Task[Any]) -> None:
    """Cancel the tasks and wait until they ended.

    Again and again: a cancellation can be lost where what the task waited for came in the same moment
    (`asyncio.wait_for` does that before Python 3.12), and nobody must wait for ever for a task that goes on.
    """
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_CANCEL_AGAIN)


def _finished(task: asyncio.Task[Any]) -> None:
    _running.discard(task)
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("task_failed", task=task.get_name(), exc_info=error)
