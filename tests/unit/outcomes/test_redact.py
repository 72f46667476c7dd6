"""Nothing secret is kept: by name in JSON, in cut-off JSON, in forms and other text; by look anywhere."""

import gzip
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.outcomes.body import MAX_DEPTH, read
from proxy.outcomes.redact import MASK, Redactor, look

REDACTOR = Redactor(["password", "api_key", "token", "credentials"])
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"


def kept(data: bytes, *, truncated: bool = False) -> Any:
    return REDACTOR.body(read(data, truncated))


@pytest.mark.parametrize(
    "name", ["password", "Password", "PASSWORD", "pass_word", "pass-word", "api_key", "apiKey", "API-KEY"]
)
def test_a_name_hides_its_value_in_any_spelling(name: str) -> None:
    assert kept(orjson.dumps({name: "hunter2", "amount": 5})) == {name: MASK, "amount": 5}


@pytest.mark.parametrize("name", ["passwords", "user_password", "key", "tokens", ""])
def test_other_names_hide_nothing(name: str) -> None:
    assert kept(orjson.dumps({name: "visible"})) == {name: "visible"}


@pytest.mark.parametrize("value", ["hunter2", 1234, True, None, ["a", "b"], {"user": "ann", "pin": 1}])
def test_a_name_hides_whatever_it_holds(value: Any) -> None:
    assert kept(orjson.dumps({"a": [{"credentials": value}]})) == {"a": [{"credentials": MASK}]}


def test_what_came_in_is_not_changed() -> None:
    document = {"a": {"password": "hunter2"}}
    assert REDACTOR.value(document) == {"a": {"password": MASK}}
    assert document == {"a": {"password": "hunter2"}}


def test_a_document_within_a_string_is_masked_too() -> None:
    inner = orjson.dumps({"password": "hunter2", "n": 1}).decode()
    assert kept(orjson.dumps({"Message": inner})) == {"Message": f'{{"password":"{MASK}","n":1}}'}
    assert kept(orjson.dumps({"Message": f" \n{inner}"})) == {"Message": f'{{"password":"{MASK}","n":1}}'}
    twice = orjson.dumps([inner]).decode()
    assert "hunter2" not in str(kept(orjson.dumps({"Message": twice})))


def test_a_url_or_a_form_within_a_string_is_masked_too() -> None:
    document = {"callback": "https://x.example/?token=abc&n=1", "form": ["password=abc"], "sum": "1+1=2"}
    assert kept(orjson.dumps(document)) == {
        "callback": f"https://x.example/?token={MASK}&n=1",
        "form": [f"password={MASK}"],
        "sum": "1+1=2",
    }


def test_a_string_that_only_looks_like_a_document_stays() -> None:
    for text in ("{curly}", "[1, 2", '{"n": 1}', "{}"):
        assert kept(orjson.dumps({"note": text})) == {"note": text}


@pytest.mark.parametrize(
    "text",
    [
        JWT,
        f"Bearer {JWT}",
        "bearer 8f14e45fceea167a",
        "Authorization: Basic dXNlcjpwYXNzd29yZA==",
        f"see {JWT}, please",
    ],
)
def test_what_looks_like_a_credential_is_masked_in_every_text(text: str) -> None:
    for masked in (look(text), REDACTOR.text(text), str(kept(orjson.dumps({"note": [text]})))):
        assert MASK in masked
        assert not any(secret in masked for secret in ("eyJ", "8f14e", "dXNlc"))


def test_an_escaped_credential_is_found_too() -> None:
    assert "eyJ" not in str(kept(b'{"note": "' + JWT.replace("eyJ", "\\u0065yJ").encode() + b'"}'))


@pytest.mark.parametrize("space", [" ", "\t", "\n", "\x1f", "\x85", "\xa0", "\u1680", "\u2003", "\u3000"])
def test_a_credential_is_found_after_any_kind_of_space(space: str) -> None:
    assert "8f14e" not in str(kept(orjson.dumps({"note": f"bearer{space}8f14e45fceea167a"})))


