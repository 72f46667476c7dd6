"""A bounded queue of byte frames on disk, for what must wait: ticks while the link is down, batches while the store is.

The rules:
- Frames come out in the order in which they went in. A frame is given again until it is popped, and after a restart the
  popped ones of the first segment come once more, so whoever consumes them must not mind.
- A process that dies at any moment loses no frame that `append` took: it is with the kernel. Nothing is synced to the
  disk, so a power cut may lose what was written last.
- A frame is its length and its CRC-32 (4 bytes each, big-endian) and its bytes. Where that does not hold, the rest of
  the segment is dropped and counted; segments are independent.
- Where the sealer has keys, frames are sealed, one by one. Those that were written without are read as they are; one
  that does not open is dropped and counted, and costs no other.
- Nothing here raises into traffic. What the bound or a full disk refuses, `append` answers with False, and counts.
- Disks can be slow. Each method may be called in a thread (one waits for the other), and `size`, `frames` and the
  counters are read without waiting.

Segments are files `<number>.seg`, removed when all of their frames were popped. One process owns the directory, by an
flock on `lock`; a directory whose lock is free was left by a dead process and may be adopted.
"""

import os
import shutil
import threading
import zlib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from proxy.model.errors import SealError, StoreError
from proxy.storage.locks import try_lock
from proxy.storage.sealing import Sealer

_log = structlog.get_logger()

_HEADER: Final = 8
_SUFFIX: Final = ".seg"

ABOUT: Final = "spool"
"""What a frame's seal is bound to."""


@dataclass(slots=True)
class _Segment:
    number: int
    size: int = 0
    frames: int = 0  # not popped yet


