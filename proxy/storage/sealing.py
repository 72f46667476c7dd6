"""What is recorded of requests, sealed before it leaves for the store or the disk: AES-256-GCM in envelopes.

Each process makes data keys of its own and seals with one of them at a time; the key of the configuration only wraps
them (envelope encryption, NIST SP 800-57 part 1, 5.3.5). What was sealed carries the id of the key that wraps, and the
wrapped data key, so that any process that has the key can open it, also after a rotation.

    sealed = SEALED, length of the id, id, nonce (12) and wrapped data key (48), nonce (12), ciphertext and tag (16)

A nonce is a counter, and each data key is of one process's life: none is used twice (NIST SP 800-38D, 8.2.1). A data
key seals at most MAX_SEALS times. `about` is bound to what is sealed: nothing opens under another name.

The first byte tells what was sealed, what was only packed (`packing`: sealed data cannot be, so it is packed before),
and what is as it was.
"""

import base64
import os
from collections.abc import Callable, Iterable
from functools import lru_cache
from itertools import count
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from proxy.model.errors import SealError
from proxy.model.snapshot import SealingKey
from proxy.storage.packing import pack, unpack

SEALED: Final = 0xF1
MAX_SEALS: Final = 1 << 24

_NONCE: Final = 12
_WRAPPED: Final = _NONCE + 32 + 16
_KNOWN: Final = 1024
"""Unwrapped data keys that are remembered: each is of one process's life, or a share of one."""


def _tell_nobody(_about: str) -> None:
    pass


class Sealer:
    """Without keys nothing is sealed, only packed, and what was sealed cannot be opened. `unreadable` is told `about`
    of each that does not open.

    One for a process: `use` is the loop's, `seal` and `open` may be called in any thread, since each works with one
    keyring and draws nonces that nobody else gets.
    """

    def __init__(self, keys: Iterable[SealingKey] = (), unreadable: Callable[[str], None] = _tell_nobody) -> None:
        self._unreadable = unreadable
        self._ring = _Keyring(tuple(keys))

    def use(self, keys: Iterable[SealingKey]) -> None:
        """From now on these are the keys; the first one seals."""
        keys = tuple(keys)
        if keys != self._ring.keys:
            self._ring = _Keyring(keys)

    @property
    def key_id(self) -> str:
        """Of the key that seals; empty without one."""
        keys = self._ring.keys
        return keys[0].id if keys else ""

    def seal(self, data: bytes, about: str, *, packed: bool = False) -> bytes:
        """`packed`: its parts are already, or it is not worth it."""
        ring, data = self._ring, pack(data, smaller=not packed)
        return ring.data_key().seal(data, about.encode()) if ring.keys else data

    def open(self, data: bytes, about: str) -> bytes:
        """What was sealed, or what never was as it is. Raises SealError where it does not open."""
        try:
            return unpack(self._ring.open(data, about.encode()) if data and data[0] == SEALED else data)
        except SealError:
            self._unreadable(about)
            raise


class _DataKey:
    """A key of our own, wrapped by `wrapping`."""

    def __init__(self, key_id: str, wrapping: AESGCM) -> None:
        fresh, nonce, name = os.urandom(32), os.urandom(_NONCE), key_id.encode()
        self._head = bytes((SEALED, len(name))) + name + nonce + wrapping.encrypt(nonce, fresh, name)
        self._cipher = AESGCM(fresh)
        self._nonces = count(1)  # `next` is one step, which no other thread interrupts
        self.used_up = False

    def seal(self, data: bytes, about: bytes) -> bytes:
        number = next(self._nonces)
        if number >= MAX_SEALS:
            self.used_up = True
        nonce = number.to_bytes(_NONCE, "big")
        return b"".join((self._head, nonce, self._cipher.encrypt(nonce, data, about)))


class _Keyring:
    """The keys of one configuration, never changed. Two threads that begin at once make a data key each, which does no
    harm."""

    def __init__(self, keys: tuple[SealingKey, ...]) -> None:
        self.keys = keys
        self._ciphers = {key.id: AESGCM(base64.b64decode(key.key)) for key in keys}
        self._data_key: _DataKey | None = None
        self._unwrapped = lru_cache(maxsize=_KNOWN)(self._unwrap)

    def data_key(self) -> _DataKey:
        key = self._data_key
        if key is None or key.used_up:
            first = self.keys[0].id
            key = self._data_key = _DataKey(first, self._ciphers[first])
        return key

    def open(self, sealed: bytes, about: bytes) -> bytes:
        start = 2 + sealed[1] if len(sealed) > 1 else len(sealed)
        key_id, body = sealed[2:start].decode("ascii", "replace"), start + _WRAPPED
        if len(sealed) < body + _NONCE:
            raise SealError("what was sealed is not whole")
        if key_id not in self._ciphers:
            raise SealError(f"it was sealed with the key {key_id!r}, which is not in encryption.keys")
        try:
            data_key = self._unwrapped(key_id, sealed[start:body])
            return data_key.decrypt(sealed[body : body + _NONCE], sealed[body + _NONCE :], about)
        except InvalidTag:
            problem = f"it does not open with the key {key_id!r}: it is damaged, or that key is another one now"
            raise SealError(problem) from None

    def _unwrap(self, key_id: str, wrapped: bytes) -> AESGCM:
        return AESGCM(self._ciphers[key_id].decrypt(wrapped[:_NONCE], wrapped[_NONCE:], key_id.encode()))
