from collections import Counter
from random import Random

import pytest

from proxy.demo import agent, human
from proxy.demo.refunds import Customer, RefundRequest


def requests(count: int, seed: int = 7) -> list[RefundRequest]:
    random = Random(seed)
    customers = [Customer.draw(number, random) for number in range(300)]
    return [customers[number % 300].ask(number, random) for number in range(count)]


def refund(**changes: object) -> RefundRequest:
    plain = {"id": "r", "user": "u", "amount": 50.0, "reason": "late", "order_age_days": 3, "refunds_last_year": 0}
    return RefundRequest.model_validate(plain | changes)


@pytest.mark.parametrize(
    ("asked", "decision"),
    [
        (refund(), "approved"),
        (refund(order_age_days=30), "approved"),
        (refund(order_age_days=31), "denied"),
        (refund(reason="damaged", order_age_days=60), "approved"),
        (refund(refunds_last_year=4), "denied"),
        (refund(reason="changed_mind", amount=401), "denied"),
        (refund(reason="other", amount=100), "approved"),
        (refund(reason="other", amount=101), "denied"),
    ],
)
def test_the_human_follows_the_house_rules(asked: RefundRequest, decision: str) -> None:
    assert human.opinion(asked)[0] == decision


@pytest.mark.parametrize(
    ("asked", "of_human", "of_agent"),
    [
        (refund(order_age_days=30), "approved", "denied"),
        (refund(reason="changed_mind", order_age_days=15), "denied", "approved"),
        (refund(reason="changed_mind", amount=350), "approved", "denied"),
        (refund(reason="other"), "approved", "needs_review"),
    ],
)
def test_the_agent_learned_other_limits(asked: RefundRequest, of_human: str, of_agent: str) -> None:
    assert human.opinion(asked)[0] == of_human
    assert agent.opinion(asked)[0] == of_agent


def test_the_agent_agrees_in_about_985_of_1000_and_hands_over_about_10() -> None:
    asked = requests(20_000)
    handed_over = [one for one in asked if agent.opinion(one)[0] == "needs_review"]
    judged = [one for one in asked if agent.opinion(one)[0] != "needs_review"]
    agreed = sum(human.opinion(one)[0] == agent.opinion(one)[0] for one in judged)

    assert 0.98 < agreed / len(judged) < 0.992
    assert 0.007 < len(handed_over) / len(asked) < 0.013


def test_both_answers_are_common() -> None:
    decisions = Counter(human.opinion(one)[0] for one in requests(5_000))

    assert 0.5 < decisions["approved"] / 5_000 < 0.9


def test_the_agent_is_less_sure_near_a_limit() -> None:
    _, _, near = agent.opinion(refund(order_age_days=29))
    _, _, far = agent.opinion(refund(order_age_days=3))

    assert near < 0.8
    assert far > 0.99


def test_the_same_seed_asks_the_same() -> None:
    assert requests(100) == requests(100) != requests(100, seed=8)
