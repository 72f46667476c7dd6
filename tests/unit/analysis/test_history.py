"""What is known of legacy: its usual rate, its rate now, and whether that is a fault of its own. Ticks of 0.2 s."""

from json import dumps, loads

import pytest

from proxy.analysis.block import Block
from proxy.analysis.history import FULL_HISTORY, MAX_DOUBT, History

TICK = 0.2
MINUTE = 300
"""Ticks."""


def spent(history: History, ticks: int, bad: int, *, legacy: int = 100, pending: int = 0) -> History:
    for _ in range(ticks):
        block = Block(TICK, 10, 0, legacy, bad, pending=pending)
        history.compare(block)
        history.learn(block)
    return history


def usual() -> History:
    """Ten minutes with 1 % bad ones."""
    return spent(History(0.002, 0.001, TICK), 10 * MINUTE, 1)


def test_while_nothing_changes_its_rate_now_is_the_usual_one_and_nothing_is_in_doubt() -> None:
    history = usual()
    assert history.rate == pytest.approx(0.01, rel=0.01)
    assert (history.rate_now, history.doubt) == (history.rate, 0.0)


def test_a_rise_shows_within_the_minute_long_before_the_usual_rate_has_followed() -> None:
    history = spent(usual(), MINUTE, 2)
    assert history.rate == pytest.approx(0.011, rel=0.05)
    assert 0.015 < history.rate_now < 0.02
    spent(history, 2 * MINUTE, 1)
    assert history.rate_now == history.rate


def test_a_fall_does_not_show_for_the_agent_is_held_against_what_is_usual() -> None:
    history = spent(usual(), MINUTE, 0)
    assert history.rate_now == history.rate


def test_a_few_bad_ones_of_a_trickle_are_no_rise_yet() -> None:
    history = usual()
    spent(history, 10 * MINUTE, 0, legacy=0)  # a silence: the short time is forgotten
    spent(history, 1, 1, legacy=4)
    assert history.rate_now == history.rate


def test_a_fault_of_legacys_own_casts_doubt_up_to_a_limit_and_is_forgotten() -> None:
    history = spent(usual(), 5, 10)
    assert 0 < history.doubt <= MAX_DOUBT
    spent(history, MINUTE, 50)
    assert history.doubt == MAX_DOUBT
    spent(history, 3 * MINUTE, 1)
    assert history.doubt == 0.0


def test_nothing_is_in_doubt_before_the_usual_rate_is_known() -> None:
    assert spent(History(0.002, 0.001, TICK), 10, 10, legacy=10).doubt == 0.0


def test_what_is_open_is_no_sign_of_a_fault() -> None:
    history = spent(usual(), 50, 99, pending=99)
    assert history.rate > 0.02
    assert (history.rate_now, history.doubt) == (history.rate, 0.0)


def test_the_past_is_forgotten_but_never_all_of_it() -> None:
    history = usual()
    history.learn(Block(30 * 86_400.0, 1, 0, 0, 0))
    assert history.requests == FULL_HISTORY
    assert history.rate == pytest.approx(0.01, rel=0.05)


def test_it_goes_back_to_what_was_kept_and_on_from_what_was_dumped() -> None:
    history = spent(usual(), 5, 10)
    kept, dumped = history.keep(), loads(dumps(history.dump()))
    spent(history, MINUTE, 50)
    assert history.dump() != dumped
    history.back(kept)
    again = History(0.002, 0.001, TICK)
    again.restore(dumped)
    assert again.dump() == history.dump() == dumped
    assert spent(again, 20, 3).dump() == spent(history, 20, 3).dump()


GOOD = usual().dump()


@pytest.mark.parametrize("unfit", [None, [], GOOD[:3], [1, 2, *GOOD[2:]], [*GOOD[:2], 1, 2, GOOD[4]], [*GOOD[:4], []]])
def test_what_is_none_of_its_dumps_is_refused(unfit: object) -> None:
    with pytest.raises(ValueError, match=r"list|number|bad"):
        History(0.002, 0.001, TICK).restore(unfit)
