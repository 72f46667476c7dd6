"""Durations (`500ms`, `24h`), sizes (`1MiB`), shares (`0.2%`) and weights, as pydantic types.

In Python they are float seconds, int bytes, float 0 to 1 and int thousandths of a percent (the unit of buckets).
"""

import re
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field, WithJsonSchema

_DURATION: Final = re.compile(r"(?P<number>\d+(?:\.\d+)?)(?P<unit>ms|s|m|h|d)")
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE: Final = re.compile(r"(?P<number>\d+)(?P<unit>B|KiB|MiB|GiB)")
_BYTES: Final = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_SHARE: Final = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*%")


def parse_duration(value: Any) -> float:
    """Seconds of `500ms`, `1.5s`, `20m`, `24h`, `7d` or a sum such as `1h30m`; a bare 0 is 0."""
    if value == 0 and not isinstance(value, bool):
        return 0.0
    if not isinstance(value, str) or not re.fullmatch(
        f"(?:{_DURATION.pattern})+".replace("?P<number>", "?:").replace("?P<unit>", "?:"), value
    ):
        raise ValueError(f"{value!r} is no duration; write a number with its unit, such as 500ms, 20s, 5m, 24h or 7d")
    return sum(float(part["number"]) * _SECONDS[part["unit"]] for part in _DURATION.finditer(value))


def parse_size(value: Any) -> int:
    """Bytes of `512B`, `64KiB`, `1MiB`, `1GiB`; a bare 0 is 0."""
    if value == 0 and not isinstance(value, bool):
        return 0
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"{value!r} is no size; write a whole number with its unit, such as 512B, 64KiB or 1MiB")
    return int(match["number"]) * _BYTES[match["unit"]]


def parse_share(value: Any) -> float:
    """0 to 1 of `0.2%` or `95%`."""
    match = _SHARE.fullmatch(value) if isinstance(value, str) else None
    share = float(match["number"]) / 100 if match else -1.0
    if not 0 <= share <= 1:
        raise ValueError(f"{value!r} is no share; write it in percent with the sign, such as 0.2% or 95%")
    return share


def parse_percent(value: Any) -> int:
    """Thousandths of a percent of a plain number from 0 to 100 (`5`, `0.125`)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{value!r} is no percentage; write a plain number from 0 to 100")  # noqa: TRY004  # pydantic wants ValueError
    if not 0 <= value <= 100:
        raise ValueError(f"{value} is not between 0 and 100 percent")
    thousandths = round(value * 1000)
    if abs(thousandths - value * 1000) > 1e-6:
        raise ValueError(f"{value} is finer than the smallest step, 0.001 percent")
    return thousandths


_DURATION_SCHEMA: Final = WithJsonSchema({"type": "string", "examples": ["500ms", "20s", "24h"]})
_SIZE_SCHEMA: Final = WithJsonSchema({"type": "string", "examples": ["64KiB", "1MiB"]})
_SHARE_SCHEMA: Final = WithJsonSchema({"type": "string", "examples": ["0.2%", "95%"]})
_PERCENT_SCHEMA: Final = WithJsonSchema({"type": "number", "minimum": 0, "maximum": 100})

Duration = Annotated[float, BeforeValidator(parse_duration), _DURATION_SCHEMA]
PositiveDuration = Annotated[float, BeforeValidator(parse_duration), Field(gt=0), _DURATION_SCHEMA]
Size = Annotated[int, BeforeValidator(parse_size), _SIZE_SCHEMA]
Share = Annotated[float, BeforeValidator(parse_share), _SHARE_SCHEMA]
Percent = Annotated[int, BeforeValidator(parse_percent), _PERCENT_SCHEMA]
