from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.config.record_schema import Record as RecordRules
from proxy.config.rollout_schema import Rollout
from proxy.model.records import Outcome, Record
from proxy.outcomes import body
from proxy.outcomes.body import Body
from proxy.outcomes.choosing import DROPPED, UNFIT, Chooser
from proxy.outcomes.compare import Difference
from proxy.outcomes.decision import MISSING, path_text
from proxy.outcomes.pairing import Pair, make_pair, rules


def chooser(**paths: list[str]) -> Chooser:
    return Chooser(RecordRules.model_validate(paths), "s")


def left(document: Any, **paths: list[str]) -> Any:
    return left_by(chooser(**paths), document)


def left_by(compiled: Chooser, document: Any) -> Any:
    kept = compiled.body(body.read(orjson.dumps(document), truncated=False))
    return kept.value if isinstance(kept, Body) else kept


PERSON = {"id": 7, "customer": {"name": "Jane", "mail": "j@x"}, "items": [{"sku": 1, "to": "Jane"}, {"sku": 2}]}


@pytest.mark.parametrize(
    ("paths", "kept"),
    [
        ({"drop": ["$.customer"]}, {"id": 7, "items": [{"sku": 1, "to": "Jane"}, {"sku": 2}]}),
        ({"drop": ["$.customer.name"]}, {**PERSON, "customer": {"mail": "j@x"}}),
        ({"drop": ["$.items[*].to"]}, {**PERSON, "items": [{"sku": 1}, {"sku": 2}]}),
        ({"drop": ["$.items[0]"]}, {**PERSON, "items": [{"sku": 2}]}),
        ({"drop": ["$.items[-1]"]}, {**PERSON, "items": [{"sku": 1, "to": "Jane"}]}),
        ({"drop": ["$.items[?@.sku == 1].to"]}, {**PERSON, "items": [{"sku": 1}, {"sku": 2}]}),
        ({"drop": ["$..name", "$..to"]}, {"id": 7, "customer": {"mail": "j@x"}, "items": [{"sku": 1}, {"sku": 2}]}),
        ({"mask": ["$.customer"]}, {**PERSON, "customer": "[redacted]"}),
        ({"mask": ["$.*"]}, {"id": "[redacted]", "customer": "[redacted]", "items": "[redacted]"}),
        ({"mask": ["$.nothing.there", "$.id.deeper", "$.items.name"]}, PERSON),
        ({"mask": ["$.customer"], "drop": ["$.customer.name"]}, {**PERSON, "customer": "[redacted]"}),
        ({"mask": ["$.customer.name"], "drop": ["$.customer.name"]}, {**PERSON, "customer": {"mail": "j@x"}}),
        ({"hash": ["$.id"], "mask": ["$.*"]}, {"id": "[redacted]", "customer": "[redacted]", "items": "[redacted]"}),
        ({"mask": ["$"]}, "[redacted]"),
        ({}, PERSON),
    ],
)
def test_what_is_left_of_a_body(paths: dict[str, list[str]], kept: Any) -> None:
    before = orjson.dumps(PERSON)
    assert left(PERSON, **paths) == kept
    assert orjson.dumps(PERSON) == before


def test_a_body_that_is_dropped_whole_says_so() -> None:
    assert left(PERSON, drop=["$"]) == {"omitted": DROPPED, "bytes": len(orjson.dumps(PERSON))}


@pytest.mark.parametrize("data", [b"name=Jane", b'{"name": "Jane"', b"\xff\xfe", b'{"name": "Ja'])
@pytest.mark.parametrize("truncated", [False, True])
def test_what_paths_cannot_be_applied_to_is_not_kept(data: bytes, truncated: bool) -> None:
    content = body.read(data, truncated)
    assert chooser(mask=["$.name"]).body(content) == {"omitted": UNFIT, "bytes": len(data)}
    assert chooser().body(content) is content


def test_no_body_is_none() -> None:
    assert chooser(mask=["$.name"]).body(body.NO_BODY) is body.NO_BODY


