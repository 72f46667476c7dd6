"""Do two single values say the same?

Types are strict, except that 1 and 1.0 are the same number; true is not 1. Where several rules speak of a place, any of
them may make its values alike. Two RFC 3339 texts are times; under a tolerance of time, two numbers are Unix seconds.
"""

import re
from datetime import datetime
from typing import Any, Final

from proxy.outcomes.tree import Nodes

_NUMBERS: Final = frozenset({int, float})
_ROUNDING: Final = 1e-15
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)", re.ASCII)


def alike(legacy: Any, agent: Any, nodes: Nodes) -> bool:
    """Two values that are not both objects or both arrays. `nodes` are the rules of their place."""
    if type(legacy) is type(agent) and legacy == agent:
        return True
    for node in nodes:
        if node.name is not None:
            legacy, agent = node.name(legacy), node.name(agent)
            if type(legacy) is type(agent) and legacy == agent:
                return True
    if type(legacy) is str and type(agent) is str:
        return bool(nodes) and _texts(legacy, agent, nodes)
    if type(legacy) in _NUMBERS and type(agent) in _NUMBERS:
        return bool(legacy == agent) or _numbers(legacy, agent, nodes)
    return False


def cleaned(text: str, nodes: Nodes) -> str:
    for node in nodes:
        if node.clean is not None:
            text = node.clean(text)
    return text


def _texts(legacy: str, agent: str, nodes: Nodes) -> bool:
    if cleaned(legacy, nodes) == cleaned(agent, nodes):
        return True
    seconds = max([node.tolerance.seconds for node in nodes if node.tolerance is not None], default=0.0)
    if not seconds:
        return False
    ours, theirs = _time(legacy), _time(agent)
    return ours is not None and theirs is not None and abs((ours - theirs).total_seconds()) <= seconds


def _numbers(legacy: float, agent: float, nodes: Nodes) -> bool:
    """A difference that the tolerance just covers is covered, whatever its last binary digits: 1.01 is 0.01 from 1."""
    apart = abs(agent - legacy)
    if type(apart) is float:
        apart -= _ROUNDING * max(abs(legacy), abs(agent))
    return any(
        apart <= max(node.tolerance.share * abs(legacy), node.tolerance.number, node.tolerance.seconds)
        for node in nodes
        if node.tolerance is not None
    )


def _time(text: str) -> datetime | None:
    text = text.upper()
    if _TIME.fullmatch(text) is None:
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:  # the 31st of February, a leap second
        return None
