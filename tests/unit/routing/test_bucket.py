"""Buckets: monotone, uniform, independent between salts, the same in every process."""

import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from proxy.model.snapshot import BUCKETS
from proxy.model.words import Arm
from proxy.routing.bucket import bucketer, key_hasher
from proxy.routing.decide import decide

KEYS = [b"user-%d" % number for number in range(20_000)]


def test_known_buckets_stay_where_they_are() -> None:
    """A change here moves every user of every running canary."""
    assert [bucketer("refunds-1")(key) for key in (b"alice", b"bob", b"")] == EXPECTED


EXPECTED = [27_935, 2_871, 96_068]


@given(st.binary(max_size=64), st.integers(0, BUCKETS), st.integers(0, BUCKETS))
def test_who_is_in_at_a_weight_is_in_at_every_larger_one(key: bytes, one: int, other: int) -> None:
    bucket = bucketer("salt")(key)
    low, high = sorted((one, other))
    if decide(low, bucket, tripped=False).arm is Arm.AGENT:
        assert decide(high, bucket, tripped=False).arm is Arm.AGENT


@given(st.binary(max_size=200), st.text(min_size=1, max_size=64))
def test_a_bucket_depends_on_salt_and_key_alone(key: bytes, salt: str) -> None:
    assert bucketer(salt)(key) == bucketer(salt)(key)
    assert 0 <= bucketer(salt)(key) < BUCKETS


def test_buckets_are_uniform() -> None:
    """Chi-square over 100 cells of 200 expected keys: below 150 but for one salt in a thousand."""
    bucket = bucketer("refunds-1")
    cells = [0] * 100
    for key in KEYS:
        cells[bucket(key) // 1000] += 1
    assert sum((count - 200) ** 2 / 200 for count in cells) < 150


def test_salts_are_independent() -> None:
    one, other = bucketer("refunds-1"), bucketer("refunds-2")
    both = sum(one(key) < 10_000 and other(key) < 10_000 for key in KEYS)
    assert 150 < both < 250  # 1 % of 20,000


def test_another_process_finds_the_same_buckets() -> None:
    code = "from proxy.routing.bucket import bucketer; b = bucketer('s'); print([b(b'%d' % n) for n in range(50)])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == str([bucketer("s")(b"%d" % number) for number in range(50)])


def test_a_key_is_recorded_as_a_hash_that_needs_the_salt() -> None:
    assert len(key_hasher("a")(b"alice")) == 16
    assert key_hasher("a")(b"alice") != key_hasher("b")(b"alice")