def test_a_hash_is_the_same_for_the_same_value_of_one_route_and_tells_types_apart() -> None:
    kept = left({"a": "Jane", "b": "Jane", "c": "jane", "d": [1, 1.0, "1", True]}, hash=["$.a", "$.b", "$.c", "$.d[*]"])
    assert kept["a"] == kept["b"] != kept["c"]
    assert kept["a"].startswith("hash:")
    assert len(kept["a"]) == len("hash:") + 32
    one, same, text, true = kept["d"]
    assert one == same
    assert len({one, text, true}) == 3
    another = Chooser(RecordRules.model_validate({"hash": ["$.a"]}), "another salt")
    assert left_by(another, {"a": "Jane"})["a"] != kept["a"]


def test_a_hash_of_an_object_does_not_go_by_the_order_of_its_members() -> None:
    kept = left({"a": {"x": 1, "y": 2}, "b": {"y": 2, "x": 1.0}}, hash=["$.a", "$.b"])
    assert kept["a"] == kept["b"]


def differences(legacy: Any, agent: Any, *found: Difference, **paths: list[str]) -> list[tuple[str, Any, Any]]:
    return [
        (path_text(each.place), each.legacy, each.agent) for each in chooser(**paths).differences(found, legacy, agent)
    ]


LEGACY, AGENT = {"who": {"Jane": 1}, "n": 1}, {"who": {"Joan": 1}, "n": 2}
WHO = (Difference(("who", "Jane"), 1, MISSING), Difference(("who", "Joan"), MISSING, 1), Difference(("n",), 1, 2))


def test_differences_below_a_dropped_place_are_left_out() -> None:
    assert differences(LEGACY, AGENT, *WHO, drop=["$.who"]) == [("$.n", 1, 2)]


def test_differences_below_a_masked_place_are_one_at_that_place() -> None:
    assert differences(LEGACY, AGENT, *WHO, mask=["$.who"]) == [
        ("$.who", "[redacted]", "[redacted]"),
        ("$.n", 1, 2),
    ]


def test_differences_below_a_hashed_place_show_the_two_hashes_that_the_bodies_have() -> None:
    (path, ours, theirs), _ = differences(LEGACY, AGENT, *WHO, hash=["$.who"])
    assert path == "$.who"
    assert (ours, theirs) == (left(LEGACY, hash=["$.who"])["who"], left(AGENT, hash=["$.who"])["who"])
    assert ours != theirs


def test_a_difference_above_a_place_holds_nothing_of_it() -> None:
    found = Difference(("who",), {"name": "Jane", "n": 1}, MISSING)
    assert differences({"who": found.legacy}, {}, found, drop=["$.who.name"]) == [("$.who", {"n": 1}, MISSING)]


def test_a_place_that_only_one_document_has_by_a_search_is_hidden_in_both() -> None:
    legacy, agent = {"items": [{"private": True, "name": "Jane"}]}, {"items": [{"private": False, "name": "Joan"}]}
    found = Difference(("items", 0, "name"), "Jane", "Joan")
    paths = {"mask": ["$.items[?@.private == true].name"]}
    assert differences(legacy, agent, found, **paths) == [("$.items[0].name", "[redacted]", "[redacted]")]


@pytest.mark.parametrize(
    ("path", "covered"),
    [("$.a", True), ("$.a.b", True), ("$.b[0].c", True), ("$.b", True), ("$.c", False), ("$.*", True), ("$..x", True)],
)
def test_what_a_path_finds_may_be_covered(path: str, covered: bool) -> None:
    assert chooser(mask=["$.a", "$.b[*].c"]).covers(path) is covered
    assert chooser().covers(path) is False


# Through the making of pairs


def pair(record: dict[str, Any], request: Any, *answers: Any) -> Pair:
    """Of the answers of legacy, the agent, and the agent again."""
    rollout = Rollout.model_validate(
        {
            "agent": "a", "version": "v1", "salt": "s", "record": record, "compare": {"decision": "$.decision"},
            "gates": {"segments": {"by": "$.segment"}, "direction": {"yes": ["approve"]}},
        }
    )  # fmt: skip
    outcomes = [Outcome(200, 0.01, body=orjson.dumps(document)) for document in answers]
    made = Record(
        "r1", "0" * 32, "refunds", "v1", "canary", 1, 1e9, "POST", "/refunds", "abcd", 7, "legacy", "shadow",
        "bucket_out", "mirrored", body=orjson.dumps(request), legacy=outcomes[0], agent=outcomes[1],
        repeat=outcomes[2],
    )  # fmt: skip
    return make_pair(made, rules(rollout))


