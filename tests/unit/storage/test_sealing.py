from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.model.errors import SealError
from proxy.storage import sealing
from proxy.storage.sealing import SEALED, Sealer
from tests.seals import NEW_KEY as NEW
from tests.seals import OLD_KEY as OLD
from tests.seals import sealing_key

SECRET = b'{"body":"of a person"}'


@given(st.binary(max_size=4_000), st.text(max_size=64), st.booleans())
def test_what_was_sealed_opens(data: bytes, about: str, packed: bool) -> None:
    sealer = Sealer([NEW, OLD])
    sealed = sealer.seal(data, about, packed=packed)
    assert sealed[0] == SEALED
    assert sealer.open(sealed, about) == data


def test_nothing_of_it_is_readable_but_the_keys_id() -> None:
    sealed = Sealer([NEW]).seal(SECRET, "refunds", packed=True)
    assert b"person" not in sealed
    assert NEW.id.encode() in sealed


def test_no_two_are_sealed_alike() -> None:
    sealer = Sealer([NEW])
    assert len({sealer.seal(SECRET, "refunds") for _ in range(100)}) == 100


def test_without_keys_all_is_readable_and_still_opens_where_there_are_some() -> None:
    assert Sealer().seal(SECRET, "refunds") == SECRET
    assert Sealer([NEW]).open(SECRET, "refunds") == SECRET
    long = SECRET * 100
    packed = Sealer().seal(long, "refunds")
    assert len(packed) < len(long) / 5
    assert Sealer([NEW]).open(packed, "refunds") == long


def test_after_a_rotation_the_new_key_seals_and_the_old_one_opens() -> None:
    sealer = Sealer([OLD])
    before = sealer.seal(SECRET, "refunds")
    sealer.use([NEW, OLD])
    after = sealer.seal(SECRET, "refunds")
    assert (OLD.id.encode() in before, NEW.id.encode() in after) == (True, True)
    assert sealer.key_id == NEW.id
    assert [sealer.open(sealed, "refunds") for sealed in (before, after)] == [SECRET, SECRET]
    sealer.use([NEW])
    with pytest.raises(SealError, match=r"'2026-01', which is not in encryption\.keys"):
        sealer.open(before, "refunds")
    assert sealer.open(after, "refunds") == SECRET


def test_another_process_with_the_key_opens_it() -> None:
    assert Sealer([OLD, NEW]).open(Sealer([NEW]).seal(SECRET, "refunds"), "refunds") == SECRET


def test_a_key_of_the_same_name_that_is_another_one_does_not_open_it() -> None:
    with pytest.raises(SealError, match="that key is another one now"):
        Sealer([sealing_key(NEW.id, 3)]).open(Sealer([NEW]).seal(SECRET, "refunds"), "refunds")


def test_it_opens_under_its_own_name_alone() -> None:
    sealer = Sealer([NEW])
    with pytest.raises(SealError, match="damaged"):
        sealer.open(sealer.seal(SECRET, "refunds"), "claims")


def test_not_one_bit_can_be_changed() -> None:
    sealer = Sealer([NEW])
    sealed = sealer.seal(SECRET, "refunds")
    for place in range(1, len(sealed)):
        for bit in (0x01, 0x80):
            spoiled = sealed[:place] + bytes([sealed[place] ^ bit]) + sealed[place + 1 :]
            with pytest.raises(SealError):
                sealer.open(spoiled, "refunds")


def test_what_was_cut_is_refused_wherever_it_was() -> None:
    sealer = Sealer([NEW])
    sealed = sealer.seal(SECRET, "refunds")
    for length in range(1, len(sealed)):
        with pytest.raises(SealError):
            sealer.open(sealed[:length], "refunds")
    assert sealer.open(b"", "refunds") == b""


def test_whoever_does_not_open_is_told_of() -> None:
    told: list[str] = []
    sealed = Sealer([OLD]).seal(SECRET, "refunds")
    with pytest.raises(SealError):
        Sealer([NEW], told.append).open(sealed, "refunds")
    assert told == ["refunds"]


def test_a_data_key_is_given_up_when_it_has_sealed_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "MAX_SEALS", 3)
    sealer = Sealer([NEW])
    sealed = [sealer.seal(SECRET, "refunds") for _ in range(7)]
    heads = [data[: 2 + len(NEW.id) + 60] for data in sealed]
    assert [heads.index(head) for head in heads] == [0, 0, 0, 3, 3, 3, 6]
    assert {sealer.open(data, "refunds") for data in sealed} == {SECRET}


def test_the_same_keys_again_begin_nothing_anew() -> None:
    sealer = Sealer([NEW])
    first = sealer.seal(SECRET, "refunds")
    sealer.use([NEW])
    again = sealer.seal(SECRET, "refunds")
    assert first[: 2 + len(NEW.id) + 60] == again[: 2 + len(NEW.id) + 60]


def test_threads_draw_no_nonce_twice() -> None:
    sealer = Sealer([NEW])
    sealer.seal(b"", "")  # so that all have one data key
    with ThreadPoolExecutor(8) as threads:
        sealed = list(threads.map(lambda number: sealer.seal(b"%d" % number, "x"), range(5_000)))
    places = slice(2 + len(NEW.id) + 60, 2 + len(NEW.id) + 72)
    assert len({data[places] for data in sealed}) == 5_000
