"""References in text, filled in from an environment and files that are arguments."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config import interpolate as module
from proxy.config.interpolate import Problem, files_in, interpolate
from proxy.config.source import line_of, parse, plain

FILES = {"/run/secrets/token": "s3cret\n", "/run/secrets/crlf": "s3cret\r\n", "/run/secrets/two": "a\nb\n\n"}


def read_file(path: str) -> str:
    if path == "/binary":
        return b"\xffs3cret".decode()
    if path not in FILES:
        raise FileNotFoundError(2, "No such file or directory", path)
    return FILES[path]


def fill(value: str, environment: Mapping[str, str]) -> object:
    filled, problems = interpolate(parse(f"key: {value}", "c.yaml"), environment, read_file)
    assert problems == []
    document = plain(filled)
    assert isinstance(document, dict)
    return document["key"]


def problem(value: str, environment: Mapping[str, str]) -> str:
    filled, problems = interpolate(parse(f"key: {value}", "c.yaml"), environment, read_file)
    assert plain(filled) == plain(parse(f"key: {value}", "c.yaml")), "what cannot be filled in is left as it is"
    ((path, sentence),) = problems
    assert path == ("key",)
    return sentence


@pytest.mark.parametrize(
    ("written", "environment", "value"),
    [
        ("${NAME}", {"NAME": "agent"}, "agent"),
        ("${NAME}", {"NAME": ""}, ""),
        ('"Bearer ${TOKEN}"', {"TOKEN": "t"}, "Bearer t"),
        ("${A}-${B}", {"A": "1", "B": "2"}, "1-2"),
        ("${NAME:-agent}", {}, "agent"),
        ("${NAME:-agent}", {"NAME": ""}, "agent"),
        ("${NAME:-agent}", {"NAME": "other"}, "other"),
        ("${NAME:-}", {}, ""),
        ("${NAME:-a:-b}", {}, "a:-b"),
        ("${file:/run/secrets/token}", {}, "s3cret"),
        ("${file:/run/secrets/crlf}", {}, "s3cret"),
        ("${file:/run/secrets/two}", {}, "a\nb\n"),
        ("$${NAME}", {"NAME": "agent"}, "${NAME}"),
        ("$$${NAME}", {"NAME": "agent"}, "$${NAME}"),
        ("$.decision", {}, "$.decision"),
        ("$NAME $$ $", {"NAME": "agent"}, "$NAME $$ $"),
    ],
)
def test_references(written: str, environment: dict[str, str], value: str) -> None:
    assert fill(written, environment) == value


@pytest.mark.parametrize("held", ["4", "0123", "true", "null", "~", "1e3", "", "[a]"])
@pytest.mark.parametrize("written", ["${X}", '"${X}"'])
def test_what_a_reference_stands_for_is_text_and_never_guessed_at(written: str, held: str) -> None:
    assert fill(written, {"X": held}) == held


def test_what_a_reference_stands_for_is_not_looked_at_again() -> None:
    assert fill("${A}", {"A": "${B}", "B": "secret"}) == "${B}"


def test_references_are_filled_in_everywhere_but_in_keys() -> None:
    root = parse("a:\n  ${X}: ${X}\nb: [1, '${X}', ['${X}']]\nc: &c ${X}\nd: *c", "c.yaml")
    filled, problems = interpolate(root, {"X": "v"}, read_file)
    assert problems == []
    assert plain(filled) == {"a": {"${X}": "v"}, "b": [1, "v", ["v"]], "c": "v", "d": "v"}
    assert line_of(filled, ("a", "${X}")) == 2


@pytest.mark.parametrize(
    ("written", "sentence"),
    [
        ("${NAME}", "needs the environment variable NAME, which is not set; set it or write ${NAME:-default}"),
        ("${file:/nowhere}", "needs the file /nowhere, which cannot be read: No such file or directory"),
        ("${file:/binary}", "needs the file /binary, which is not text in UTF-8"),
    ],
)
def test_what_is_missing_is_named(written: str, sentence: str) -> None:
    assert problem(written, {}) == sentence


@pytest.mark.parametrize("written", ["${}", "${", "${A", "${A B}", "${1A}", "${A:b}", "${A-b}", "${file:}", "${A${B}}"])
def test_a_malformed_reference_says_what_is_well_formed(written: str) -> None:
    assert problem(f"'{written}'", {"A": "secret", "B": "secret"}) == (
        "holds a malformed reference; write ${VAR}, ${VAR:-default} or ${file:/path}, and $${ for a plain ${"
    )


def test_all_problems_are_found_and_none_shows_a_value() -> None:
    root = parse("a: ${A}\nb: [x, '${SECRET}${B}']\nc: '${SECRET} ${file:/nowhere}'", "c.yaml")
    _, problems = interpolate(root, {"SECRET": "s3cret"}, read_file)
    assert [found.path for found in problems] == [("a",), ("b", 1), ("c",)]
    assert "s3cret" not in repr(problems)


def test_a_value_is_bounded() -> None:
    long = "x" * (module.MAX_VALUE + 1)
    assert fill("${X}", {"X": long[1:]}) == long[1:]
    assert problem("${X}", {"X": long}) == "is longer than 65536 characters once its references are filled in"


def test_files_are_listed_once_each_and_not_read() -> None:
    root = parse("a: ${file:/b} ${file:/a}\nb: [{c: '${file:/b}'}, '$${file:/no}', '${A}']", "c.yaml")
    assert files_in(root) == ("/a", "/b")


@given(st.text(max_size=50))
def test_an_escaped_text_is_itself_again(text: str) -> None:
    filled = module._expand(text.replace("${", "$${"), {}, read_file)
    assert filled == text


def test_a_problem_is_a_path_and_a_sentence() -> None:
    _, problems = interpolate(parse("a: ${A}", "c.yaml"), {}, read_file)
    assert problems == [
        Problem(("a",), "needs the environment variable A, which is not set; set it or write ${A:-default}")
    ]
