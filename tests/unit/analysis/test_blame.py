"""Whose fault it is, by what both arms did with what arrived at the same time."""

import pytest

from proxy.analysis.blame import PROOF, Slot, attribution
from proxy.analysis.breaker import FLOOR, HALF, TOTAL

NOW = 9


def evenly(good: int, bad: int) -> dict[int, Slot]:
    return {slot: Slot(good, bad) for slot in range(NOW + 1)}


@pytest.mark.parametrize(
    ("agent", "legacy", "th", "proven"),
    [
        pytest.param(evenly(0, 1), evenly(19, 0), TOTAL, True, id="only the agent is down"),
        pytest.param(evenly(0, 1), evenly(0, 19), TOTAL, False, id="both are down"),
        pytest.param(evenly(0, 10), evenly(1, 0), TOTAL, True, id="little of legacy is known, and that is well"),
        pytest.param(evenly(5, 5), evenly(10, 0), HALF, True, id="the agent fails by half"),
        pytest.param(evenly(5, 5), evenly(5, 5), HALF, False, id="both fail by half"),
        pytest.param(evenly(0, 10), {}, TOTAL, False, id="nothing is known of legacy"),
        pytest.param({}, evenly(1, 0), TOTAL, False, id="nothing is known of the agent"),
    ],
)
def test_the_agent_is_blamed_for_what_legacy_has_not(
    agent: dict[int, Slot], legacy: dict[int, Slot], th: float, proven: bool
) -> None:
    assert (attribution(agent, legacy, 0, NOW, th, FLOOR) >= PROOF) is proven


def test_what_legacy_has_not_ended_yet_does_not_hide_what_it_has() -> None:
    """The latest slots of both, in which legacy's known ones are those that failed at once, come on top."""
    agent = evenly(0, 10) | {slot: Slot(0, 10) for slot in range(NOW + 1, NOW + 4)}
    legacy = evenly(10, 0) | {slot: Slot(0, 10) for slot in range(NOW + 1, NOW + 4)}
    assert attribution(agent, legacy, 0, NOW + 3, TOTAL, FLOOR) >= PROOF


def test_an_agent_that_fails_as_is_normal_here_is_not_blamed() -> None:
    assert attribution(evenly(6, 4), evenly(10, 0), 0, NOW, HALF, 0.45) == 0.0