def kept_text(made: Pair) -> str:
    """All that leaves for the store: the document, and what it is counted under."""
    return repr((orjson.dumps(made.document), made.segment, made.direction, made.decisions, made.fields))


def test_a_hidden_decision_and_segment_are_no_labels() -> None:
    documents = [{"decision": word, "segment": "SECRET-S"} for word in ("SECRET-1", "SECRET-2", "SECRET-3")]
    for setting in ("drop", "mask", "hash"):
        made = pair({setting: ["$.decision", "$.segment"]}, {"segment": "SECRET-S"}, *documents)
        assert "SECRET" not in kept_text(made), setting
        assert made.verdict == "mismatched"  # the true values were compared


def test_a_confidence_that_is_hidden_is_told_by_no_reason() -> None:
    rollout = Rollout.model_validate(
        {
            "agent": "a", "version": "v1", "salt": "s", "record": {"drop": ["$.sure"]},
            "escalate": {"confidence": {"path": "$.sure", "below": 0.9}},
        }
    )  # fmt: skip
    made = Record(
        "r1", "0" * 32, "refunds", "v1", "canary", 1, 1e9, "POST", "/refunds", "abcd", 7, "legacy", "canary",
        "bucket_in", "not_mirrored", agent=Outcome(200, 0.01, body=b'{"sure":0.123}'),
        escalation=("e1", "confidence 0.123"),
    )  # fmt: skip
    assert "0.123" not in kept_text(make_pair(made, rules(rollout)))


_NAMES = st.sampled_from(["a", "b", "who", "items", "decision", "segment"])


def _documents(depth: int = 3) -> st.SearchStrategy[Any]:
    """Documents whose texts, and some of whose members' names, are secrets that are found again."""
    leaf = st.integers(0, 10**6).map(lambda number: f"SECRET{number:06}X") | st.integers(0, 3)
    if not depth:
        return leaf
    below = _documents(depth - 1)
    named = st.dictionaries(_NAMES | st.integers(0, 99).map(lambda n: f"SECRET{n:06}N"), below, max_size=4)
    return leaf | named | st.lists(below, max_size=3)


_OBJECTS = st.dictionaries(_NAMES, _documents(), min_size=1, max_size=5)
_PATHS = st.lists(
    _NAMES.map(lambda name: f".{name}") | st.sampled_from(["[*]", "[0]", "..who", "[?@.a]"]), min_size=1, max_size=3
)


def _secrets(value: Any) -> set[str]:
    found = set()
    for text in orjson.dumps(value).decode().split("SECRET")[1:]:
        found.add(text[:7])
    return found


@settings(max_examples=300, deadline=None)
@given(
    st.lists(_OBJECTS, min_size=4, max_size=4),
    st.dictionaries(st.sampled_from(["drop", "mask", "hash"]), st.lists(_PATHS, min_size=1, max_size=2), min_size=1),
)
def test_nothing_that_a_path_covers_is_anywhere_in_what_is_kept(
    documents: list[Any], paths: dict[str, list[list[str]]]
) -> None:
    record = {setting: ["$" + "".join(path) for path in each] for setting, each in paths.items()}
    given_paths = [path for each in record.values() for path in each]
    covering = chooser(mask=given_paths)
    kept = kept_text(pair(record, *documents))
    hidden: set[str] = set()
    open_: set[str] = set()
    for document in documents:
        content = covering.body(body.read(orjson.dumps(document), truncated=False))
        rest = _secrets(content.value if isinstance(content, Body) else None)
        open_ |= rest
        hidden |= _secrets(document) - rest
    # The same text may stand where no path leads.
    assert not [secret for secret in hidden - open_ if f"SECRET{secret}" in kept]
