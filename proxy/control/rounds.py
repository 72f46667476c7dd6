"""What the control process does again and again: one round after another, whatever became of the one before."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from proxy.model.errors import StoreUnavailableError

_log = structlog.get_logger()


async def rounds(every: float, one: Callable[[], Awaitable[None]], failed: str) -> None:
    """Until it is cancelled. `failed` is the event of a round that nobody foresaw to fail."""
    while True:
        await asyncio.sleep(every)
        try:
            await one()
        except StoreUnavailableError:
            pass  # the controller says so
        except Exception:  # noqa: BLE001  # whatever it is, it must not have been the last round
            _log.exception(failed)
