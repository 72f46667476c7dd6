"""A child's side of the two pipes it shares with the supervisor: it says once how its start went, and notices when the
supervisor is gone.

On the ready pipe a child writes one line: `ready`, `ready TEXT`, or `error SENTENCE` when it cannot start. Nobody ever
writes on the life pipe; its end of file means that the supervisor is gone, however it died. A descriptor of None, for
a process that was started by hand, makes each of these do nothing.
"""

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Final

READY: Final = "ready"
ERROR: Final = "error"


def say_ready(fd: int | None, text: str = "") -> None:
    _say(fd, f"{READY} {text}".rstrip())


def say_error(fd: int | None, sentence: str) -> None:
    """`sentence` is the one line that the operator will see."""
    _say(fd, f"{ERROR} {' '.join(sentence.split())}")


def when_orphaned(fd: int | None, callback: Callable[[], None]) -> None:
    """Call `callback` once, in the running loop, when the supervisor is gone."""
    if fd is None:
        return
    loop = asyncio.get_running_loop()

    def gone() -> None:
        loop.remove_reader(fd)
        callback()

    os.set_blocking(fd, False)
    loop.add_reader(fd, gone)


def _say(fd: int | None, line: str) -> None:
    if fd is None:
        return
    with suppress(OSError):  # the supervisor is gone; `when_orphaned` tells
        os.write(fd, line.encode() + b"\n")
    os.close(fd)
