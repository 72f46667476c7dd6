"""Which of the time that passes is soak."""

import pytest

from proxy.control.soak import MAX_ELAPSED, QUIET, Soak
from proxy.model.rollouts import RolloutState
from proxy.model.words import Phase
from tests.fakes import FakeClock

SHADOW = RolloutState("refunds", "v1", Phase.PROGRESSING, 0, "shadow", 0, 100_000, epoch=1, revision=1, since=0.0)
CANARY = RolloutState("refunds", "v1", Phase.PROGRESSING, 1, "canary", 5_000, 100_000, epoch=1, revision=2, since=0.0)


class Looker:
    """`requests` are all that the agent had; each look finds one more, unless it is told how many."""

    def __init__(self, requests: int = 0) -> None:
        self.clock = FakeClock()
        self.soak = Soak(self.clock)
        self.requests = requests

    def look(self, seconds: float, more: int = 1, state: RolloutState = SHADOW) -> float:
        self.clock.advance(seconds)
        self.requests += more
        return self.soak.look(state, self.requests)


def test_it_is_the_time_between_two_looks() -> None:
    looker = Looker()
    assert [looker.look(1), looker.look(0.5), looker.look(0.25)] == [0.0, 0.5, 0.25]


def test_a_long_pause_is_none() -> None:
    looker = Looker()
    assert [looker.look(0), looker.look(60)] == [0.0, MAX_ELAPSED]


def test_the_time_in_which_somebody_else_decided_is_none() -> None:
    looker = Looker()
    looker.look(0)
    looker.soak.interrupt()
    assert [looker.look(1), looker.look(1)] == [0.0, 1.0]


@pytest.mark.parametrize("before", [0, 1_000], ids=["a new rollout", "a restart"])
def test_it_begins_with_the_agents_first_request(before: int) -> None:
    looker = Looker(before)
    assert sum(looker.look(1, more=0) for _ in range(10)) == 0.0
    assert [looker.look(1), looker.look(1, more=0)] == [1.0, 1.0]


def test_it_ends_when_the_agent_has_had_no_request_for_long_and_goes_on_with_the_next() -> None:
    looker = Looker()
    looker.look(0)
    looker.look(0)
    counted = sum(looker.look(1, more=0) for _ in range(2 * int(QUIET)))
    assert counted == QUIET - 1
    assert [looker.look(1, more=0), looker.look(1), looker.look(1, more=0)] == [0.0, 1.0, 1.0]


def test_another_stage_begins_with_requests_of_its_own() -> None:
    looker = Looker(1_000)
    looker.look(0)
    looker.requests = 0
    assert looker.look(1, more=0, state=CANARY) == 0.0
    assert looker.look(1, more=1, state=CANARY) == 1.0