class Spool:
    """Opens `directory`, made where it is missing, and takes its lock.

    `limit_bytes` bounds all segments together, `segment_bytes` is the size at which the next one is begun. Raises
    StoreError where another process has the directory; a directory that cannot be used at all is logged, and every
    append refused until it can be. `sealer` must know its keys before the first frame goes in or out.
    """

    def __init__(
        self,
        directory: Path,
        limit_bytes: int = 256 << 20,
        segment_bytes: int = 4 << 20,
        sealer: Sealer | None = None,
    ) -> None:
        self.directory = directory
        self.refused = 0
        """Frames that the bound kept out."""
        self.failed = 0
        """Frames that could not be written: disk full, no right to write."""
        self.torn = 0
        """Segments whose rest was dropped because a frame in it was broken."""
        self.unreadable = 0
        """Frames that did not open: their key is gone, or they were changed."""
        self.size = 0
        """Bytes on disk, popped frames of the first segment included."""
        self.frames = 0
        """How many wait. Broken ones are among them until they are found out."""
        self._guard = threading.RLock()
        self._closed = False
        self._sealer = sealer or Sealer()
        self._limit, self._segment_bytes = limit_bytes, segment_bytes
        self._healthy = True
        self._lock = self._writer = self._reader = -1  # descriptors
        self._offset = 0  # in the first segment, of the next frame to read
        self._segments: deque[_Segment] = deque()  # oldest first
        self._next = 1
        self._waiting: deque[bytes] = deque()  # read, but not popped yet; all of the first segment
        self._open()

    @property
    def empty(self) -> bool:
        return self.peek() is None

    def append(self, frame: bytes) -> bool:
        """Take the frame; False where the bound or the disk refuses it, or the spool was closed."""
        frame = self._sealer.seal(frame, ABOUT, packed=True)
        with self._guard:
            if self.size + _HEADER + len(frame) > self._limit:
                self.refused += 1
                return False
            try:
                self._write(frame)
            except OSError as error:
                self.failed += 1
                self._complain(error)
                return False
            if not self._healthy:
                self._healthy = True
                _log.info("spool_writable_again", directory=str(self.directory), failed=self.failed)
            return True

    def head(self, frames: int, max_bytes: int = 4 << 20) -> list[bytes]:
        """Some of the oldest frames, at least one where there is one: up to `frames` of them, not far over `max_bytes`,
        and of one segment. They stay until they are popped."""
        with self._guard:
            size = sum(len(frame) for frame in self._waiting)
            while len(self._waiting) < frames and (size < max_bytes or not self._waiting):
                frame = self._read()
                if frame is None:
                    break
                self._waiting.append(frame)
                size += len(frame)
            return list(self._waiting)[:frames]

    def peek(self) -> bytes | None:
        """The oldest frame, None where there is none."""
        return next(iter(self.head(1)), None)

    def pop(self, frames: int = 1) -> None:
        """Drop the oldest frames, which `head` or `peek` gave."""
        with self._guard:
            for _ in range(frames):
                self._waiting.popleft()
                self._segments[0].frames -= 1
                self.frames -= 1
            if not self._waiting and self._segments and self._offset >= self._segments[0].size:
                self._forget_segment()

    def close(self) -> None:
        """Let go of the directory; what was not popped stays in it."""
        with self._guard:
            self._closed = True
            for fd in (self._writer, self._reader, self._lock):
                _close(fd)
            self._writer = self._reader = self._lock = -1

    def remove(self) -> None:
        """Close, and delete the directory with all that is in it."""
        with self._guard:
            shutil.rmtree(self.directory, ignore_errors=True)
            self.close()

    def _open(self) -> None:
        try:
            self._lock = _lock_directory(self.directory)
            for path in sorted(self.directory.glob(f"[0-9]*{_SUFFIX}")):
                segment = _measure(path)
                self._segments.append(segment)
                self.size += segment.size
                self.frames += segment.frames
        except OSError as error:
            self._complain(error)
        if self._segments:
            self._next = self._segments[-1].number + 1

    def _write(self, frame: bytes) -> None:
        if self._closed:
            raise OSError("it was closed")
        if self._lock < 0:
            self._lock = _lock_directory(self.directory)
        size = _HEADER + len(frame)
        if self._writer < 0 or self._segments[-1].size + size > self._segment_bytes:
            self._begin_segment()
        segment = self._segments[-1]
        header = len(frame).to_bytes(4, "big") + zlib.crc32(frame).to_bytes(4, "big")
        try:
            written = os.pwritev(self._writer, [header, frame], segment.size)
            if written < size:
                raise OSError(f"only {written} of {size} bytes fitted")  # noqa: TRY301  # it mends as a full disk does
        except OSError:
            # The next frame is written over the torn one; should we die before that, the reader drops it.
            os.ftruncate(self._writer, segment.size)
            raise
        segment.size += size
        segment.frames += 1
        self.size += size
        self.frames += 1

    def _begin_segment(self) -> None:
        fd = os.open(self._path(self._next), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        _close(self._writer)
        self._writer = fd
        self._segments.append(_Segment(self._next))
        self._next += 1

    def _read(self) -> bytes | None:
        """The next frame that was not read yet. A segment is left only when all of its frames were popped, since its
        file goes with it."""
        while self._segments and not self._closed:
            number, size = self._segments[0].number, self._segments[0].size
            problem = ""
            if self._offset < size:
                try:
                    frame = self._read_frame(number, size)
                except OSError as error:
                    frame, problem = None, f"cannot be read: {error.strerror}"
                if frame is not None:
                    self._offset += _HEADER + len(frame)
                    if (opened := self._opened(frame)) is not None:
                        return opened
                    continue
                problem = problem or f"is broken at byte {self._offset}"
            if self._waiting:
                return None
            if problem:
                self.torn += 1
                _log.warning("spool_segment_dropped", path=str(self._path(number)), bytes=size, problem=problem)
            self._forget_segment()
        return None

    def _read_frame(self, number: int, size: int) -> bytes | None:
        """The frame at the offset, None where it is broken."""
        if self._reader < 0:
            self._reader = os.open(self._path(number), os.O_RDONLY | os.O_CLOEXEC)
        header = os.pread(self._reader, _HEADER, self._offset)
        length = int.from_bytes(header[:4], "big")
        if len(header) < _HEADER or self._offset + _HEADER + length > size:
            return None
        frame = os.pread(self._reader, length, self._offset + _HEADER)
        whole = len(frame) == length and zlib.crc32(frame) == int.from_bytes(header[4:], "big")
        return frame if whole else None

    def _opened(self, frame: bytes) -> bytes | None:
        """None where it does not open: then it no longer counts."""
        try:
            return self._sealer.open(frame, ABOUT)
        except SealError as error:
            self.unreadable += 1
            self.frames -= 1
            self._segments[0].frames -= 1
            _log.error("spool_frame_unreadable", directory=str(self.directory), bytes=len(frame), problem=str(error))
            return None

    def _forget_segment(self) -> None:
        segment = self._segments.popleft()
        self.size -= segment.size
        self.frames -= segment.frames
        _close(self._reader)
        self._reader, self._offset = -1, 0
        if not self._segments:
            _close(self._writer)
            self._writer = -1
        try:
            self._path(segment.number).unlink(missing_ok=True)
        except OSError as error:
            self._complain(error)

    def _path(self, number: int) -> Path:
        return self.directory / f"{number:016d}{_SUFFIX}"

    def _complain(self, error: OSError) -> None:
        if self._healthy:
            self._healthy = False
            _log.error("spool_unusable", directory=str(self.directory), error=str(error))


def adopt(root: Path, prefix: str = "worker-") -> Iterator[Spool]:
    """The spools below `root` that dead processes left, each opened and locked: drain it, then `remove` it.

    Those of living processes are passed over, and so are those that cannot be opened (logged). Who comes back to a
    directory finds it locked, so adopt only those to which nobody comes back.
    """
    for directory in sorted(root.glob(f"{prefix}*")):
        try:
            spool = Spool(directory)
        except StoreError:
            continue
        yield spool


def _measure(path: Path) -> _Segment:
    """Count the frames of a segment by their headers alone."""
    segment = _Segment(int(path.stem), path.stat().st_size)
    offset = 0
    with path.open("rb") as file:
        while offset < segment.size:
            file.seek(offset)
            offset += _HEADER + int.from_bytes(file.read(4), "big")
            segment.frames += 1
    return segment


def _lock_directory(directory: Path) -> int:
    """Take the lock; a fresh directory appears under its name only when it is locked, so that no one adopts it."""
    if directory.is_dir():
        fd = try_lock(directory / "lock")
    else:
        directory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = directory.with_name(f".{directory.name}.{os.getpid()}")
        fresh.mkdir(mode=0o700, exist_ok=True)
        fd = try_lock(fresh / "lock")
        if fd is not None:
            fresh.rename(directory)
    if fd is None:
        raise StoreError(f"{directory} is in use by another process")
    return fd


def _close(fd: int) -> None:
    if fd >= 0:
        os.close(fd)
