"""What must never be read in a log, and what must stay readable."""

from pathlib import Path
from typing import Any

import pytest

from proxy.telemetry.masking import MASK, MAX_TEXT, mask, mask_text


@pytest.mark.parametrize(
    "name",
    ["authorization", "Proxy-Authorization", "cookie", "set-cookie", "token", "access_token", "CROSSFADE_TOKEN",
     "password", "passwd", "client_secret", "api_key", "x-api-key", "apikey", "private_key", "credentials"],
)  # fmt: skip
def test_fields_of_these_names_are_masked(name: str) -> None:
    assert mask({name: "s3cret"}) == {name: MASK}
    assert mask({"deep": [{name: b"s3cret"}]}) == {"deep": [{name: MASK}]}


@pytest.mark.parametrize(("name", "value"), [("tokens_file", "/etc/t"), ("key_hash", "ab"), ("route", "refunds")])
def test_fields_of_other_names_are_kept(name: str, value: str) -> None:
    assert mask({name: value}) == {name: value}


def test_whether_a_secret_is_set_may_be_read() -> None:
    assert mask({"token": None, "password": True}) == {"token": None, "password": True}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("redis://user:hunter2@cache:6379/0", "redis://***@cache:6379/0"),
        ("redis://:hunter2@cache", "redis://***@cache"),
        ("redis://hunter2@cache", "redis://***@cache"),
        ("redis://:hun@ter2@cache", "redis://***@cache"),
        ("cannot reach rediss://u:p@h:1 or rediss://u:p@i:1", "cannot reach rediss://***@h:1 or rediss://***@i:1"),
        ("http://h/path?user=a@b.c", "http://h/path?user=a@b.c"),
        ("GET /x?page=2&access_token=abc&n=1", "GET /x?page=2&access_token=***&n=1"),
        ("sent Authorization: Bearer abcdef0123456789", "sent Authorization: Bearer ***"),
        ("the bearer of news", "the bearer of news"),
    ],
)
def test_credentials_within_text(text: str, shown: str) -> None:
    assert mask_text(text) == shown


def test_objects_are_read_as_text_and_masked_too() -> None:
    class Url:
        def __str__(self) -> str:
            return "redis://u:hunter2@h"

    assert mask([Url(), Path("/data")]) == ["redis://***@h", "/data"]


def test_text_is_bounded_and_fit_for_utf8() -> None:
    long = mask_text("x" * (MAX_TEXT + 7))
    assert long.endswith("… (7 more characters)")
    assert mask_text("a\udcffb é") == "a\\udcffb é"


def test_nesting_without_end_is_cut() -> None:
    endless: dict[str, Any] = {}
    endless["token"] = endless
    endless["again"] = endless
    assert "again" in mask(endless)
