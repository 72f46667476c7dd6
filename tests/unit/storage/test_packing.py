import os

import orjson
import pytest
import zstandard
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.model.errors import SealError
from proxy.storage import packing
from proxy.storage.packing import FIRST, LITERAL, MAX_UNPACKED, PACKED, pack, unpack

PAIR = orjson.dumps({"request_id": "r", "request": {"method": "POST", "body": {"note": "late " * 100}}, "steps": []})


@given(
    st.binary(max_size=2_000) | st.builds(lambda data, times: data * times, st.binary(max_size=20), st.integers(0, 99))
)
@example(b"")
@example(bytes((LITERAL,)) * 1_000)
@example(PAIR)
def test_what_was_packed_comes_back(data: bytes) -> None:
    assert unpack(pack(data)) == data


@given(st.sampled_from(FIRST), st.binary(max_size=300))
def test_data_that_looks_packed_comes_back_too(first: int, rest: bytes) -> None:
    data = bytes((first,)) + rest
    assert pack(data)[0] in FIRST
    assert unpack(pack(data)) == data


@pytest.mark.parametrize("before", [PAIR, b'{"a":1}', b"[]", b"\x92\x03\x90", b"\x00\x00\x00\x02\x92\x01", b""])
def test_what_was_never_packed_is_read_as_it_is(before: bytes) -> None:
    assert unpack(before) == before


def test_packing_pays_for_documents_and_is_left_where_it_does_not() -> None:
    assert pack(PAIR)[0] == PACKED
    assert len(pack(PAIR)) < len(PAIR) / 3
    assert pack(b'{"short":1}') == b'{"short":1}'
    noise = b"{" + os.urandom(2_000)
    assert pack(noise) == noise


def test_the_dictionary_is_the_one_that_everything_was_packed_with() -> None:
    """A frame as the first release wrote it: whoever changes the dictionary cannot read what users have."""
    written = bytes.fromhex(_WRITTEN)
    assert unpack(written) == PAIR


@pytest.mark.parametrize("spoil", [lambda data: data[:-5], lambda data: data[:1], lambda data: data[:8] + b"\xff" * 20])
def test_what_is_damaged_is_refused(spoil: object) -> None:
    with pytest.raises(SealError, match="damaged"):
        unpack(spoil(pack(PAIR)))  # type: ignore[operator]


def test_an_unknown_form_is_refused() -> None:
    with pytest.raises(SealError, match="does not know"):
        unpack(bytes((0xF7,)) + b"what comes later")


def test_a_frame_that_claims_too_much_is_refused_before_it_is_unpacked() -> None:
    claims = zstandard.ZstdCompressor().compress(bytes(MAX_UNPACKED + 1))
    with pytest.raises(SealError, match="larger than"):
        unpack(bytes((packing.PACKED,)) + claims)


_WRITTEN = "f228b52ffd6040013d010058726e6f6c61746520227d7d0800430437d851941620056e1e1179040500b2c05471ddfb4e0401"
