"""What every section of the configuration is made of: the base model, names, header names, paths, addresses, files."""

import re
from dataclasses import dataclass
from ipaddress import ip_interface
from typing import Annotated, Any, ClassVar, Final, Literal, TypeVar

import jsonpath
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainSerializer,
    PlainValidator,
    WithJsonSchema,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from proxy.config.units import UnfitError

MASK: Final = "***"
"""Stands for a secret wherever a configuration is shown."""


class Section(BaseModel):
    """Frozen, and closed: an unknown key is an error. `not_yet` names keys of the design that this version lacks, each
    with the sentence for whoever writes it."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, use_attribute_docstrings=True)
    not_yet: ClassVar[dict[str, str]] = {}

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Defaults in the units that an operator writes; pydantic would print the Python values."""
        document = handler.resolve_ref_schema(handler(schema))
        written = cls.model_construct().model_dump(mode="json", warnings=False)
        for name, member in document.get("properties", {}).items():
            if "default" in member:
                member["default"] = written[name]
        return document


@dataclass(frozen=True)
class Shape:
    """Text that must match a pattern as a whole; the sentence says so in the operator's words, not in pydantic's."""

    pattern: str
    sentence: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return handler(schema) | {"pattern": f"^(?:{self.pattern})$"}

    def check(self, text: str) -> str:
        if re.fullmatch(self.pattern, text) is None:
            raise UnfitError(self.sentence)
        return text


_PATHS: Final = jsonpath.JSONPathEnvironment(strict=True)
"""RFC 9535 and nothing beyond it, as `proxy.outcomes.decision` reads the paths."""


def _check_path(path: str) -> str:
    try:
        query = _PATHS.compile(path)
    except jsonpath.JSONPathError as error:  # its message quotes the path, which may come from a reference
        index = error.token.index if error.token is not None else -1
        where = f"it goes wrong at character {index + 1}" if index >= 0 else "it ends too early"
        raise UnfitError(f"is no JSON path: {where}") from None
    if not isinstance(query, jsonpath.JSONPath):
        raise UnfitError("joins several JSON paths; write one, such as $.decision")
    return path


_WORD: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}"

Name = Annotated[
    str,
    Shape(
        r"[a-z0-9]([a-z0-9_-]{0,62}[a-z0-9])?",
        "is no name; write at most 64 lower-case letters, digits, - or _, with a letter or digit at both ends",
    ),
]
"""Names of routes, upstreams and stages: they become metric labels and parts of store keys."""

HeaderName = Annotated[str, Shape(_WORD, "is no header name; write letters, digits and -, such as x-user-id")]
HeaderValue = Annotated[str, Shape(r"[\t\x20-\x7e]*", "holds a character that a header's value may not have")]
CookieName = Annotated[str, Shape(_WORD, "is no cookie name")]
Method = Annotated[
    str,
    Shape(r"[A-Z][A-Z_-]{0,31}", "is no method; methods are case-sensitive and written in capitals, such as POST"),
]
JsonPath = Annotated[
    str, Shape(r"\$.*", "is no JSON path; it starts at the root, such as $.decision"), AfterValidator(_check_path)
]

_Item = TypeVar("_Item", bound=str)
Words = Annotated[frozenset[_Item], PlainSerializer(sorted, when_used="json")]
"""A set of words, sorted where it is shown."""


@dataclass(frozen=True, slots=True)
class Address:
    """Host and port to listen on. Port 0 lets the system choose."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


_ADDRESS: Final = re.compile(
    r"(?:\[(?P<v6>[0-9a-fA-F:.]{2,45})\]|(?P<host>[0-9A-Za-z._-]{0,255})):(?P<port>[0-9]{1,5})"
)


def parse_address(value: Any) -> Address:
    """Of `0.0.0.0:8080`, `[::]:8080`, `localhost:8080` or `:8080`, which is all of IPv4."""
    if isinstance(value, Address):
        return value
    match = _ADDRESS.fullmatch(value) if isinstance(value, str) else None
    if match is None or int(match["port"]) > 65535:
        raise UnfitError("is no address; write host:port, such as 127.0.0.1:8080 or [::1]:8080")
    return Address(match["v6"] or match["host"] or "0.0.0.0", int(match["port"]))


def parse_network(value: Any) -> str:
    """Of `10.0.0.0/8`, `fd00::/8` or one address, as CIDR."""
    try:
        found = ip_interface(value if isinstance(value, str) else "")
    except ValueError:
        raise UnfitError("is no network; write it as 10.0.0.0/8, fd00::/8 or one address") from None
    if found.ip != found.network.network_address:
        raise UnfitError(f"is an address within a network; write {found.network}, or the address without /")
    return str(found.network)


Network = Annotated[str, BeforeValidator(parse_network)]

Secret = Annotated[str, PlainSerializer(lambda _: MASK, when_used="json"), Field(repr=False)]
"""Never shown."""

ListenAddress = Annotated[
    Address,
    PlainValidator(parse_address),
    PlainSerializer(str, when_used="json"),
    WithJsonSchema({"type": "string", "examples": ["0.0.0.0:8080", "[::1]:8080"]}),
]


def _parse_version(value: Any) -> str:
    """1.2 is a number in YAML."""
    if str(value) not in ("1.2", "1.3"):
        raise UnfitError("is no version of TLS that is safe; write 1.2 or 1.3")
    return str(value)


FilePath = Annotated[
    str,
    Field(min_length=1, max_length=4096),
    Shape(r"[^\x00-\x1f\x7f]*", "must be the name of a file, not what is in it; write /etc/…, without ${file:…}"),
]
"""Read when it is put to use; relative to the working directory."""

TlsVersion = Annotated[Literal["1.2", "1.3"], BeforeValidator(_parse_version)]


def _check_scalar(value: Any) -> str | int | float | bool:
    if not isinstance(value, str | int | float | bool):
        raise UnfitError("is no single value; write a text, a number, true or false")
    return value


Scalar = Annotated[
    str | int | float | bool,
    PlainValidator(_check_scalar),
    WithJsonSchema({"type": ["string", "number", "boolean"]}),
]
"""A JSON value that is no object, list or null."""
