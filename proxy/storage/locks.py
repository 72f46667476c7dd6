"""Who owns a directory on disk: an flock that the kernel gives back when its holder dies, however it dies.

The lock belongs to the open file, so a child process that inherits the descriptor goes on holding it.
"""

import fcntl
import os
from pathlib import Path

from proxy.model.errors import ConfigError


def try_lock(path: Path) -> int | None:
    """A descriptor that holds the lock on `path` until it is closed; None where another process holds it.

    The file is made where it is missing and keeps the holder's process id. Raises OSError.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(fd, 0)
        os.pwrite(fd, str(os.getpid()).encode(), 0)
    except BlockingIOError:
        os.close(fd)
        return None
    except OSError:
        os.close(fd)
        raise
    return fd


def claim(data_dir: Path) -> int:
    """Take `data_dir` for this Crossfade, made where it is missing. The descriptor holds it until it is closed.

    Raises ConfigError where the directory cannot be used or another Crossfade uses it.
    """
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = try_lock(data_dir / "lock")
    except OSError as error:
        raise ConfigError(f"{data_dir} cannot be used: {error.strerror}", path="data_dir") from error
    if fd is None:
        raise ConfigError(
            f"{data_dir} is in use by another crossfade (process {_holder(data_dir)});"
            " stop that one or choose another data_dir",
            path="data_dir",
        )
    return fd


def _holder(data_dir: Path) -> str:
    try:
        return (data_dir / "lock").read_text() or "unknown"
    except OSError:
        return "unknown"
