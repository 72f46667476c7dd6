"""YAML text in, a tree with lines out."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config import source
from proxy.config.source import find, format_path, line_of, parse, plain
from proxy.model.errors import ConfigError


def read(text: str) -> object:
    return plain(parse(text, "c.yaml"))


def refused(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(text, "c.yaml")
    return str(caught.value)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("off", "off"),
        ("on", "on"),
        ("yes", "yes"),
        ("No", "No"),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("null", None),
        ("503", 503),
        ("-7", -7),
        ("0123", 123),
        ("0o17", 15),
        ("0x1F", 31),
        ("0.6", 0.6),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("-.inf", float("-inf")),
        ("+.Inf", float("inf")),
        ("5xx", "5xx"),
        ("1_000", "1_000"),
        ("12:30", "12:30"),
        ("2026-11-22", "2026-11-22"),
        ('"503"', "503"),
        ("'true'", "true"),
        ("9" * 20, "9" * 20),
        ("[1, [two]]", [1, ["two"]]),
        ("{}", {}),
    ],
)
def test_scalars_are_yaml_1_2_core(written: str, value: object) -> None:
    assert read(f"key: {written}") == {"key": value}


def test_keys_are_always_text() -> None:
    assert read("{on: 1, 503: 2, true: 3, ~: 4}") == {"on": 1, "503": 2, "true": 3, "~": 4}


def test_each_key_and_item_has_its_line() -> None:
    root = parse("a: 1\nb:\n  - x\n  - c: 2\n    d:\n      3\n", "c.yaml")
    assert line_of(root, ("a",)) == 1
    assert line_of(root, ("b",)) == 2
    assert line_of(root, ("b", 0)) == 3
    assert line_of(root, ("b", 1)) == 4
    assert line_of(root, ("b", 1, "d")) == 5


def test_what_is_not_there_has_the_line_of_its_nearest_ancestor() -> None:
    root = parse("a:\n  b:\n    c: 1\n", "c.yaml")
    assert line_of(root, ("a", "b", "missing", 0)) == 2
    assert line_of(root, ("a", "b", "c", "below a scalar")) == 3
    assert line_of(root, ()) == 1
    assert find(root, ("a", "missing")) is None


def test_anchors_stand_for_what_they_name() -> None:
    assert read("a: &x {t: 1}\nb: *x\nc: [*x, *x]") == {"a": {"t": 1}, "b": {"t": 1}, "c": [{"t": 1}, {"t": 1}]}


def test_merged_keys_yield_to_those_beside_them_and_keep_their_lines() -> None:
    root = parse("a: &x {t: 1, u: 2}\nb:\n  <<: *x\n  t: 3\n", "c.yaml")
    assert plain(root) == {"a": {"t": 1, "u": 2}, "b": {"t": 3, "u": 2}}
    assert line_of(root, ("b", "t")) == 4
    assert line_of(root, ("b", "u")) == 1


def test_of_several_merged_mappings_the_first_wins() -> None:
    assert read("a: &x {t: 1}\nb: &y {t: 2, u: 2}\nc: {<<: [*x, *y]}") == {
        "a": {"t": 1}, "b": {"t": 2, "u": 2}, "c": {"t": 1, "u": 2},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("a: 1\nb: 2\na: 3\n", "c.yaml:3: the key 'a' appears twice (first on line 1); keep one"),
        ("a: {b: 1,\n  b: 2}", "c.yaml:2: the key 'b' appears twice (first on line 1); keep one"),
        ("a: &x {}\nb:\n  <<: *x\n  <<: *x", "c.yaml:4: the key '<<' appears twice; keep one"),
        ("a: &x 1\nb: {<<: *x}", "c.yaml:2: << must name a mapping, or a list of them"),
        ("a: *nowhere", "c.yaml:1: *nowhere names no anchor above it"),
        ("a: &x [*x]", "c.yaml:1: *x names no anchor above it"),
        ("a: 1\n---\nb: 2", "c.yaml:2: starts a second document; one file holds one"),
        ("a: !!python/object:os.system x", "tags are not used here, leave it out"),
        ("a: !secret x", "c.yaml:1: has the tag !secret; tags are not used here, leave it out"),
        ("? [a]\n: 1", "c.yaml:1: a key must be text"),
        ("- a\n- b", "c.yaml:1: must be a mapping of keys, such as `routes:`"),
        ("just text", "c.yaml:1: must be a mapping of keys, such as `routes:`"),
        ("", "c.yaml: is empty"),
        ("# only a comment\n", "c.yaml: is empty"),
        ("a: 1\nb: [1, 2", "c.yaml:2: is no YAML: while parsing a flow sequence, expected ',' or ']'"),
        ("a: b: c", "c.yaml:1: is no YAML: mapping values are not allowed here"),
        ("a:\n\t- b", "c.yaml:2: is no YAML: while scanning for the next token, found character '\\t'"),
        ("a: 'x", "is no YAML: while scanning a quoted scalar, found unexpected end of stream"),
        ("a: 1\nb: \x00", "c.yaml:2: holds a character that YAML does not allow"),
        ("a: 1\nb: [${X}]", "c.yaml:2: is no YAML: within [ ] and { } a reference such as ${VAR} must stand in quotes"),
        ("%YAML 3.0\n---\na: 1", "c.yaml:1: is no YAML: found incompatible YAML document"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_line(text: str, error: str) -> None:
    assert error in refused(text)
    assert refused(text).startswith("c.yaml:")


def test_a_long_text_is_refused_before_it_is_parsed() -> None:
    assert refused("a: " + "x" * source.MAX_TEXT) == (
        "c.yaml: is longer than 1048576 characters, the most a configuration may have"
    )


def test_depth_is_bounded() -> None:
    fits = "a: " + "[" * (source.MAX_DEPTH - 1) + "]" * (source.MAX_DEPTH - 1)
    assert parse(fits, "c.yaml").size == source.MAX_DEPTH + 1
    assert refused("a: " + "[" * source.MAX_DEPTH) == "c.yaml:1: is nested more than 32 levels deep"
    assert refused("{a: " * 100_000) == "c.yaml:1: is nested more than 32 levels deep"


def test_anchors_cannot_make_the_tree_explode() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    assert refused("\n".join(lines)) == "c.yaml:5: makes more than 50000 values, counting each use of an anchor"


def test_merging_cannot_make_the_tree_explode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "MAX_NODES", 100)
    large = ", ".join(f"k{n}: 1" for n in range(20))
    text = f"a: &a {{{large}}}\nb: [" + ",\n".join(["{<<: *a}"] * 100) + "]"
    assert refused(text) == "c.yaml:2: makes more than 100 values, counting each use of an anchor"


@pytest.mark.parametrize("value", ["x", "[]", "{}", "''"])
def test_the_size_of_the_tree_is_bounded(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "MAX_NODES", 100)
    parse("a: [" + f"{value}, " * 98 + "]", "c.yaml")  # and the mapping and the list themselves
    assert refused("a: [" + f"{value}, " * 99 + "]").startswith("c.yaml:1: makes more than 100 values")


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ((), ""),
        (("routes", 0, "rollout", "stages", 2, "weight"), "routes[0].rollout.stages[2].weight"),
        (("match", "headers", "x-tenant"), "match.headers.x-tenant"),
        (("tolerance", "$.amount"), 'tolerance["$.amount"]'),
        (("503",), '["503"]'),
    ],
)
def test_a_path_is_written_as_in_an_expression(path: tuple[str | int, ...], text: str) -> None:
    assert format_path(path) == text


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused_with_a_line_fit_for_an_operator(text: str) -> None:
    try:
        root = parse(text, "c.yaml")
    except ConfigError as error:
        assert re.match(r"c\.yaml(:\d+)?: \S", str(error))
        assert "\n" not in str(error)
    else:
        assert isinstance(plain(root), dict)
