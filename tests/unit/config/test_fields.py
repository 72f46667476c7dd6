"""What sections are made of: shapes of text, JSON paths, addresses."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from proxy.config.fields import Address, HeaderName, HeaderValue, JsonPath, Method, Name, parse_address
from proxy.config.units import UnfitError

HAS: dict[str, tuple[Any, list[str], list[str]]] = {
    "name": (Name, ["a", "refunds-1", "a_b", "0", "a" * 64], ["", "A", "-a", "a-", "a.b", "ä", "a b", "a\n", "a" * 65]),
    "header": (HeaderName, ["x-user-id", "X_Y", "~"], ["", "a b", "a:", "a\r\n", "ä", "(", "a" * 257]),
    "value": (HeaderValue, ["", "a b\tc", "~"], ["a\r\nb: c", "a\n", "\x00", "\x7f", "ä"]),
    "method": (Method, ["GET", "M-SEARCH"], ["", "get", "GET ", "G" * 33, "-"]),
    "path": (JsonPath, ["$", "$.a.b[0]"], ["", "a", "$.", "$.a[", "$.a | $.b", "$.a & $.b", "$.#a", "$.a\n"]),
}


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, (_, good, _) in HAS.items() for text in good])
def test_text_of_the_right_shape(kind: str, text: str) -> None:
    assert TypeAdapter(HAS[kind][0]).validate_python(text) == text


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, (_, _, bad) in HAS.items() for text in bad])
def test_text_of_another_shape(kind: str, text: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(HAS[kind][0]).validate_python(text)


@pytest.mark.parametrize(
    ("written", "address"),
    [
        ("0.0.0.0:8080", Address("0.0.0.0", 8080)),
        (":8080", Address("0.0.0.0", 8080)),
        ("[::]:8080", Address("::", 8080)),
        ("[fe80::1]:0", Address("fe80::1", 0)),
        ("localhost:65535", Address("localhost", 65535)),
    ],
)
def test_addresses(written: str, address: Address) -> None:
    assert parse_address(written) == address
    assert parse_address(str(address)) == address


@pytest.mark.parametrize(
    "written", ["8080", "a", "a:", "a:-1", "a:65536", "a:0x50", "::1:8080", "[::1]", "a b:80", "a:80/", "", 8080, None]
)
def test_what_is_no_address(written: object) -> None:
    with pytest.raises(UnfitError, match="is no address; write host:port"):
        parse_address(written)
