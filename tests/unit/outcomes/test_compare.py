"""Two documents side by side: verdicts, differences, what is ignored and what is tolerated."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.compare_schema import Compare
from proxy.model.words import Match
from proxy.outcomes.compare import MAX_DIFFERENCES, Answer, Comparer, Comparison
from proxy.outcomes.decision import MISSING, path_text

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(-5, 5) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("abcd"), inner, max_size=4),
    max_leaves=20,
)

MATCHED, MISMATCHED, INCOMPARABLE = Match.MATCHED, Match.MISMATCHED, Match.INCOMPARABLE


def comparer(decision: Any = None, **rules: Any) -> Comparer:
    top = {name: rules.pop(name) for name in ("labels", "cost") if name in rules}
    if "tolerance" in rules:
        rules["tolerance"] = {path: _share(value) for path, value in rules["tolerance"].items()}
    return Comparer(Compare.model_validate({"decision": decision, "fields": rules, **top}))


def _share(value: Any) -> Any:
    return f"{value * 100:g}%" if isinstance(value, float) else value


def compared(by: Comparer, legacy: Any, agent: Any) -> Comparison:
    return by.compare(Answer(legacy), Answer(agent))


def verdict(legacy: Any, agent: Any, **rules: Any) -> Match:
    return compared(comparer(**rules), legacy, agent).verdict


def differing(legacy: Any, agent: Any, **rules: Any) -> list[str]:
    return [path_text(found.place) for found in compared(comparer(**rules), legacy, agent).differences]


@pytest.mark.parametrize(
    ("legacy", "agent", "expected"),
    [
        ({"d": "yes"}, {"d": "yes"}, MATCHED),
        ({"d": "yes"}, {"d": "no"}, MISMATCHED),
        ({"d": "yes"}, {"d": "Yes"}, MISMATCHED),
        ({"d": 1}, {"d": 1.0}, MATCHED),
        ({"d": 1}, {"d": True}, MISMATCHED),
        ({"d": 0}, {"d": False}, MISMATCHED),
        ({"d": [{"x": 0}]}, {"d": [{"x": False}]}, MISMATCHED),
        ({"d": {"x": 1, "y": 2}}, {"d": {"y": 2, "x": 1}}, MATCHED),
        ({"d": 1}, {"d": "1"}, MISMATCHED),
        ({"d": None}, {"d": None}, MATCHED),
        ({"d": None}, {"d": 0}, MISMATCHED),
        ({"d": None}, {"d": ""}, MISMATCHED),
        ({"d": [1, {"x": 2}]}, {"d": [1, {"x": 2.0}]}, MATCHED),
        ({"d": [1, 2]}, {"d": [2, 1]}, MISMATCHED),
        ({"d": {}}, {"d": []}, MISMATCHED),
        ({"d": 2**53 + 1}, {"d": 2**53}, MISMATCHED),
    ],
)
def test_the_decision_gives_the_verdict_and_types_are_strict(legacy: Any, agent: Any, expected: Match) -> None:
    assert verdict(legacy, agent, decision="$.d") is expected
    assert verdict(legacy, agent) is expected


def test_other_members_are_listed_and_do_not_decide() -> None:
    result = compared(comparer("$.d"), {"d": 1, "text": "a"}, {"d": 1, "text": "b", "more": True})
    assert result.verdict is MATCHED
    assert (result.legacy, result.agent) == (1, 1)
    assert [(found.place, found.legacy, found.agent) for found in result.differences] == [
        (("text",), "a", "b"),
        (("more",), MISSING, True),
    ]


def test_without_a_decision_the_whole_documents_decide() -> None:
    assert verdict({"a": 1, "b": 2}, {"b": 2, "a": 1}) is MATCHED
    assert verdict({"a": 1}, {"a": 1, "b": None}) is MISMATCHED
    assert verdict([1, 2], [1, 2, 3]) is MISMATCHED
    assert verdict("yes", "yes") is MATCHED


@pytest.mark.parametrize(
    ("legacy", "agent", "reason"),
    [
        ({}, {"d": 1}, "legacy's answer has nothing at $.d"),
        ({"d": 1}, {}, "agent's answer has nothing at $.d"),
        ({}, [], "both arms' answer has nothing at $.d"),
    ],
)
def test_without_both_decisions_nothing_can_be_compared(legacy: Any, agent: Any, reason: str) -> None:
    result = compared(comparer("$.d"), legacy, agent)
    assert (result.verdict, result.reason) == (INCOMPARABLE, reason)


def test_ignored_members_are_not_compared() -> None:
    legacy = {"id": 1, "at": "noon", "lines": [{"id": 1, "n": 1}, {"id": 2, "n": 2}], "meta": {"x": 1}}
    agent = {"id": 2, "at": "one", "lines": [{"id": 8, "n": 1}, {"id": 9, "n": 3}]}
    assert differing(legacy, agent) == ["$.id", "$.at", "$.lines[0].id", "$.lines[1].id", "$.lines[1].n", "$.meta"]
    assert differing(legacy, agent, ignore=("$.id", "$.at", "$.meta", "$.lines[*].id")) == ["$.lines[1].n"]
    assert differing(legacy, agent, ignore=("$..id", "$.at", "$.meta", "$.lines[1:].n")) == []
    assert differing(legacy, agent, ignore=("$.*",)) == []
    assert differing(legacy, agent, ignore=("$",)) == []
    assert differing(legacy, agent, ignore=("$.lines[0]", "$.id", "$.at", "$.meta")) == [
        "$.lines[1].id",
        "$.lines[1].n",
    ]


def test_an_ignored_member_that_only_one_arm_has_is_ignored_too() -> None:
    assert verdict({"a": 1, "trace": "x"}, {"a": 1}, ignore=("$.trace",)) is MATCHED
    assert verdict({"a": 1}, {"a": 1, "trace": "x"}, ignore=("$..trace",)) is MATCHED


def test_a_decision_decides_even_where_it_is_ignored() -> None:
    assert verdict({"d": 1}, {"d": 2}, decision="$.d", ignore=("$.d",)) is MISMATCHED
    assert verdict({"d": 1}, {"d": 2}, decision="$.d", ignore=("$",)) is MISMATCHED
    assert verdict({"d": {"v": 1, "id": 1}}, {"d": {"v": 1, "id": 2}}, decision="$.d", ignore=("$.d.id",)) is MATCHED


@pytest.mark.parametrize(
    ("legacy", "agent", "expected"),
    [
        (100, 101, MATCHED),
        (100, 99.0, MATCHED),
        (100, 101.5, MISMATCHED),
        (-100, -101, MATCHED),
        (-100, 100, MISMATCHED),
        (0, 0.001, MISMATCHED),
        (0, 0.0, MATCHED),
        (100, "100", MISMATCHED),
        (100, True, MISMATCHED),
    ],
)
def test_a_number_may_differ_by_a_share_of_legacys(legacy: Any, agent: Any, expected: Match) -> None:
    for rules in (
        {"decision": "$.amount", "tolerance": {"$.amount": 0.01}},
        {"tolerance": {"$.amount": 0.01}},
        {"tolerance": {"$.*": 0.01}},
        {"tolerance": {"$..amount": 0.01}},
        {"decision": "$..amount", "tolerance": {"$..amount": 0.01}},
    ):
        assert verdict({"amount": legacy}, {"amount": agent}, **rules) is expected


@pytest.mark.parametrize(
    ("legacy", "agent", "expected"),
    [
        (100, 100.5, MATCHED),
        (100, 102, MISMATCHED),
        ("approve", "approve", MATCHED),
        ("approve", "deny", MISMATCHED),
        (None, None, MATCHED),
        (MISSING, "approve", INCOMPARABLE),
        ("approve", MISSING, INCOMPARABLE),
        ("[redacted]", "[redacted]", INCOMPARABLE),
    ],
)
def test_two_decisions_are_judged_by_themselves(legacy: Any, agent: Any, expected: Match) -> None:
    assert comparer("$.d", tolerance={"$.d": 0.01}).judge(legacy, agent) is expected


def test_a_tolerance_holds_for_its_path_alone() -> None:
    rules = {"tolerance": {"$.lines[*].price": 0.1}}
    legacy = {"price": 100, "lines": [{"price": 100, "n": 10}]}
    agent = {"price": 101, "lines": [{"price": 101, "n": 11}]}
    assert differing(legacy, agent, **rules) == ["$.price", "$.lines[0].n"]


def test_a_name_and_a_wildcard_may_both_speak_of_a_place() -> None:
    rules = {"ignore": ("$.a.x",), "tolerance": {"$.*.x": 0.5, "$.*.y": 0.5}}
    assert differing({"a": {"x": 1, "y": 10}}, {"a": {"x": 9, "y": 11}}, **rules) == []


def test_rules_found_in_one_document_are_forgotten_for_the_next() -> None:
    by = comparer(ignore=("$..id",))
    assert compared(by, {"a": {"id": 1}}, {"a": {"id": 2}}).verdict is MATCHED
    assert compared(by, {"a": {"b": 1}}, {"a": {"b": 2}}).verdict is MISMATCHED
    assert compared(by, {"x": {"id": 1}}, {"x": {"id": 2}}).verdict is MATCHED


def test_differences_are_listed_up_to_a_bound_and_then_counted() -> None:
    legacy, agent = list(range(1000)), list(range(1, 1001))
    result = compared(comparer(), legacy, agent)
    assert len(result.differences) == MAX_DIFFERENCES
    assert result.more == 1000 - MAX_DIFFERENCES
    decisive = compared(comparer("$.d"), {"d": "no", "many": legacy}, {"d": "yes", "many": agent})
    assert decisive.verdict is MISMATCHED


@given(JSON)
def test_a_document_matches_itself(document: Any) -> None:
    result = compared(comparer(), document, document)
    assert (result.verdict, result.differences, result.more) == (MATCHED, (), 0)


@given(JSON, JSON)
def test_the_verdict_does_not_depend_on_who_is_who(one: Any, other: Any) -> None:
    assert verdict(one, other) is verdict(other, one)


@given(JSON, JSON)
def test_what_differs_is_listed_and_only_that(one: Any, other: Any) -> None:
    result = compared(comparer(), one, other)
    assert (result.verdict is MATCHED) == (not result.differences)
    places = tuple(path_text(found.place) for found in result.differences)
    assert verdict(one, other, ignore=places) is MATCHED


def headers(decision: str) -> Answer:
    return Answer(headers=(("x-decision", decision),))


def test_a_decision_may_be_in_a_header_and_needs_no_body() -> None:
    by = comparer({"header": "X-Decision"}, labels={"approve": ["ok"]})
    assert not by.in_body
    result = by.compare(headers(" ok "), headers("approve"))
    assert (result.verdict, result.legacy, result.agent) == (MATCHED, "approve", "approve")
    assert by.compare(headers("ok"), headers("deny"), same=True).verdict is MISMATCHED
    lacking = by.compare(headers("ok"), Answer())
    assert (lacking.verdict, lacking.reason) == (INCOMPARABLE, "agent's answer has no header X-Decision")
    assert by.decide(Answer(headers=(("x-decision", "a"), ("x-decision", "b")))) == "a, b"


@pytest.mark.parametrize(
    ("decision", "legacy", "agent", "expected"),
    [
        ("status", 200, 200, MATCHED),
        ("status", 200, 201, MISMATCHED),
        ({"status": {"approve": [200, 201], "deny": 403}}, 200, 201, MATCHED),
        ({"status": {"approve": [200, 201], "deny": 403}}, 403, 201, MISMATCHED),
        ({"status": {"approve": [200, 201], "deny": 403}}, 404, 201, INCOMPARABLE),
    ],
)
def test_a_decision_may_be_the_status(decision: Any, legacy: int, agent: int, expected: Match) -> None:
    result = comparer(decision).compare(Answer(status=legacy), Answer(status=agent))
    assert result.verdict is expected
    if expected is INCOMPARABLE:
        assert result.reason == "legacy's answer has a status that decides nothing"


def test_bodies_are_compared_for_differences_where_both_are_json() -> None:
    by = comparer("status")
    one, other = Answer({"a": 1}, 200), Answer({"a": 2}, 200)
    result = by.compare(one, other)
    assert (result.verdict, [path_text(each.place) for each in result.differences]) == (MATCHED, ["$.a"])
    assert by.compare(one, Answer(MISSING, 200)).differences == ()


def test_decisions_of_one_label_are_one_decision_and_no_difference() -> None:
    by = comparer("$.d", labels={"approve": ["approved", True]}, normalize={"$.d": ["case", "space"]})
    result = compared(by, {"d": " Approved"}, {"d": True})
    assert (result.verdict, result.legacy, result.agent, result.differences) == (MATCHED, "approve", "approve", ())
    result = compared(by, {"d": "APPROVE"}, {"d": "Deny"})
    assert (result.verdict, result.agent) == (MISMATCHED, "deny")
    assert result.differences[0].agent == "Deny"  # as it was said
    assert by.judge("approve", "APPROVED ") is MATCHED


def test_labels_of_a_decision_that_is_searched_for() -> None:
    by = comparer("$..d", labels={"approve": ["ok"]}, normalize={"$..d": ["case"]})
    assert compared(by, {"x": {"d": "OK"}}, {"d": "approve"}).verdict is MATCHED
    several = compared(by, [{"d": "ok"}, {"d": "no"}], [{"d": "approve"}, {"d": "NO"}])
    assert (several.verdict, several.differences) == (MATCHED, ())
    assert compared(by, [{"d": "ok"}, {"d": "no"}], [{"d": "no"}, {"d": "ok"}]).verdict is MISMATCHED


def test_a_decision_may_be_a_list_without_order() -> None:
    rules = {"decision": "$.d", "sets": ["$.d"]}
    assert verdict({"d": ["a", "b"]}, {"d": ["b", "a"]}, **rules) is MATCHED
    assert verdict({"d": ["a", "b"]}, {"d": ["b", "c"]}, **rules) is MISMATCHED
    assert comparer(**rules).judge(["a", "b"], ["b", "a"]) is MATCHED
    assert verdict([{"d": "a"}, {"d": "b"}], [{"d": "b"}, {"d": "a"}], decision="$[*].d", sets=["$[*].d"]) is MATCHED


def test_texts_are_compared_without_what_normalizing_removes() -> None:
    rules = {"normalize": {"$.city": ["case", "space"], "$..name": ["unicode"]}}
    legacy = {"city": "New  York", "who": {"name": "\ufb01n"}, "other": "A"}
    agent = {"city": "new york", "who": {"name": "fin"}, "other": "a"}
    assert differing(legacy, agent, **rules) == ["$.other"]


RULES = st.fixed_dictionaries(
    {},
    optional={
        "ignore": st.lists(st.sampled_from(["$.a", "$..b", "$.c[0]", "$"]), max_size=2),
        "tolerance": st.dictionaries(st.sampled_from(["$.a", "$..c", "$.*"]), st.sampled_from(["1%", "5s", 0.5])),
        "sets": st.lists(st.sampled_from(["$", "$.a", "$..b", "$[*]"]), max_size=2),
        "normalize": st.dictionaries(st.sampled_from(["$.a", "$..d", "$"]), st.just(["case", "space"])),
    },
)
DECISION = st.sampled_from([None, "$.a", "$..b", "$", "$[*]", "status", {"header": "x"}, {"status": {"ok": [200]}}])
ANSWERS = st.builds(Answer, JSON | st.just(MISSING), st.sampled_from([200, 403]), st.just((("x", "A"),)))


@given(ANSWERS, DECISION, RULES)
def test_an_answer_says_what_it_says_under_any_rules(answer: Answer, decision: Any, rules: dict[str, Any]) -> None:
    by = Comparer(Compare.model_validate({"decision": decision, "fields": rules}))
    if decision is None and answer.document is MISSING:
        return
    result = by.compare(answer, answer)
    assert result.differences == ()
    assert result.verdict in (MATCHED, INCOMPARABLE)
    assert (result.verdict is INCOMPARABLE) == (decision is not None and by.decide(answer) is MISSING)


@given(ANSWERS, ANSWERS, DECISION, RULES)
def test_without_tolerance_nothing_depends_on_who_is_who(
    one: Answer, other: Answer, decision: Any, rules: dict[str, Any]
) -> None:
    rules = {name: rule for name, rule in rules.items() if name != "tolerance"}
    by = Comparer(Compare.model_validate({"decision": decision, "fields": rules}))
    assert by.compare(one, other).verdict is by.compare(other, one).verdict


@given(JSON, JSON, DECISION, RULES)
def test_decisions_are_judged_by_themselves_as_within_their_answers(
    one: Any, other: Any, decision: Any, rules: dict[str, Any]
) -> None:
    by = Comparer(Compare.model_validate({"decision": decision, "fields": rules}))
    if decision is not None:
        answers = Answer(one, 200), Answer(other, 200)
        assert by.compare(*answers).verdict is by.judge(*map(by.decide, answers))
