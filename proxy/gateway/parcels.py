"""Records on their way from the request to the next tick: packed when they are made, and shipped when a parcel is full.

What a request held goes at once, and what is waiting stays in the processor's cache. To keep the records as objects
until the tick costs more than all the rest of recording.
"""

from collections.abc import Callable
from typing import Any, Final

from msgpack import Packer

from proxy.model.records import Parcel

MAX_PARCEL: Final = 128 << 10
"""Bytes with which a parcel is full: so no frame takes long to read. A single record may be longer."""
MAX_RECORD: Final = 4 << 20
"""Bytes of bodies over which a record is dropped: it would fill the memory alone."""
MAX_BYTES: Final = 16 << 20
"""Of all parcels together. What comes past it is dropped."""
TOO_LARGE: Final = "too_large"
WORKER_FULL: Final = "worker_full"


def _wait() -> None:
    """For the next tick."""


class Due:
    """Records of one route that are made, or will be when the copies of their requests are done: each is counted when
    its request is answered, at a place that a kill of this process leaves as it is (see `proxy.storage.owed`)."""

    __slots__ = ("_cells", "_count", "_place")

    def __init__(self, cells: memoryview, place: int) -> None:
        self._cells = cells
        self._place = place
        self._count: int = cells[place]

    def one(self) -> None:
        """One more."""
        self._count += 1
        self._cells[self._place] = self._count


class Parcels:
    """`full` are those that can go; `on_full` is called when there is one more."""

    def __init__(self) -> None:
        self.on_full: Callable[[], None] = _wait
        self.full: list[Parcel] = []
        self._full_bytes = 0
        self._size = 0
        self._records: list[bytes] = []
        self._counts: dict[str, int] = {}
        self._pack: Any = Packer().pack

    def add(self, route: str, fields: tuple[Any, ...], bodies: int) -> str:
        """Pack a record whose bodies have so many bytes. The reason where it is dropped, else nothing."""
        if bodies > MAX_RECORD:
            return TOO_LARGE
        if self._full_bytes + self._size + bodies > MAX_BYTES:
            return WORKER_FULL
        packed: bytes = self._pack(fields)
        self._records.append(packed)
        self._counts[route] = self._counts.get(route, 0) + 1
        self._size += len(packed)
        if self._size >= MAX_PARCEL:
            self._close()
            self.on_full()
        return ""

    def drain(self) -> list[Parcel]:
        """All parcels since the last call."""
        if self._size:
            self._close()
        parcels, self.full, self._full_bytes = self.full, [], 0
        return parcels

    def _close(self) -> None:
        self.full.append(Parcel(self._records, self._counts))
        self._full_bytes += self._size
        self._size = 0
        self._records = []
        self._counts = {}
