"""Mistakes that lean to one side are found, balanced ones are not."""

from math import comb, exp, log
from random import Random

import pytest

from proxy.analysis.direction import log_evidence


def test_nothing_says_nothing() -> None:
    assert log_evidence(0, 0) == pytest.approx(0.0)


@pytest.mark.parametrize("pairs", [1, 5, 20])
def test_the_bet_is_fair_under_balance(pairs: int) -> None:
    expected = sum(comb(pairs, b) / 2**pairs * exp(log_evidence(b, pairs - b)) for b in range(pairs + 1))
    assert expected == pytest.approx(1.0)


def test_it_is_found_on_either_side_alike() -> None:
    assert log_evidence(30, 5) == pytest.approx(log_evidence(5, 30))
    assert log_evidence(30, 5) > log(1000)
    assert log_evidence(12, 8) < 0
    assert log_evidence(5_000_000, 5_000_000) < 0


def test_balance_is_rarely_called_leaning_although_looked_at_after_every_pair() -> None:
    rng, called = Random("balance"), 0
    for _ in range(200):
        b = c = 0
        for _ in range(300):
            leans = rng.random() < 0.5
            b, c = b + leans, c + (not leans)
            if log_evidence(b, c) >= -log(0.05):
                called += 1
                break
    assert called <= 12  # 6 % of the runs; alpha is 5 %
