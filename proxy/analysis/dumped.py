"""Reading back what a test dumped: plain numbers in lists, from JSON. Everything else raises ValueError."""

from math import isfinite

from proxy.analysis.block import Block


def items(data: object, count: int) -> list[object]:
    if not isinstance(data, list) or len(data) != count:
        raise ValueError(f"it is no list of {count}")
    return data


def numbers(data: object, count: int, *, signed: bool = False) -> list[float]:
    """Finite, and none below 0 unless `signed`."""
    found: list[float] = []
    for number in items(data, count):
        if not isinstance(number, int | float) or isinstance(number, bool) or not isfinite(number):
            raise ValueError("something in it is no finite number")
        if number < 0 and not signed:
            raise ValueError("something in it is below 0")
        found.append(float(number))
    return found


def block(data: object) -> Block:
    elapsed, *counts = numbers(data, len(Block._fields))
    found = Block(elapsed, *(int(count) for count in counts))
    if found.agent_bad > found.agent or found.legacy_bad > found.legacy:
        raise ValueError("more were bad than there were")
    return found
