"""Where in data_dir what lives, and how a unix socket is placed whose path would be too long for the kernel."""

import hashlib
import os
import stat
import tempfile
from pathlib import Path
from typing import Final

from proxy.model.errors import ConfigError

MAX_SOCKET_PATH: Final = 100
"""Bytes. The kernel's `sun_path` has 108, with its end; BSD's 104."""


def link_path(data_dir: Path) -> Path:
    """The socket between the workers and the control process. Raises ConfigError where there is no place for it."""
    return socket_path(private(data_dir.absolute() / "run"), "link.sock")


def spool_directory(data_dir: Path, number: int) -> Path:
    """Where a worker keeps what the control process did not take yet."""
    return data_dir / "spool" / f"worker-{number}"


def private(directory: Path) -> Path:
    """`directory`, made where it is missing, for this user alone. Raises ConfigError."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.chmod(0o700)
    except OSError as error:
        raise ConfigError(f"{directory} cannot be used: {error.strerror}", path="data_dir") from error
    return directory


def socket_path(directory: Path, name: str) -> Path:
    """`directory/name`, or where that is too long for a socket, `name` in a private directory that is found again.

    Raises ConfigError where that directory is not this user's alone.
    """
    path = directory / name
    if len(os.fsencode(path)) <= MAX_SOCKET_PATH:
        return path
    mark = hashlib.blake2b(os.fsencode(directory), digest_size=8).hexdigest()
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    bases = [runtime] if runtime and os.access(runtime, os.W_OK) else []
    bases += [tempfile.gettempdir(), "/tmp"]  # noqa: S108  # the directory made there is private, and checked below
    places = [Path(base) / f"crossfade-{os.getuid()}-{mark}" for base in bases]
    short = next(place for place in places if len(os.fsencode(place / name)) <= MAX_SOCKET_PATH)
    try:
        short.mkdir(mode=0o700, exist_ok=True)
        found = short.lstat()
    except OSError as error:
        raise ConfigError(f"{short}, needed for a socket, cannot be made: {error.strerror}") from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise ConfigError(
            f"{short}, needed for a socket, is not a directory of this user alone;"
            " remove it or choose a data_dir with a shorter path",
            path="data_dir",
        )
    return short / name
