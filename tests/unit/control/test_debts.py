from proxy.control import debts
from proxy.control.debts import MAX_SOURCES, MAX_TICKS, Debts
from proxy.model.measures import OWED, PAIRS_DROPPED, RECORDS
from proxy.model.tick import Tick

Dropped = list[tuple[str, str, int]]


def desk() -> tuple[Debts, Dropped]:
    dropped: Dropped = []
    return Debts(lambda *what: dropped.append(what)), dropped


def handed_over(source: str, seq: int, records: int, route: str = "refunds") -> Tick:
    return Tick(source, seq, 0.0, {RECORDS.name: {(route,): records}})


def owes(source: str, seq: int, records: int, route: str = "refunds") -> Tick:
    """The next life's first tick."""
    return Tick(source + "+", 1, 0.0, {OWED.name: {(route, source, str(seq)): records}})


def test_what_nobody_has_is_lost() -> None:
    books, dropped = desk()
    books.take(handed_over("a", 1, 10))
    books.take(owes("a", 1, 3))
    assert dropped == [("refunds", "worker_killed", 3)]


def test_what_came_without_an_acknowledgement_is_not() -> None:
    books, dropped = desk()
    for seq in (1, 2, 3):
        books.take(handed_over("a", seq, 10))
    books.take(owes("a", 1, 23))
    assert dropped == [("refunds", "worker_killed", 3)]
    books.take(owes("b", 0, 0))
    books.take(handed_over("b", 1, 5))
    books.take(owes("b", 0, 5))
    assert len(dropped) == 1


def test_what_was_counted_as_dropped_is_not_counted_twice() -> None:
    books, dropped = desk()
    books.take(Tick("a", 2, 0.0, {PAIRS_DROPPED.name: {("refunds", "worker_full"): 4, ("refunds", "too_large"): 1}}))
    books.take(owes("a", 1, 6))
    assert dropped == [("refunds", "worker_killed", 1)]


def test_routes_and_sources_are_counted_apart() -> None:
    books, dropped = desk()
    books.take(handed_over("a", 2, 10, "claims"))
    books.take(handed_over("b", 2, 10))
    books.take(owes("a", 1, 4))
    assert dropped == [("refunds", "worker_killed", 4)]


def test_what_a_killed_life_had_taken_over_and_said_is_its_own_debt_no_more() -> None:
    books, dropped = desk()
    books.take(owes("a", 0, 4))  # by "a+", which was killed before it heard that it had been said
    books.take(owes("a+", 0, 5))
    assert dropped == [("refunds", "worker_killed", 4), ("refunds", "worker_killed", 1)]


def test_who_tells_it_in_the_name_of_the_life_that_is_over_tells_it_as_well() -> None:
    books, dropped = desk()
    books.take(handed_over("a", 5, 10))
    books.take(Tick("a", 9, 0.0, {OWED.name: {("refunds", "a", "4"): 14}}))
    assert dropped == [("refunds", "worker_killed", 4)]


def test_a_process_that_knows_nothing_counts_the_most_there_can_be() -> None:
    books, dropped = desk()
    books.take(owes("a", 7, 40))
    assert dropped == [("refunds", "worker_killed", 40)]


def test_what_is_remembered_is_bounded() -> None:
    books, _ = desk()
    for number in range(MAX_SOURCES + 10):
        books.take(handed_over(f"s{number}", 1, 1))
    for seq in range(MAX_TICKS + 10):
        books.take(handed_over("a", seq, 1))
    assert len(books._came) == debts.MAX_SOURCES
    assert len(books._came["a"]) == MAX_TICKS
