"""Lists whose order says nothing."""

import time
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.compare_schema import Compare
from proxy.model.words import Match
from proxy.outcomes import sets
from proxy.outcomes.compare import Answer, Comparer
from proxy.outcomes.decision import MISSING, path_text
from tests.unit.outcomes.test_compare import JSON


def found(legacy: Any, agent: Any, **fields: Any) -> list[tuple[str, Any, Any]]:
    comparer = Comparer(Compare.model_validate({"fields": {"sets": ["$.tags"], **fields}}))
    result = comparer.compare(Answer({"tags": legacy}), Answer({"tags": agent}))
    assert (result.verdict is Match.MATCHED) == (not result.differences)
    return [(path_text(each.place), each.legacy, each.agent) for each in result.differences]


@pytest.mark.parametrize(
    ("legacy", "agent", "expected"),
    [
        ([1, 2, 3], [3, 1, 2.0], []),
        ([], [], []),
        ([1, 1, 2], [1, 2, 2], [("$.tags[1]", 1, MISSING), ("$.tags[2]", MISSING, 2)]),
        ([1], [True], [("$.tags[0]", 1, MISSING), ("$.tags[0]", MISSING, True)]),
        ([{"a": 1, "b": 2}, [1, 2]], [[1, 2], {"b": 2, "a": 1}], []),
        ([[1, 2]], [[2, 1]], [("$.tags[0]", [1, 2], MISSING), ("$.tags[0]", MISSING, [2, 1])]),
        (["a", "b"], ["b"], [("$.tags[0]", "a", MISSING)]),
        (["a"], "a", [("$.tags", ["a"], "a")]),
        ([None, False, 0, ""], ["", 0, False, None], []),
    ],
)
def test_elements_without_a_counterpart_differ(legacy: Any, agent: Any, expected: Any) -> None:
    assert found(legacy, agent) == expected


def test_rules_of_elements_hold_within() -> None:
    legacy = [{"id": 1, "sku": "A", "price": 10}, {"id": 2, "sku": "b ", "price": 20}]
    agent = [{"id": 8, "sku": "B", "price": 20.1}, {"id": 9, "sku": "a", "price": 10}]
    rules = {
        "ignore": ["$.tags[*].id"],
        "normalize": {"$.tags[*].sku": ["case", "space"]},
        "tolerance": {"$.tags[*].price": "1%"},
    }
    assert found(legacy, agent, **rules) == []
    assert found(legacy, agent, ignore=["$..id"], normalize=rules["normalize"], tolerance=rules["tolerance"]) == []
    assert len(found(legacy, agent)) == 4


def test_a_rule_that_is_searched_for_holds_for_the_elements_it_finds_wherever_they_stand() -> None:
    rules = {"ignore": ["$.tags[?@.kind == 'note'].text"]}
    legacy = [{"kind": "note", "text": "x"}, {"kind": "line", "text": "y"}]
    agent = [{"kind": "line", "text": "y"}, {"kind": "note", "text": "z"}]
    assert found(legacy, agent, **rules) == []
    assert len(found(legacy, [{"kind": "line", "text": "z"}, agent[1]], **rules)) == 2


def test_within_a_tolerance_as_many_as_possible_have_a_counterpart() -> None:
    """1 is near 2 alone, 3 near 2 and 4: taking 2 for 3 would leave 1 alone."""
    rules = {"tolerance": {"$.tags[*]": 1}}
    assert found([3, 1], [2, 4], **rules) == []
    assert found([1, 2], [2, 3], **rules) == []
    assert found([1, 2], [2, 4], **rules) == [("$.tags[0]", 1, MISSING), ("$.tags[1]", MISSING, 4)]


def test_sets_within_sets() -> None:
    rules = {"sets": ["$.tags", "$.tags[*]"]}
    assert found([[1, 2], [3]], [[3], [2, 1]], **rules) == []
    assert found([[1, 2]], [[1, 3]], **rules) == [("$.tags[0]", [1, 2], MISSING), ("$.tags[0]", MISSING, [1, 3])]


def test_how_much_is_tried_is_bounded() -> None:
    tried = 0

    def never(_one: int, _other: int) -> bool:
        nonlocal tried
        tried += 1
        return False

    tries = sets.Tries()
    left, right = sets.unmatched([*range(1000)], [*range(1000, 2000)], (), (), never, tries)
    assert (len(left), len(right), tried) == (1000, 1000, sets.MAX_TRIES)
    sets.unmatched([1], [2], (), (), never, tries)
    assert tried == sets.MAX_TRIES


def nested(depth: int, number: int, first: int) -> Any:
    if not depth:
        return {"v": first}
    return {"l": [nested(depth - 1, number, first + 7 * n + 1000 * depth) for n in range(number)]}


@pytest.mark.parametrize(
    ("legacy", "agent", "bytes_"),
    [
        ([*range(10, 200_000, 10)], [*range(15, 200_000, 10)], 100_000),
        ([nested(4, 6, 1)], [nested(4, 6, 2)], 10_000),
        ([[0.5, *range(9000)]], [[*range(9000), 9000.5]], 40_000),
        ([[n, [1.5] * 500] for n in range(30)], [[n, [1.0] * 500] for n in range(40, 70)], 50_000),
    ],
)
def test_however_many_elements_are_near_or_far_it_takes_no_time(legacy: Any, agent: Any, bytes_: int) -> None:
    assert len(orjson.dumps(legacy)) > bytes_
    rules = {"sets": ["$..tags", "$..l", "$.tags[*]"], "tolerance": {"$..v": 0.1, "$.tags[*]": 0.1, "$.tags[*][*]": 1}}
    comparer = Comparer(Compare.model_validate({"fields": rules}))
    began = time.process_time()
    result = comparer.compare(Answer({"tags": legacy}), Answer({"tags": agent}))
    assert result.verdict is Match.MISMATCHED
    assert time.process_time() - began < 2  # of what was tried without such bounds: minutes


@given(st.lists(JSON, max_size=6).flatmap(lambda items: st.tuples(st.just(items), st.permutations(items))))
def test_any_order_of_the_same_elements_matches(lists: tuple[list[Any], list[Any]]) -> None:
    assert found(*lists) == []


@given(st.lists(JSON, max_size=5), st.lists(JSON, max_size=5))
def test_nothing_depends_on_who_is_who(one: list[Any], other: list[Any]) -> None:
    there, back = found(one, other), found(other, one)
    assert sorted(map(repr, there)) == sorted(repr((place, agent, legacy)) for place, legacy, agent in back)


NUMBERS = st.lists(st.integers(0, 12), max_size=6)


@given(NUMBERS, NUMBERS, st.randoms(use_true_random=False))
def test_a_tolerance_leaves_no_more_alone_than_must_be_in_any_order(
    one: list[int], other: list[int], chance: Any
) -> None:
    rules = {"tolerance": {"$.tags[*]": 2}}
    alone = len(found(one, other, **rules))
    assert alone == len(one) + len(other) - 2 * most(sorted(one), sorted(other), 2)
    chance.shuffle(one)
    chance.shuffle(other)
    assert len(found(one, other, **rules)) == alone


def most(one: list[int], other: list[int], apart: int) -> int:
    """The most pairs that two sorted lists give: the smallest that fits is never worse."""
    pairs = 0
    for number in one:
        near = next((each for each in other if abs(each - number) <= apart), None)
        if near is not None:
            other.remove(near)
            pairs += 1
    return pairs
