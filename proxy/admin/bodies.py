"""What comes in: the bodies of verbs and the queries of lists, checked at this edge and nowhere else."""

from base64 import b64decode
from collections.abc import Mapping
from typing import Annotated, Any, Self, TypeVar

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from proxy.admin.answers import ApiError
from proxy.model.words import Match

MAX_BODY = 64 << 10
"""Bytes of a request's body; more is answered with 413."""

Line = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]*$")]
"""One line of text, as it goes into the history."""


class Checked(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class VerbBody(Checked):
    """`actor` counts only where no tokens are in use: with tokens, whoever holds one acts in its name."""

    reason: Line = Field(default="", max_length=1000, strict=True)
    actor: Line = Field(default="", max_length=128, strict=True)


class PromoteBody(VerbBody):
    """`full` goes to the last stage at once."""

    full: bool = Field(default=False, strict=True)


class ExplainBody(Checked):
    """A targeting key, as text (then it is its UTF-8) or, where its bytes are no text, in base64. Empty is no key."""

    key: str | None = Field(default=None, strict=True)
    key_base64: str | None = Field(default=None, strict=True)

    @model_validator(mode="after")
    def one_of_them(self) -> Self:
        if (self.key is None) == (self.key_base64 is None):
            raise PydanticCustomError("key", "give either key (text) or key_base64 (bytes)")
        self.key_bytes()
        return self

    def key_bytes(self) -> bytes:
        if self.key_base64 is None:
            return (self.key or "").encode()
        try:
            return b64decode(self.key_base64, validate=True)
        except ValueError:
            raise PydanticCustomError("base64", "key_base64 is no base64") from None


class PairsQuery(Checked):
    verdict: Match | None = None
    reveal: bool = False
    before: str | None = Field(default=None, pattern=r"^[A-Za-z0-9._:-]{1,256}$")
    limit: int = Field(default=50, ge=1, le=500)


class HistoryQuery(Checked):
    limit: int = Field(default=100, ge=1, le=1000)


class EvidenceQuery(Checked):
    limit: int = Field(default=50, ge=1, le=500)


Model = TypeVar("Model", bound=BaseModel)


async def read_body(request: web.Request, model: type[Model], limit: int = MAX_BODY) -> Model:
    """The JSON body as `model`; an absent one is `{}`. Raises ApiError 422 and, over `limit`, what becomes a 413."""
    try:
        data = await request.clone(client_max_size=limit).read()
    except (ConnectionResetError, web.RequestPayloadError) as error:
        raise ApiError(400, "bad_request", "the body did not arrive whole") from error
    try:
        return model.model_validate_json(data or b"{}")
    except ValidationError as error:
        raise _refusal(error, "invalid_body", model) from error


def read_query(query: Mapping[str, str], model: type[Model]) -> Model:
    """The query as `model`. Raises ApiError 422."""
    try:
        return model.model_validate(dict(query))
    except ValidationError as error:
        raise _refusal(error, "invalid_query", model) from error


def problem(error: ValidationError, model: type[BaseModel]) -> tuple[str, str]:
    """The first of what is wrong: its path, and a sentence that begins with it. The input itself is not repeated."""
    first: Any = error.errors(include_url=False, include_input=False)[0]
    path = ".".join(str(part) for part in first["loc"])
    said = first["msg"]
    if first["type"] == "extra_forbidden":
        said = f"is not known here; known are {', '.join(sorted(model.model_fields))}"
    return path, f"{path}: {said}" if path else said


def _refusal(error: ValidationError, word: str, model: type[BaseModel]) -> ApiError:
    path, said = problem(error, model)
    return ApiError(422, word, said, path=path)
