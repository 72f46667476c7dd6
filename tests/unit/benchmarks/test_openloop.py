import threading
from collections.abc import Iterator
from itertools import pairwise
from statistics import mean

import pytest

from benchmarks.load.openloop import Ledger, complete, percentile, run, schedule
from tests.unit.benchmarks.answering import Answering

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def test_a_schedule_is_the_same_for_every_proxy() -> None:
    assert schedule(2000, 1) == schedule(2000, 1)
    assert schedule(2000, 1, seed=1) != schedule(2000, 1, seed=2)


def test_a_schedule_holds_its_rate_and_its_length() -> None:
    due = schedule(2000, 5)
    assert due == sorted(due)
    assert due[-1] < 5
    assert len(due) == pytest.approx(10_000, rel=0.03)
    gaps = [after - before for before, after in pairwise(due)]
    assert mean(gap * gap for gap in gaps) == pytest.approx(
        2 / 2000**2, rel=0.1
    )  # exponential: twice the mean's square


@pytest.mark.parametrize(("percent", "value"), [(0, 1), (50, 50), (99, 99), (99.5, 100), (100, 100)])
def test_a_percentile_is_the_nearest_rank(percent: float, value: int) -> None:
    assert percentile(range(1, 101), percent) == value


def test_of_one_value_every_percentile_is_that_value() -> None:
    assert percentile([7.0], 50) == percentile([7.0], 99) == 7.0


def test_a_stall_shows_in_every_request_that_was_due_meanwhile() -> None:
    ledger: Ledger[str] = Ledger([0.0, 0.01, 0.02, 0.03])
    ledger.send("only connection")
    ledger.answered("only connection", now=0.1)  # the other three could not be sent before
    for _ in range(3):
        assert ledger.until_due(0.1) == 0.0
        ledger.send("only connection")
        ledger.answered("only connection", now=0.1)

    assert ledger.latencies == pytest.approx([0.1, 0.09, 0.08, 0.07])
    assert ledger.done


def test_it_waits_until_a_request_is_due() -> None:
    ledger: Ledger[str] = Ledger([0.5])
    assert ledger.until_due(0.2) == pytest.approx(0.3)
    ledger.send("a")
    assert ledger.until_due(0.6) is None
    assert not ledger.done


def test_the_warm_up_is_sent_and_not_counted() -> None:
    ledger: Ledger[str] = Ledger([0.1, 0.2, 0.3], counted_from=0.2)
    for at in (0.15, 0.25, 0.35):
        ledger.send("a")
        ledger.answered("a", at)
    assert ledger.latencies == pytest.approx([0.05, 0.05])
    assert ledger.sent == 3


def test_what_broke_and_what_was_never_answered_are_errors() -> None:
    ledger: Ledger[str] = Ledger([0.1, 0.2, 0.3, 0.4])
    ledger.send("a")
    ledger.failed("a")
    ledger.send("b")
    ledger.give_up()
    assert ledger.errors == 4  # one broke, one was under way, two were never sent
    assert ledger.latencies == []


@pytest.mark.parametrize("end", range(1, len(ANSWER)))
def test_a_part_of_an_answer_is_not_yet_complete(end: int) -> None:
    assert complete(ANSWER[:end]) is False


def test_an_answer_is_complete_with_its_body() -> None:
    assert complete(ANSWER) is True


@pytest.mark.parametrize(
    "head", [b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"]
)
def test_an_error_and_a_body_of_unknown_length_are_no_answers(head: bytes) -> None:
    assert complete(head) is None


@pytest.fixture
def server() -> Iterator[Answering]:
    with Answering(ANSWER) as answering:
        thread = threading.Thread(target=answering.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield answering
        answering.shutdown()
        thread.join()


def test_every_request_is_sent_and_answered_once(server: Answering) -> None:
    ledger = run(server.port, "/split/refunds", schedule(2000, 0.1))

    assert ledger.errors == 0
    assert len(ledger.latencies) == ledger.sent == server.requests
    assert min(ledger.latencies) > 0


def test_a_connection_that_the_server_closes_is_opened_again(server: Answering) -> None:
    server.close_after = 3
    ledger = run(server.port, "/split/refunds", schedule(2000, 0.1))

    assert ledger.errors + len(ledger.latencies) == ledger.sent
    assert server.requests == ledger.sent - ledger.errors
