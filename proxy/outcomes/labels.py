"""What a pair is counted under: its request's segment, the direction of a mistake, the two decisions.

All of it is read from masked bodies, so a hidden value never becomes a label. Labels are short and printable; how many
different ones are kept is bounded where they are counted (`proxy.storage.tally`).
"""

from collections.abc import Callable, Iterable
from typing import Any, Final, Literal

from proxy.model.rollouts import ANOTHER
from proxy.model.words import Match
from proxy.outcomes.redact import MASK

NONE: Final = "(none)"
"""The label of what is absent, empty, or no single value."""

MAX_LABEL: Final = 64
"""Characters."""

Direction = Literal["agent_yes", "agent_no"]
"""Who alone said yes: the agent, or legacy."""

_EXACT: Final = 1 << 53
_SINGLE: Final = (str, int, float, bool)


def label(value: Any) -> str:
    """A text of at most MAX_LABEL printable characters. 1 and 1.0 are one number, and have one label."""
    match value:
        case str():
            text = value
        case bool():
            text = "true" if value else "false"
        case float() if value.is_integer() and abs(value) < _EXACT:
            text = str(int(value))
        case int() | float():
            text = repr(value)
        case _:
            text = ""
    if not text.isprintable():
        text = "".join(filter(str.isprintable, text))
    return text[:MAX_LABEL].strip() or NONE


def direction(says_yes: Callable[[Any], bool], legacy: Any, agent: Any) -> Direction | None:
    """None where both said the same, or one of the decisions is not known."""
    if not (_known(legacy) and _known(agent)):
        return None
    ours, theirs = says_yes(legacy), says_yes(agent)
    if ours == theirs:
        return None
    return "agent_yes" if theirs else "agent_no"


def one_of(values: Iterable[Any]) -> Callable[[Any], bool]:
    """Whether a decision is among `values`. Types are strict, as in `compare`: 1 is 1.0, but neither `true` nor "1"."""
    wanted = frozenset(_identity(value) for value in values)
    return lambda value: _identity(value) in wanted


def decisions(verdict: Match, legacy: Any, agent: Any) -> tuple[str, str] | None:
    """(legacy's, the agent's) of a comparable pair, as labels: the same where the pair matched, within tolerance too,
    and not the same where it did not. None where one of the decisions is not known."""
    if not (_known(legacy) and _known(agent)):
        return None
    ours, theirs = label(legacy), label(agent)
    if verdict is Match.MATCHED:
        return ours, ours
    return ours, theirs if theirs != ours else ANOTHER


def _known(decision: Any) -> bool:
    """A hidden decision is not known; null is one like others."""
    return decision is None or (isinstance(decision, _SINGLE) and decision != MASK)


def _identity(value: Any) -> tuple[str, Any]:
    if isinstance(value, bool):
        return "boolean", value
    if isinstance(value, int | float):
        return "number", value
    return "text" if isinstance(value, str) else "other", value
