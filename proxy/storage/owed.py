"""How many records a worker made, and how many of them are secured: what a kill of it costs is the difference.

The rule: a record is made when its request is answered, and secured when the control process has kept it, when it lies
in the spool, or when it is counted as dropped there. So whoever finds these counts after the worker's end knows what
was lost, at most: what the control process took without having said so it subtracts itself (`proxy.control.debts`).

The counts are memory that outlives the process: a file, mapped. A page of a file on a disk is written back now and
then, and whoever writes to it meanwhile waits for the disk; a worker must not. So the file is in /dev/shm, which is
memory, and beside the spool only where there is no such place. It outlives every process, but not the machine.

    MAGIC, source (32), seq of the newest secured tick (8); ROUTES times made (8), ROUTES times secured (8), ROUTES
    names (64); numbers as this machine has them
"""

import mmap
import os
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Final, NamedTuple

import structlog

from proxy.model.measures import OWED
from proxy.model.tick import Counts

_log = structlog.get_logger()

ROUTES: Final = 64
"""Routes that are counted apart. More than these are counted together, under no name."""

MEMORY: Final = Path("/dev/shm")  # noqa: S108  # files there are opened with care, see `_open`

_MAGIC: Final = b"xfowed1\n"
_SOURCE: Final = slice(8, 40)
_SEQ: Final = slice(40, 48)
_MADE: Final = slice(48, 48 + 8 * ROUTES)
_SECURED: Final = slice(_MADE.stop, _MADE.stop + 8 * ROUTES)
_NAME: Final = 64
SIZE: Final = _SECURED.stop + _NAME * ROUTES


class Left(NamedTuple):
    """What a life owed at its end: records by route, of ticks after `seq`."""

    source: str
    seq: int
    records: dict[str, int]

    def counts(self) -> Counts:
        """As a tick tells it."""
        return {OWED.name: {(route, self.source, str(self.seq)): count for route, count in self.records.items()}}


class Owed:
    """The counts of one life. Without a file they are not found by anybody after a kill."""

    def __init__(self, buffer: bytearray | mmap.mmap | None = None) -> None:
        whole = memoryview(buffer if buffer is not None else bytearray(SIZE))
        self.made = whole[_MADE].cast("Q")
        """Who answers a request puts here, at the route's `place`, how many of its records there are."""
        self._secured = whole[_SECURED].cast("Q")
        self._seq = whole[_SEQ].cast("Q")
        self._names = whole[_SECURED.stop :]
        self._places: dict[str, int] = {}

    def place(self, route: str) -> int:
        """Where the route's records are counted."""
        found = self._places.get(route)
        if found is None:
            found = self._places[route] = min(len(self._places), ROUTES - 1)
            name = route.encode()[:_NAME] if found < ROUTES - 1 else b""
            self._names[_NAME * found : _NAME * (found + 1)] = name.ljust(_NAME, b"\0")
        return found

    def secure(self, seq: int, records: dict[str, int]) -> None:
        """The tick of this number, and with it so many records of each route, is secured. Its number first: killed in
        between, it is rather owed too much than too little."""
        self._seq[0] = seq
        for route, count in records.items():
            self._secured[self.place(route)] += count

    @property
    def nothing(self) -> bool:
        """Whether all that was made is secured."""
        return all(made <= secured for made, secured in zip(self.made, self._secured, strict=True))


def begin(directory: Path, source: str) -> tuple[Owed, Left | None]:
    """A new life's counts, in the place of those of the life before, and what that one owed.

    The new life takes it over: its records count as made from the start. Whoever has the spool in `directory` locked
    may call it, and nobody else.
    """
    left = find(directory)
    try:
        path = _path(directory)
        fresh = path.with_suffix(".new")
        owed = Owed(_map(fresh, source))
        for route, count in left.records.items() if left else ():
            owed.made[owed.place(route)] += count
        fresh.replace(path)
    except OSError as error:
        forget(directory)  # it is said now, and would be said again
        _log.warning("kills_not_counted", problem=str(error), hint="what a kill of this worker costs is not known then")
        return Owed(), left
    return owed, left


def find(directory: Path) -> Left | None:
    """What the last life of the worker with the spool in `directory` owed; None where it owed nothing."""
    try:
        fd = _open(_path(directory), os.O_RDONLY)
    except OSError:
        return None
    try:
        data = bytearray(os.pread(fd, SIZE + 1, 0)) if os.fstat(fd).st_uid == os.geteuid() else bytearray()
    finally:
        os.close(fd)
    if len(data) != SIZE or not data.startswith(_MAGIC):
        return None
    whole = memoryview(data)
    seq = whole[_SEQ].cast("Q")[0]
    names = [bytes(whole[at : at + _NAME]).rstrip(b"\0").decode() for at in range(_SECURED.stop, SIZE, _NAME)]
    records: dict[str, int] = {}
    for name, made, secured in zip(names, whole[_MADE].cast("Q"), whole[_SECURED].cast("Q"), strict=True):
        if made > secured:
            records[name] = records.get(name, 0) + made - secured
    return Left(bytes(whole[_SOURCE]).rstrip(b"\0").decode(), seq, records) if records else None


def forget(directory: Path) -> None:
    """Nothing is owed any more, or somebody has taken it over."""
    with suppress(OSError):
        _path(directory).unlink()


def _path(directory: Path) -> Path:
    """Of the directory itself, too, not only of its name: containers may share the memory, and not the names."""
    if not os.access(MEMORY, os.W_OK | os.X_OK):
        return directory / "owed"
    there = directory.stat()
    name = f"{directory.resolve()}\0{there.st_dev}\0{there.st_ino}"
    return MEMORY / f"crossfade-{os.geteuid()}-{blake2b(name.encode(), digest_size=12).hexdigest()}"


def _map(path: Path, source: str) -> mmap.mmap:
    with suppress(FileNotFoundError):
        path.unlink()  # of a life that was killed right here
    fd = _open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    try:
        os.posix_fallocate(fd, 0, SIZE)  # else a full disk would be a signal, when it is written to
        mapped = mmap.mmap(fd, SIZE)
    finally:
        os.close(fd)
    mapped[_SOURCE] = source.encode().ljust(32, b"\0")
    mapped[: len(_MAGIC)] = _MAGIC
    return mapped


def _open(path: Path, flags: int) -> int:
    """Others may write to the place too: what is there under our name is ours, or is refused."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
