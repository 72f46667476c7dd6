"""What workers left that are no more, on disk and owed: where there are fewer workers than before, nobody else would
send it."""

from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Final

import structlog

from proxy.model.errors import StoreError
from proxy.model.link import Decoder, FrameError
from proxy.model.tick import Tick, from_wire
from proxy.storage import owed
from proxy.storage.sealing import Sealer
from proxy.storage.spool import Spool

_log = structlog.get_logger()

_LAST: Final = (1 << 53) - 1
"""The number of the tick that says what a life owed: after all of its own."""


async def hand_over(
    data_dir: Path, workers: int, take: Callable[[Tick, bool], Awaitable[None]], sealer: Sealer
) -> None:
    """Give `take` the ticks of all workers with a number over `workers`, and remove their spools. A spool that is
    locked belongs to a worker that still lives, and is left alone."""
    for directory in _without_worker(data_dir / "spool", workers):
        try:
            spool = Spool(directory, sealer=sealer)
        except StoreError:
            continue
        ticks = 0
        while (frame := spool.peek()) is not None:
            tick = _tick(frame, directory)
            if tick is not None:
                await take(tick, False)
                ticks += 1
            spool.pop()
        if (left := owed.find(directory)) is not None:
            await take(Tick(left.source, _LAST, 0.0, left.counts()), False)
            owed.forget(directory)
        spool.remove()
        _log.info("leftovers_handed_over", directory=str(directory), ticks=ticks)


def _without_worker(folder: Path, workers: int) -> Iterator[Path]:
    for directory in sorted(folder.glob("worker-*")):
        number = directory.name.removeprefix("worker-")
        if number.isdecimal() and int(number) > workers:
            yield directory


def _tick(frame: bytes, directory: Path) -> Tick | None:
    try:
        ((_, payload),) = Decoder().feed(frame)
        return from_wire(payload)
    except (FrameError, ValueError, TypeError) as error:
        _log.error("leftover_unreadable", directory=str(directory), problem=str(error))
        return None
