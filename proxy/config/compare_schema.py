"""The part of the schema that says what makes the two arms agree."""

from pydantic import Field

from proxy.config.fields import JsonPath, Section
from proxy.config.units import Share


class Fields(Section):
    ignore: tuple[JsonPath, ...] = ()
    """Members that may differ, such as ids and times."""
    tolerance: dict[JsonPath, Share] = Field(default_factory=dict)
    """Members that may differ by a share of legacy's number."""


class Compare(Section):
    decision: JsonPath | None = None
    """The value on which both arms must agree; without it the whole bodies are compared."""
    fields: Fields = Fields()
