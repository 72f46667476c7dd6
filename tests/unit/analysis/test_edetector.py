"""The slow rule: exact whatever the error rate does, as long as both arms share it."""

from random import Random

from proxy.analysis.block import Block
from proxy.analysis.edetector import EDetector

LIMIT = 20.0
DAY = 1_000.0
"""A short one: one block a second."""


def fires(rng: Random, agents_part: float) -> bool:
    """Over a day whose shared rate jumps about. `agents_part`: of all bad ones, the share that is the agent's."""
    detector, rate = EDetector(0.0, LIMIT, DAY), 0.1
    for second in range(int(DAY)):
        if second % 50 == 0:
            rate = rng.choice((0.001, 0.02, 0.1, 0.5))
        bad = sum(rng.random() < rate for _ in range(10))
        agents = sum(rng.random() < agents_part for _ in range(bad))
        if detector.close(Block(1.0, 5, min(agents, 5), 5, bad - min(agents, 5))):
            return True
    return False


def test_a_rate_that_both_arms_share_rarely_fires_it_however_it_moves() -> None:
    """At most once in LIMIT days, whatever the seed; half of all bad ones are the agent's."""
    rng = Random("shared")
    assert sum(fires(rng, 0.5) for _ in range(60)) <= 60 / LIMIT * 2


def test_an_agent_with_most_of_them_does() -> None:
    rng = Random("worse")
    assert all(fires(rng, 0.8) for _ in range(5))


def test_it_remembers_what_it_was_given_back() -> None:
    detector, other = EDetector(0.002, 2_000.0, 86_400.0), EDetector(0.002, 2_000.0, 86_400.0)
    for _ in range(20):
        detector.close(Block(0.2, 10, 1, 90, 1))
    other.restore(detector.dump())
    assert (other.score(), other.dump()) == (detector.score(), detector.dump())
