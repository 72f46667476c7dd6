import msgpack
import pytest
from hypothesis import given

from proxy.model.rollouts import ArmCount, Batch, Evidence, Kept
from proxy.storage import frames
from tests.unit.storage.evidence import EVIDENCE

BATCH = Batch(
    "refunds",
    "w1-abc",
    7,
    {
        ("v1", 1, "canary"): Evidence(ArmCount(9, 1, 2), ArmCount(8, 3, 0), 5, 2, 1),
        ("v2", 2, "shadow"): Evidence(agent=ArmCount(1), segments={"a": (1, 2)}, decisions={("x", "y"): 3}),
    },
    {
        ("v1", 1, "canary", 5_000): (frozenset({0, 99_999}), frozenset()),
        ("v2", 2, "shadow", 0): (frozenset(), frozenset({7})),
    },
    (
        Kept("matched", b'{"a":1}', 1_800_000_000.5, "ab12", escalation="e1", reason="timeout"),
        Kept(None, b"{}"),
        Kept("pending", b'{"a":"\xc3\xa9"}', refs=("r1", "r2"), until=1_800_000_900.0),
    ),
    (b"late", b"later"),
    (Kept(None, b'{"b":1}', 1_800_000_000.5, escalation="e2", reason="timeout"),),
    1_000,
)


def test_batches_come_back_as_they_were() -> None:
    batches = [BATCH, Batch("other", "w1-abc", 7)]
    assert frames.decode(frames.encode(batches)) == batches


@given(EVIDENCE)
def test_evidence_comes_back_as_it_was(evidence: Evidence) -> None:
    batch = Batch("refunds", "w1", 1, {("v1", 1, "canary"): evidence})
    assert frames.decode(frames.encode([batch])) == [batch]


def test_what_the_version_before_left_is_read() -> None:
    left = bytes.fromhex(
        "92019196a7726566756e6473a677312d61626307cd03e8919ca2763101a663616e6172790901020803000101009292a76d617463686564c407"
        "7b2261223a317d92c0c4027b7d"
    )
    evidence = {("v1", 1, "canary"): Evidence(ArmCount(9, 1, 2), ArmCount(8, 3, 0), 1, 1, 0)}
    pairs = (Kept("matched", b'{"a":1}'), Kept(None, b"{}"))
    assert frames.decode(left) == [Batch("refunds", "w1-abc", 7, evidence, pairs=pairs, max_pairs=1_000)]


USERS_CUT_OFF = ["refunds", "w1", 1, 1_000, [], [], [["v1", 1, "canary", 0, b"\x00\x00", b""]]]
NO_EVIDENCE = ["refunds", "w1", 1, 1_000, [["v1", 1, "canary", [1, 2], [], []]], [], []]


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\xc1",
        b"garbage",
        msgpack.packb(None),
        msgpack.packb([1]),
        msgpack.packb([1, [[1, 2]]]),
        msgpack.packb([2, [[1, 2]]]),
        msgpack.packb([2, [USERS_CUT_OFF]]),
        msgpack.packb([2, [NO_EVIDENCE]]),
    ],
)
def test_garbage_is_refused(frame: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        frames.decode(frame)


def test_a_newer_format_is_refused() -> None:
    with pytest.raises(ValueError, match="has format 4, and this Crossfade knows 3"):
        frames.decode(msgpack.packb([4, []]))
