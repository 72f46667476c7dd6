"""Frames over a byte stream: whole again however the stream was cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.model import link
from proxy.model.link import Decoder, FrameError, Hello, Trip, encode

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text() | st.integers(0, 9), inner, max_size=4),
    max_leaves=20,
)
FRAMES = st.lists(st.tuples(st.sampled_from([link.HELLO, link.TICK, link.ACK]), VALUES), max_size=5)


def fed(*parts: bytes) -> list[tuple[str, object]]:
    decoder = Decoder()
    return [frame for part in parts for frame in decoder.feed(part)]


@given(FRAMES, st.data())
def test_frames_come_back_whole_however_the_stream_is_cut(
    frames: list[tuple[str, object]], data: st.DataObject
) -> None:
    stream = b"".join(encode(kind, payload) for kind, payload in frames)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=20)))
    parts = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert fed(*parts) == frames


@given(st.lists(VALUES, max_size=3), st.lists(st.binary(max_size=300), max_size=4))
def test_what_a_payload_ends_with_may_be_given_in_pieces(payload: list[object], pieces: list[bytes]) -> None:
    assert fed(encode(link.TICK, [*payload, b""], pieces)) == [("tick", [*payload, b"".join(pieces)])]


def test_frames_come_back_byte_by_byte() -> None:
    stream = encode(link.ACK, 7) + encode(link.SNAPSHOT, b"{}")
    assert fed(*(stream[index : index + 1] for index in range(len(stream)))) == [("ack", 7), ("snapshot", b"{}")]


def test_a_frame_is_handed_out_as_soon_as_it_is_whole() -> None:
    decoder, frame = Decoder(), encode(link.ACK, 7)
    assert list(decoder.feed(frame[:-1])) == []
    assert list(decoder.feed(frame[-1:] + frame[:3])) == [("ack", 7)]
    assert list(decoder.feed(frame[3:])) == [("ack", 7)]


def test_a_hello_and_a_trip_come_back_as_their_fields() -> None:
    hello, trip = Hello(link.VERSION, "w1-abc", 1, 4711), Trip("refunds", "1", 2, "error rate 40 %", 1_800_000_000.5)
    (_, first), (_, second) = fed(encode(link.HELLO, hello), encode(link.TRIP, trip))
    assert isinstance(first, list)
    assert isinstance(second, list)
    assert Hello(*first) == hello
    assert Trip(*second) == trip


def test_an_oversized_frame_is_refused_by_its_length_alone() -> None:
    with pytest.raises(FrameError, match="a frame of 67108865 bytes is over 67108864"):
        fed((link.MAX_FRAME + 1).to_bytes(4, "big"))


def test_the_frames_before_a_bad_one_are_handed_out() -> None:
    frames = Decoder().feed(encode(link.ACK, 1) + b"\xff\xff\xff\xff")
    assert next(frames) == ("ack", 1)
    with pytest.raises(FrameError):
        next(frames)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",
        b"\x93\x01",
        b"\x01",
        b"\x91\xa3ack",
        b"\x93\xa3ack\x01\x02",
        b"\x92\x01\x01",
        b"\x92\xa3ack\x01\x00",
    ],
    ids=[
        "empty",
        "never used",
        "cut short",
        "no array",
        "one field",
        "three fields",
        "kind is no text",
        "more after it",
    ],
)
def test_what_is_no_frame_of_ours_is_refused(body: bytes) -> None:
    with pytest.raises(FrameError):
        fed(len(body).to_bytes(4, "big") + body)


@given(st.binary(max_size=64))
def test_garbage_is_frames_or_a_frame_error(garbage: bytes) -> None:
    try:
        frames = fed(garbage)
    except FrameError:
        return
    assert all(isinstance(kind, str) for kind, _ in frames)
