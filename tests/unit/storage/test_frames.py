import msgpack
import pytest

from proxy.model.rollouts import ArmCount, Batch, Evidence
from proxy.storage import frames

BATCH = Batch(
    "refunds",
    "w1-abc",
    7,
    {
        ("v1", 1, "canary"): Evidence(ArmCount(9, 1, 2), ArmCount(8, 3, 0), 5, 2, 1),
        ("v2", 2, "shadow"): Evidence(agent=ArmCount(1)),
    },
    (("matched", b'{"a":1}'), (None, b"{}"), ("mismatched", b'{"a":"\xc3\xa9"}')),
    1_000,
)


def test_batches_come_back_as_they_were() -> None:
    batches = [BATCH, Batch("other", "w1-abc", 7)]
    assert frames.decode(frames.encode(batches)) == batches


@pytest.mark.parametrize(
    "frame",
    [b"", b"\xc1", b"garbage", msgpack.packb(None), msgpack.packb([1]), msgpack.packb([1, [[1, 2]]])],
)
def test_garbage_is_refused(frame: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        frames.decode(frame)


def test_a_newer_format_is_refused() -> None:
    with pytest.raises(ValueError, match="has format 2, and this Crossfade knows 1"):
        frames.decode(msgpack.packb([2, []]))
