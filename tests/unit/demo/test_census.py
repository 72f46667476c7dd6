from proxy.demo import census
from proxy.demo.census import Answer, Census


def answer(user: str, arm: str, at: float = 10.0, handed_over: str = "") -> Answer:
    return Answer(at, 0.05, user, arm, handed_over)


def of(asked: int, inside: int) -> Census:
    return Census(frozenset(map(str, range(asked))), frozenset(map(str, range(inside))), frozenset())


def test_who_is_inside() -> None:
    seen = census.take([answer("a", "agent"), answer("b", "legacy"), answer("c", "legacy", handed_over="5xx")], 0, 20)

    assert seen == Census(frozenset("abc"), frozenset("ac"), frozenset())


def test_requests_outside_the_window_do_not_count() -> None:
    answers = [answer("a", "agent", at=9.9), answer("b", "legacy", at=10.0), answer("c", "agent", at=20.0)]

    assert census.take(answers, 10, 20).asked == {"b"}


def test_a_user_served_by_both_arms_is_torn() -> None:
    assert census.take([answer("a", "agent"), answer("a", "legacy"), answer("b", "agent")], 0, 20).torn == {"a"}


def test_a_share_is_fair_within_four_standard_deviations() -> None:
    # 300 users at 5 %: 15 expected, standard deviation 3.8
    assert census.is_fair(of(300, 15), 5)
    assert census.is_fair(of(300, 30), 5)
    assert not census.is_fair(of(300, 31), 5)
    assert not census.is_fair(of(300, 0), 10)


def test_at_zero_percent_nobody_may_be_inside() -> None:
    assert census.is_fair(of(300, 0), 0)
    assert not census.is_fair(of(300, 1), 0)


def test_lost_are_those_who_came_back_and_were_not_inside() -> None:
    before = Census(frozenset("abc"), frozenset("abc"), frozenset())
    after = Census(frozenset("ab"), frozenset("a"), frozenset())

    assert census.lost(before, after) == {"b"}