@pytest.mark.parametrize("space", ["", " ", "\t", "\n", "\r"])
def test_a_document_within_a_string_is_found_after_any_space_of_json(space: str) -> None:
    assert "hunter2" not in str(kept(orjson.dumps({"note": f'{space}{{"password":"hunter2"}}'})))


@pytest.mark.parametrize(
    "text", ["the bearer delivered it", "Basic questions remain", "eyJ", "eyJust.a.note", "a bearer of good tidings"]
)
def test_prose_stays(text: str) -> None:
    assert REDACTOR.text(text) == text


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("user=ann&password=hunter2&n=1", f"user=ann&password={MASK}&n=1"),
        ("password=hunter2", f"password={MASK}"),
        ("user[password]=hunter2&n=1", f"user[password]={MASK}&n=1"),
        ("user%5Bpassword%5D=hunter2&n=1", f"user%5Bpassword%5D={MASK}&n=1"),
        ("password=a&password=b", f"password={MASK}&password={MASK}"),
        ("password=&n=1", f"password={MASK}&n=1"),
        ("api-key: s3cr3t\nn: 1", f"api-key: {MASK}\nn: 1"),
        ("token: a b c\r\nn: 1", f"token: {MASK}\r\nn: 1"),
        ('<login password="hunter2" n="1"/>', f'<login password={MASK} n="1"/>'),
        ("<s:Password>hunter2</s:Password><n>1</n>", f"<s:Password>{MASK}</s:Password><n>1</n>"),
        ('<password type="text">hunter2</password>', f'<password type="text">{MASK}</password>'),
        ("<credentials><a>x</a></credentials>", f"<credentials>{MASK}</credentials>"),
        ("<password>hunter2", f"<password>{MASK}"),
        ("<password/><n>1</n>", "<password/><n>1</n>"),
        (
            '--b\r\nContent-Disposition: form-data; name="password"\r\n\r\nhunter2\r\n--b--',
            f'--b\r\nContent-Disposition: form-data; name="password"\r\n\r\n{MASK}\r\n--b--',
        ),
        (
            '--b\r\ncontent-disposition: form-data; name="token"; filename="t"\r\nx: y\r\n\r\nhun\r\nter\r\n--b',
            f'--b\r\ncontent-disposition: form-data; name="token"; filename="t"\r\nx: y\r\n\r\n{MASK}\r\n--b',
        ),
        ("name=ann&note=my+password+is+fine", "name=ann&note=my+password+is+fine"),
        ("x == password", "x == password"),
    ],
)
def test_names_are_found_in_other_text(text: str, masked: str) -> None:
    assert kept(text.encode()) == masked


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ('{"password": "hun\\"ter2", "n": 1, "m', f'{{"password": {MASK}, "n": 1, "m'),
        ('{"password":"hunter2', f'{{"password":{MASK}'),
        ('{"password":"hunter2\\', f'{{"password":{MASK}'),
        ('{"token": 12345, "n": 1', f'{{"token": {MASK}, "n": 1'),
        ('{"token": null, "n": 1', f'{{"token": {MASK}, "n": 1'),
        ('{"token": 12', f'{{"token": {MASK}'),
        ('{"credentials": {"user": "ann", "pin": 1}, "n": 1', f'{{"credentials": {MASK}'),
        ('{"credentials": ["ann"], "n": 1', f'{{"credentials": {MASK}'),
        ('{"a": 1, "password"', '{"a": 1, "password"'),
        ('{"a": 1, "password":', f'{{"a": 1, "password":{MASK}'),
    ],
)
def test_names_are_found_in_json_that_was_cut_off(text: str, masked: str) -> None:
    assert kept(text.encode(), truncated=True) == masked


SECRET = "hunter2-Zq9"
DOCUMENT = orjson.dumps(
    {
        "id": 1,
        "user": {"name": 'a "b" \\', "password": SECRET, "api_key": [SECRET, {"x": SECRET}]},
        "lines": [{"token": {"deep": [SECRET]}, "n": None}, {"Token": SECRET, "n": 2.5}],
        "note": f"Bearer {JWT}",
    }
)


