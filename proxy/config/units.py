"""Durations (`500ms`, `24h`), sizes (`1MiB`), shares (`0.2%`), percentages (`5`, `5%`) and whole numbers, as pydantic
types.

In Python they are float seconds, int bytes, float 0 to 1, int thousandths of a percent (the unit of buckets) and int;
in a JSON dump they are written as an operator writes them. All of them can be read from text too, because a reference
(`${N}`) always gives text. Arithmetic is decimal, so that reading and writing are each other's inverse.
"""

import re
from decimal import Decimal
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema

MAX_DURATION: Final = 3650 * 86400.0
"""Seconds; longer is a slip of the pen."""
MAX_SIZE: Final = 1 << 40

_SECONDS: Final = {
    "d": Decimal(86400), "h": Decimal(3600), "m": Decimal(60), "s": Decimal(1), "ms": Decimal("0.001"),
}  # fmt: skip
_BYTES: Final = {"GiB": 1 << 30, "MiB": 1 << 20, "KiB": 1 << 10, "B": 1}

_PART: Final = r"[0-9]{1,12}(?:\.[0-9]{1,9})?(?:ms|s|m|h|d)"
_DURATION: Final = re.compile(f"0|(?:{_PART})+")
_PARTS: Final = re.compile(r"([0-9.]+)(ms|s|m|h|d)")
_SIZE: Final = re.compile(r"0|([0-9]{1,15})(B|KiB|MiB|GiB)")
_SHARE: Final = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,9})?) ?%|0")
_NUMBER: Final = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,18})?")
_WHOLE: Final = re.compile(r"-?[0-9]{1,18}")


class UnfitError(ValueError):
    """A value that does not fit.

    The sentence leaves out its subject, the value: `explain` puts it before the sentence, because it knows how the
    operator wrote it and whether it may be shown. `at` leads from the field that is checked to the part at fault.
    """

    def __init__(self, sentence: str, *, at: tuple[str | int, ...] = ()) -> None:
        super().__init__(sentence)
        self.at = at


def parse_duration(value: Any) -> float:
    """Seconds of `500ms`, `1.5s`, `20m`, `24h`, `7d` or a sum such as `1h30m`; a bare 0 is 0."""
    text = _text(value)
    if _DURATION.fullmatch(text) is None:
        raise UnfitError("is no duration; write a number with its unit, such as 500ms, 20s, 5m, 24h or 7d")
    seconds = float(sum(Decimal(number) * _SECONDS[unit] for number, unit in _PARTS.findall(text)))
    if seconds > MAX_DURATION:
        raise UnfitError(f"is longer than {format_duration(MAX_DURATION)}")
    return seconds


def format_duration(seconds: float) -> str:
    """In the largest unit that makes it a whole number, else in milliseconds: `24h` is `1d`, 0.25 is `250ms`."""
    exact = Decimal(repr(seconds))
    unit = next((unit for unit, size in _SECONDS.items() if exact and exact % size == 0), "ms" if exact else "s")
    return f"{_plain(exact / _SECONDS[unit])}{unit}"


def parse_size(value: Any) -> int:
    """Bytes of `512B`, `64KiB`, `1MiB`, `1GiB`; a bare 0 is 0. Other bare numbers are refused: of what unit?"""
    match = _SIZE.fullmatch(_text(value))
    if match is None:
        raise UnfitError("is no size; write a whole number with its unit, such as 512B, 64KiB or 1MiB")
    size = int(match[1]) * _BYTES[match[2]] if match[1] else 0
    if size > MAX_SIZE:
        raise UnfitError(f"is larger than {format_size(MAX_SIZE)}")
    return size


def format_size(size: int) -> str:
    """In the largest unit that makes it a whole number."""
    unit = next((unit for unit, step in _BYTES.items() if size and size % step == 0), "B")
    return f"{size // _BYTES[unit]}{unit}"


def parse_share(value: Any) -> float:
    """0 to 1 of `0.2%` or `95%`; a bare 0 is 0. Other bare numbers are refused: 0.95 may mean 95 % or 0.95 %."""
    match = _SHARE.fullmatch(_text(value))
    share = Decimal(match[1] or 0) / 100 if match else Decimal(-1)
    if not 0 <= share <= 1:
        raise UnfitError("is no share; write 0 to 100 percent with the sign, such as 0.2% or 95%")
    return float(share)


def format_share(share: float) -> str:
    return f"{_plain(Decimal(repr(share)) * 100)}%"


def parse_percent(value: Any) -> int:
    """Thousandths of a percent of a number from 0 to 100 (`5`, `0.125`), whose sign may be written too (`5%`): the unit
    is the same."""
    text = _text(value).removesuffix("%").removesuffix(" ")
    if re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", text) is None:
        raise UnfitError("is no percentage; write a number from 0 to 100, such as 5 or 0.5")
    if _NUMBER.fullmatch(text) is None or Decimal(text) > 100:
        raise UnfitError("is not between 0 and 100 percent")
    thousandths = Decimal(text) * 1000
    if thousandths % 1:
        raise UnfitError("is finer than the smallest step, 0.001 percent")
    return int(thousandths)


def format_percent(thousandths: int) -> int | float:
    return thousandths // 1000 if thousandths % 1000 == 0 else thousandths / 1000


def parse_whole(value: Any) -> int:
    """A whole number. True is none, although Python counts it as 1."""
    text = _text(value)
    if _WHOLE.fullmatch(text) is None:
        raise UnfitError("is no whole number")
    return int(text)


def _text(value: Any) -> str:
    """A number as it is written without an exponent; text as it is; nothing for anything else."""
    if isinstance(value, float):
        return f"{Decimal(repr(value)):f}"
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""


def _plain(number: Decimal) -> str:
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


_DURATION_SCHEMA: Final = WithJsonSchema({"type": "string", "examples": ["500ms", "20s", "24h"]})
_SIZE_SCHEMA: Final = WithJsonSchema({"type": "string", "examples": ["64KiB", "1MiB"]})
_SHARE_SCHEMA: Final = WithJsonSchema({"type": "string", "examples": ["0.2%", "95%"]})
_PERCENT_SCHEMA: Final = WithJsonSchema(
    {"type": ["number", "string"], "minimum": 0, "maximum": 100, "pattern": "^[0-9]+([.][0-9]+)? ?%?$"}
)

_WRITE_DURATION: Final = PlainSerializer(format_duration, when_used="json")
_WRITE_SIZE: Final = PlainSerializer(format_size, when_used="json")

Duration = Annotated[float, BeforeValidator(parse_duration), _WRITE_DURATION, _DURATION_SCHEMA]
PositiveDuration = Annotated[float, BeforeValidator(parse_duration), Field(gt=0), _WRITE_DURATION, _DURATION_SCHEMA]
Size = Annotated[int, BeforeValidator(parse_size), _WRITE_SIZE, _SIZE_SCHEMA]
PositiveSize = Annotated[int, BeforeValidator(parse_size), Field(gt=0), _WRITE_SIZE, _SIZE_SCHEMA]
Share = Annotated[
    float, BeforeValidator(parse_share), PlainSerializer(format_share, when_used="json"), _SHARE_SCHEMA
]  # fmt: skip
Percent = Annotated[
    int, BeforeValidator(parse_percent), PlainSerializer(format_percent, when_used="json"), _PERCENT_SCHEMA
]  # fmt: skip
Whole = Annotated[int, BeforeValidator(parse_whole)]
