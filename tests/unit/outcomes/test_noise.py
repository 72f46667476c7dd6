"""Which differences of a pair the agent shows between its own answers too."""

import pytest

from proxy.outcomes.compare import Difference
from proxy.outcomes.decision import Place
from proxy.outcomes.noise import MAX_PATH, Field, Noise, fields, general


def differ(*places: Place, loose: bool = False) -> list[Difference]:
    return [Difference(place, 1, 2, loose) for place in places]


@pytest.mark.parametrize(
    ("place", "path"),
    [
        ((), "$"),
        (("lines", 3, "price"), "$.lines[*].price"),
        (("first-name",), "$['first-name']"),
        (("größe",), "$['größe']"),
        (("users", "bob@example.com", "state"), "$.users[*].state"),
        (("Jane Doe",), "$[*]"),
        (("orders", "A-100274"), "$.orders[*]"),
        (("line1", "v2"), "$.line1.v2"),
        (("8f14e45f",), "$[*]"),
        (("x" * 41,), "$[*]"),
        (("a\u202eb",), "$[*]"),
    ],
)
def test_a_path_names_no_element_and_no_value(place: Place, path: str) -> None:
    assert general(place) == path


def test_a_path_is_short() -> None:
    assert len(general(("name",) * 60)) == MAX_PATH


def test_what_differs_in_the_repeat_too_or_is_a_part_of_it_is_noise() -> None:
    noise = Noise(differ(("text",), ("lines", 0)))
    covered = [noise.covers(found) for found in differ(("text",), ("lines", 0, "price"), ("lines", 1), ("lines",), ())]
    assert covered == [True, True, False, False, False]
    assert not Noise([]).covers(differ(("text",))[0])


def test_elements_of_a_list_without_order_are_noise_where_the_list_is() -> None:
    noise = Noise(differ(("tags", 0), loose=True))
    assert noise.covers(differ(("tags", 5), loose=True)[0])
    assert not noise.covers(differ(("names", 0), loose=True)[0])


def test_each_path_counts_once_for_a_pair_and_once_for_its_repeat() -> None:
    pair = differ(("lines", 0, "price"), ("lines", 1, "price"), ("text",))
    assert fields(pair, []) == (Field("$.lines[*].price", 1, 0), Field("$.text", 1, 0))
    assert set(fields(pair, differ(("lines", 7, "price"), ("id",)))) == {
        Field("$.lines[*].price", 1, 1),
        Field("$.text", 1, 0),
        Field("$.id", 0, 1),
    }
