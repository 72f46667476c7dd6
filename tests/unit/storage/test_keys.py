from hypothesis import given
from hypothesis import strategies as st

from proxy.storage import keys


def tag(key: str) -> str:
    """What Redis Cluster hashes: between the first brace and the next closing one."""
    return key[key.index("{") + 1 : key.index("}")]


def test_all_keys_of_a_route_are_in_one_slot() -> None:
    of_route = [
        keys.layout("refunds"),
        keys.state("refunds"),
        keys.history("refunds"),
        keys.pairs("refunds"),
        keys.verdict("refunds", "matched"),
        keys.totals("refunds", "2026{x}:y", 3, "canary"),
        keys.seen("refunds", "w1"),
    ]
    assert {tag(key) for key in of_route} == {"refunds"}
    assert len(set(of_route)) == len(of_route)


STAGE = st.tuples(
    st.text("ab:1", min_size=1, max_size=4), st.integers(1, 12), st.from_regex(r"[a1-]{1,3}", fullmatch=True)
)


@given(one=STAGE, other=STAGE)
def test_no_two_stages_share_their_totals(one: tuple[str, int, str], other: tuple[str, int, str]) -> None:
    # A version may hold colons; epochs and stage names cannot, and stand before it.
    assert (keys.totals("r", *one) == keys.totals("r", *other)) == (one == other)
