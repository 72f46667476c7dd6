"""What a pair is counted under: its request's segment, the direction of a mistake, the two decisions.

All of it is read from masked bodies, so a hidden value never becomes a label. Labels are short and printable; how many
different ones are kept is bounded where they are counted (`proxy.storage.tally`).
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Literal

from proxy.config.compare_schema import spelled
from proxy.model.rollouts import ANOTHER
from proxy.model.words import Match
from proxy.outcomes.redact import MASK

NONE: Final = "(none)"
"""The label of what is absent, empty, or no single value."""

MAX_LABEL: Final = 64
"""Characters."""

Direction = Literal["agent_yes", "agent_no"]
"""Who alone said yes: the agent, or legacy."""

_SINGLE: Final = (str, int, float, bool)


def label(value: Any) -> str:
    """A text of at most MAX_LABEL printable characters. 1 and 1.0 are one number, and have one label."""
    text = spelled(value) if isinstance(value, _SINGLE) else ""
    if not text.isprintable():
        text = "".join(filter(str.isprintable, text))
    return text[:MAX_LABEL].strip() or NONE


class Naming:
    """What decisions are called: by the label that stands for them, else as they are, texts cleaned. Values are found
    as they are written, so `true` in the configuration is the text "true" of a header too. What was hidden stays so.

    Raises ValueError where cleaning makes values of two labels the same.
    """

    __slots__ = ("_clean", "_labels")

    def __init__(self, labels: Mapping[str, Iterable[Any]], clean: Callable[[str], str]) -> None:
        self._clean = clean
        self._labels: dict[str, str] = {}
        for name, values in labels.items():
            for value in (name, *values):
                other = self._labels.setdefault(clean(spelled(value)), name)
                if other != name:
                    raise ValueError(f"compare.labels: normalized, {spelled(value)!r} means {other} and {name}")

    def __call__(self, decision: Any) -> Any:
        kind = type(decision)
        if kind is str:
            if decision == MASK:
                return decision
            text = self._clean(decision)
            return self._labels.get(text, text)
        if self._labels and kind in _SINGLE:
            return self._labels.get(self._clean(spelled(decision)), decision)
        return decision


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
