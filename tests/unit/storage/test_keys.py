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
        keys.users("refunds", "2026{x}:y", 3, "canary", 5_000, "agent"),
        keys.stages("refunds"),
        keys.guard("refunds"),
        keys.arrivals("refunds"),
        keys.seen("refunds", "w1"),
        keys.closed("refunds", "1-0"),
        keys.pending("refunds"),
        keys.ref("refunds", "ab"),
        keys.outcomes("refunds"),
        keys.early("refunds", "ab"),
        keys.given_up("refunds"),
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


@given(one=STAGE, other=STAGE)
def test_no_two_stages_share_their_users(one: tuple[str, int, str], other: tuple[str, int, str]) -> None:
    first = {keys.users("r", *one, weight, arm) for weight in (1, 11) for arm in ("legacy", "agent")}
    second = {keys.users("r", *other, weight, arm) for weight in (1, 11) for arm in ("legacy", "agent")}
    assert len(first) == 4
    assert (first == second) if one == other else not first & second


@given(stage=STAGE)
def test_a_stage_is_read_from_its_name_and_its_name_from_its_totals(stage: tuple[str, int, str]) -> None:
    assert keys.split_stage(keys.stage_name(*stage)) == stage
    assert keys.split_totals(keys.totals("refunds", *stage)) == ("refunds", keys.stage_name(*stage))


def test_what_replicas_share_is_in_one_slot_and_of_no_route() -> None:
    assert {tag(keys.replicas(what)) for what in ("lease", "living")} == {":replicas"}
