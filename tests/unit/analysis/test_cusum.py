"""What a look may cost: the budget of false alarms goes by time, however it is cut into looks."""

from math import exp
from random import Random

import pytest

from proxy.analysis.block import NOTHING, Block
from proxy.analysis.cusum import COUNT, Cusum, alternatives

TICK = 0.2


def test_what_was_joined_to_save_work_is_no_chance_to_look_less_strictly() -> None:
    joined, apart = Cusum(0.001, TICK), Cusum(0.001, TICK)
    for _ in range(100):
        joined.look(Block(5 * TICK, 50, 0, 450, 0, looks=5))
        apart.look(Block(TICK, 10, 0, 90, 0))
    assert joined.threshold == pytest.approx(apart.threshold)


def test_the_looks_of_a_day_spend_alpha_whatever_their_distances() -> None:
    rng, cusum, spent, elapsed = Random("distances"), Cusum(0.001, TICK), 0.0, 0.0
    while elapsed < 86_400.0:
        distance = rng.choice((0.2, 0.2, 1.0, 7.0))
        elapsed += distance
        cusum.look(Block(distance, 1, 0, 1, 0))
        spent += COUNT * exp(-cusum.threshold)
    assert spent == pytest.approx(0.001, rel=0.01)


def test_it_rises_with_bad_outcomes_and_starts_again_at_nothing() -> None:
    cusum = Cusum(0.001, TICK)
    th = next(iter(alternatives(0.01)))
    risen = cusum.add(0, th, 0.01, Block(TICK, 10, 5, 90, 1), NOTHING)
    assert risen > 0
    assert cusum.add(0, th, 0.01, Block(TICK, 1, 1, 9, 0), NOTHING) > risen
    for _ in range(10_000):
        last = cusum.add(0, th, 0.01, Block(TICK, 10, 0, 90, 1), NOTHING)
    assert last == 0.0


def test_what_is_kept_comes_back() -> None:
    cusum = Cusum(0.001, TICK)
    th = next(iter(alternatives(0.01)))
    cusum.add(0, th, 0.01, Block(TICK, 10, 5, 90, 1), NOTHING)
    kept, sums = cusum.keep(), list(cusum.sums)
    cusum.add(0, th, 0.01, Block(TICK, 10, 10, 90, 1), NOTHING)
    assert cusum.sums != sums
    cusum.back(kept)
    assert cusum.sums == sums
