"""Values out of documents by path: plain paths, general ones, and paths that are none."""

import time
from typing import Any

import jsonpath
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.outcomes.decision import MISSING, check_path, compile_path, locations, path_text, plain_parts

DOCUMENT = {
    "decision": "approve",
    "amount": 0,
    "nothing": None,
    "refund": {"lines": [{"id": 1, "ok": True}, {"id": 2, "ok": False}], "x-y": "dash", "it's": 1, "": "empty"},
    "0": "zero",
}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("$", DOCUMENT),
        ("$.decision", "approve"),
        ("$['decision']", "approve"),
        ("$.amount", 0),
        ("$.nothing", None),
        ("$.refund.lines[1].id", 2),
        ("$.refund.lines[-1].id", 2),
        ("$.refund['x-y']", "dash"),
        ("$['0']", "zero"),
        ("$..ok", [True, False]),
        ("$.refund.lines[*].id", [1, 2]),
        ("$.refund.lines[?@.ok == true].id", 1),
        ("$.refund.lines[0:1].id", 1),
        ("$.absent", MISSING),
        ("$.decision.deeper", MISSING),
        ("$.decision[0]", MISSING),
        ("$.refund.lines[2]", MISSING),
        ("$.refund.lines.id", MISSING),
        ("$.refund[0]", MISSING),
        ("$[0]", MISSING),
        ("$..absent", MISSING),
        ("$.refund.lines[?@.id > 9]", MISSING),
    ],
)
def test_a_path_finds_its_value(path: str, value: Any) -> None:
    found = compile_path(path)(DOCUMENT)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("document", [None, True, 1, "text", [], {}, [[1]]])
def test_any_document_may_come(document: Any) -> None:
    for path in ("$.a", "$.a.b[0]", "$[0].a", "$..a", "$[?@.a == 1]"):
        assert compile_path(path)(document) is MISSING


@pytest.mark.parametrize(
    "path", ["", "decision", "$.", "$..", "$.a[", "$.a b", "$.1a", "$.a | $.b", "$[?", "$[?length(@)]"]
)
def test_what_is_no_path_is_told_in_one_line(path: str) -> None:
    for function in (check_path, compile_path, plain_parts, locations):
        with pytest.raises(ValueError, match="is no JSONPath") as refused:
            function(path)
        assert "\n" not in str(refused.value)
        assert repr(path) in str(refused.value)


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("$", ()),
        ("$.a['b c'][0].*", ("a", "b c", 0, None)),
        ("$[*].id", (None, "id")),
        ("$.a[-1]", None),
        ("$..a", None),
        ("$.a[0, 1]", None),
        ("$.a[1:]", None),
        ("$.a[?@.b]", None),
    ],
)
def test_plain_parts(path: str, parts: tuple[str | int | None, ...] | None) -> None:
    assert plain_parts(path) == parts


def test_locations_are_places_in_the_document() -> None:
    assert locations("$..ok")(DOCUMENT) == [("refund", "lines", 0, "ok"), ("refund", "lines", 1, "ok")]
    assert locations("$..absent")(DOCUMENT) == []


@given(
    st.lists(
        st.text(st.characters(min_codepoint=0x20, exclude_categories=["Cs"]), max_size=8) | st.integers(0, 99),
        max_size=5,
    ).map(tuple)
)
def test_a_written_place_is_the_path_to_it(place: tuple[str | int, ...]) -> None:
    assert plain_parts(path_text(place)) == place


def test_a_place_is_written_as_an_operator_would() -> None:
    assert path_text(("refund", "lines", 0, "it's", "x-y")) == r"$.refund.lines[0]['it\'s']['x-y']"
    assert path_text(("line\nbreak",)) == r"$['line\u000abreak']"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "id"]), inner, max_size=3),
    max_leaves=12,
)
GENERAL = [
    "$..a", "$..*", "$[?@.a > 1]", "$[?@.a == @.b].id", "$[?length(@.a) > 1]", "$[?match(@.a, @.b)]",
    "$..[?search(@, 'x')]", "$[?count(@.*) > 1]", "$[::-1]", "$[?value(@..a) < $.b]", "$.a[0, 'b', ?@]",
]  # fmt: skip


@given(JSON, st.sampled_from(GENERAL))
def test_no_document_makes_a_general_path_raise(document: Any, path: str) -> None:
    found = compile_path(path)(document)
    assert (found is MISSING) == (not locations(path)(document))


def test_a_search_in_a_document_too_deep_finds_nothing_and_raises_nothing() -> None:
    document: Any = {"a": 1}
    for _ in range(300):
        document = [document]
    assert compile_path("$..a")(document) is MISSING
    assert locations("$..a")(document) == []


@pytest.mark.parametrize("text", ["{", '{"a": 1}'])
def test_a_document_that_is_text_is_not_read_as_json_once_more(text: str) -> None:
    assert compile_path("$..a")(text) is MISSING
    assert locations("$..a")(text) == []


@given(st.recursive(st.none() | st.just("a"), lambda of: st.lists(of) | st.dictionaries(st.sampled_from("ab"), of)))
def test_a_name_anywhere_is_found_as_the_library_finds_it(document: Any) -> None:
    named = jsonpath.JSONPathEnvironment(strict=True).finditer("$..a", document)
    assert locations("$..a")(document) == ([] if isinstance(document, str) else [match.parts for match in named])


def test_a_name_is_found_in_a_large_document_at_once() -> None:
    document: list[Any] = [{} for _ in range(300_000)]
    began = time.process_time()
    assert locations("$..id")(document) == []
    assert time.process_time() - began < 1