@pytest.mark.parametrize("option", [0, orjson.OPT_INDENT_2])
def test_wherever_a_document_is_cut_its_secrets_are_not_in_the_beginning(option: int) -> None:
    data = orjson.dumps(orjson.loads(DOCUMENT), option=option)
    for length in range(1, len(data) + 1):
        assert SECRET[:3] not in kept(data[:length], truncated=True)


def test_a_secret_in_a_document_too_deep_is_masked_as_text() -> None:
    data = b'{"a":' * (MAX_DEPTH + 9) + b'{"password": "hunter2"}' + b"}" * (MAX_DEPTH + 9)
    assert "hunter2" not in kept(data)


def test_a_compressed_body_is_kept_unpacked_and_masked() -> None:
    assert kept(gzip.compress(b'{"password": "hunter2"}')) == {"password": MASK}


def test_of_bytes_that_are_no_text_only_the_size_is_kept() -> None:
    assert kept(b"\xff\xfe password=hunter2") == {"omitted": "not text, so it cannot be masked", "bytes": 19}


def test_no_body_is_none() -> None:
    assert kept(b"") is None
    assert REDACTOR.body(read(None, truncated=False)) is None


def test_headers_never_hold_credentials_even_where_they_are_allowed() -> None:
    headers = [
        ("content-type", "application/json"),
        ("authorization", "Bearer abc"),
        ("cookie", "session=abc"),
        ("set-cookie", "session=abc"),
        ("x-api-key", "abc"),
        ("x-auth", "abc"),
        ("x-amz-security-token", "abc"),
        ("proxy-authorization", "abc"),
        ("password", "abc"),
        ("x-note", f"jwt {JWT}"),
        ("x-author", "ann"),
        ("accept", "a/b"),
        ("accept", "c/d"),
    ]
    shown = REDACTOR.headers(headers)
    assert "abc" not in str(shown)
    assert shown["x-note"] == f"jwt {MASK}"
    assert (shown["content-type"], shown["x-author"], shown["accept"]) == ("application/json", "ann", "a/b, c/d")
    assert shown["authorization"] == MASK


def test_without_names_only_the_look_counts() -> None:
    bare = Redactor([])
    assert bare.body(read(orjson.dumps({"password": "x", "note": JWT}), truncated=False)) == {
        "password": "x",
        "note": MASK,
    }


NAMES = st.sampled_from(["password", "Api-Key", "TOKEN", "a", "b", "c"])
VALUES = st.recursive(
    st.none() | st.integers(-9, 9) | st.sampled_from(["visible", SECRET[:1]]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=15,
)


def hidden(value: Any, secret: bool = False) -> Any:
    """Every leaf under a hidden name becomes the secret."""
    if isinstance(value, dict):
        return {name: hidden(item, secret or REDACTOR.hides(name)) for name, item in value.items()}
    if isinstance(value, list):
        return [hidden(item, secret) for item in value]
    return SECRET if secret else value


@given(VALUES)
def test_no_secret_of_any_document_is_kept_and_nothing_else_is_lost(document: Any) -> None:
    assert SECRET not in orjson.dumps(REDACTOR.value(hidden(document))).decode()
    assert REDACTOR.value(document) == REDACTOR.value(hidden(document))
    assert REDACTOR.value(REDACTOR.value(document)) == REDACTOR.value(document)


@given(st.text(max_size=300))
def test_any_text_can_be_masked(text: str) -> None:
    assert isinstance(REDACTOR.text(text), str)


def test_hostile_text_is_masked_in_linear_time() -> None:
    # Each would take minutes with a pattern that backtracks; the test's timeout is the measure.
    units = [
        "a ",
        "<a ",
        'name="',
        "password",
        '"password":',
        "bearer ",
        "bearer a",
        "eyJ.",
        "eyJaaaaaa-",
        "eyJaaaaaa.",
    ]
    for unit in (
        *units,
        "a:",
        "-",
        "\\",
        '"',
        "=",
        "\r\n",
        "password=1 ",
        "<password>",
        'name="password"\r\n',
        "a=%5B",
    ):
        assert isinstance(REDACTOR.text(unit * (65_536 // len(unit))), str)
