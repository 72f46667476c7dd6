"""Buckets: where a key falls, the same on every worker, machine and day.

The invariant that makes a canary sticky and monotone: a bucket depends on salt and key alone, and a user is in when
`bucket < weight`. So raising the weight only lets users in, and lowering it only lets users out.
"""

from collections.abc import Callable
from hashlib import blake2b

from proxy.model.snapshot import BUCKETS


def bucketer(salt: str) -> Callable[[bytes], int]:
    """`key -> bucket` in 0 .. BUCKETS - 1: an 8-byte BLAKE2b (RFC 7693) keyed with the salt, big-endian, mod BUCKETS.

    A salt of more than 64 bytes, BLAKE2b's longest key, is hashed to 64 first. The remainder's bias is below 1e-14.
    """
    prepared = _keyed(salt, 8)

    def bucket(key: bytes) -> int:
        digest = prepared.copy()
        digest.update(key)
        return int.from_bytes(digest.digest(), "big") % BUCKETS

    return bucket


def key_hasher(salt: str) -> Callable[[bytes], bytes]:
    """`key -> 16 bytes`, keyed with the salt: what is recorded of a user instead of the key."""
    prepared = _keyed(salt, 16)

    def key_hash(key: bytes) -> bytes:
        digest = prepared.copy()
        digest.update(key)
        return digest.digest()

    return key_hash


def _keyed(salt: str, size: int) -> blake2b:
    secret = salt.encode()
    return blake2b(digest_size=size, key=secret if len(secret) <= blake2b.MAX_KEY_SIZE else blake2b(secret).digest())
