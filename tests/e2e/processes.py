"""Who is alive below us: for tests that must leave no process behind."""

import ctypes
import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36
_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def adopting() -> Iterator[None]:
    """Whoever loses its parent below us becomes our child meanwhile (prctl(2)), so that `alive_below` finds it."""
    if _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")
    try:
        yield
    finally:
        _libc.prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def die_with_us() -> None:
    """To be called in a child before it runs its program: it is killed when we end, however we end (prctl(2))."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def reap(pids: Iterable[int]) -> None:
    """Wait for the end of those that we have killed and adopted."""
    for pid in pids:
        with suppress(ChildProcessError):
            os.waitpid(pid, 0)


def alive_below(ancestor: int | None = None) -> dict[int, str]:
    """Process id -> command line of all that descend from `ancestor` (else from us) and are no zombies."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
            if state != "Z":
                children.setdefault(int(parent), []).append(int(stat.parent.name))
    found = list(children.get(os.getpid() if ancestor is None else ancestor, ()))
    for pid in found:  # grows while it is walked
        found += children.get(pid, ())
    return {pid: _command(pid) for pid in found}


def _command(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    return ""
