"""What is recorded of requests, sealed before it leaves for the store or the disk: AES-256-GCM in envelopes.

Each process makes data keys of its own and seals with one of them at a time; the key of the configuration only wraps
them (envelope encryption, NIST SP 800-57 part 1, 5.3.5). What was sealed carries the id of the key that wraps, and the
wrapped data key, so that any process that has the key can open it, also after a rotation.

    sealed = FORMAT, length of the id, id, nonce (12) and wrapped data key (48), nonce (12), ciphertext and tag (16)

A nonce is a counter, and each data key is of one process's life: none is used twice (NIST SP 800-38D, 8.2.1). A data
key seals at most MAX_SEALS times. `about` is bound to what is sealed: nothing opens under another name.
"""

import base64
import os
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from proxy.model.errors import StoreError
from proxy.model.snapshot import SealingKey

FORMAT: Final = 0x01
MAX_SEALS: Final = 1 << 24

_NONCE: Final = 12
_WRAPPED: Final = _NONCE + 32 + 16
_KNOWN: Final = 1024


class Sealer:
    """Without keys nothing is sealed, and what was sealed cannot be opened."""

    def __init__(self, keys: Iterable[SealingKey] = ()) -> None:
        self.use(keys)

    def use(self, keys: Iterable[SealingKey]) -> None:
        """From now on these are the keys; the first one seals."""
        keys = tuple(keys)
        self._keys = {key.id: AESGCM(base64.b64decode(key.key)) for key in keys}
        self._first = keys[0].id if keys else ""
        self._data_key: AESGCM | None = None
        self._head = b""
        self._count = 0
        self._unwrap = lru_cache(maxsize=_KNOWN)(self._unwrapped)

    @property
    def key_id(self) -> str:
        """Of the key that seals; empty without one."""
        return self._first

    def seal(self, data: bytes, about: str) -> bytes:
        if not self._first:
            return data
        if self._data_key is None or self._count >= MAX_SEALS:
            self._begin()
        assert self._data_key is not None  # it was made just now
        self._count += 1
        nonce = self._count.to_bytes(_NONCE, "big")
        return b"".join((self._head, nonce, self._data_key.encrypt(nonce, data, about.encode())))

    def open(self, sealed: bytes, about: str) -> bytes:
        """What was sealed, or what was never sealed as it is. Raises StoreError where it cannot be opened."""
        if not sealed or sealed[0] != FORMAT:
            return sealed
        start = 2 + sealed[1] if len(sealed) > 1 else len(sealed)
        key_id, body = sealed[2:start].decode("ascii", "replace"), start + _WRAPPED
        if len(sealed) < body + _NONCE:
            raise StoreError("what was sealed is not whole")
        if key_id not in self._keys:
            raise StoreError(f"it was sealed with the key {key_id!r}, which is not in encryption.keys")
        try:
            data_key = self._unwrap(key_id, sealed[start:body])
            return data_key.decrypt(sealed[body : body + _NONCE], sealed[body + _NONCE :], about.encode())
        except InvalidTag:
            raise StoreError(f"it does not open with the key {key_id!r}: that key is another one now") from None

    def _begin(self) -> None:
        fresh, nonce = os.urandom(32), os.urandom(_NONCE)
        wrapped = nonce + self._keys[self._first].encrypt(nonce, fresh, self._first.encode())
        name = self._first.encode()
        self._head = bytes((FORMAT, len(name))) + name + wrapped
        self._data_key, self._count = AESGCM(fresh), 0

    def _unwrapped(self, key_id: str, wrapped: bytes) -> AESGCM:
        return AESGCM(self._keys[key_id].decrypt(wrapped[:_NONCE], wrapped[_NONCE:], key_id.encode()))
