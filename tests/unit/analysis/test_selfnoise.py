"""Diffy's rule, on shares."""

import pytest

from proxy.analysis.selfnoise import MIN_REPEATS, fields


@pytest.mark.parametrize(
    ("pairs", "repeats", "noisy"),
    [
        (5_000, 500, True),  # 50 % and 50 %
        (5_000, 340, True),  # 50 % and 34 %: by 19 % of both together
        (5_000, 330, False),  # 50 % and 33 %: by 20.5 %
        (300, 500, True),  # the agent differs from itself more than from legacy
        (12, 1, True),  # 0.12 % and 0.10 %
        (5_000, 0, False),
        (1, 0, False),
    ],
)
def test_a_field_is_noise_where_it_differs_little_more_than_from_itself(pairs: int, repeats: int, noisy: bool) -> None:
    (field,) = fields({"$.a": (pairs, repeats)}, 10_000, 1_000)
    assert (field.raw_rate, field.noise_rate, field.noisy) == (pairs / 10_000, repeats / 1_000, noisy)


def test_what_lies_apart_by_a_trifle_of_all_requests_is_noise() -> None:
    (field,) = fields({"$.a": (45, 2)}, 100_000, 10_000)  # 0.045 % and 0.02 %
    assert field.noisy is True
    (field,) = fields({"$.a": (60, 2)}, 100_000, 10_000)  # 0.06 % and 0.02 %
    assert field.noisy is False


def test_a_few_repeats_tell_nothing() -> None:
    (field,) = fields({"$.a": (50, 50)}, 100, MIN_REPEATS - 1)
    assert (field.noisy, field.noise_rate) == (None, 50 / (MIN_REPEATS - 1))
    assert fields({"$.a": (50, 50)}, 100, MIN_REPEATS)[0].noisy is True
    assert fields({"$.a": (50, 0)}, 100, 0)[0] == ("$.a", 50, 0, 0.5, None, None)
    assert fields({"$.a": (0, 50)}, 0, 200)[0].noisy is None


def test_those_that_differ_most_come_first() -> None:
    counts = {"$.a": (1, 0), "$.c": (7, 0), "$.b": (7, 1)}
    assert [field.path for field in fields(counts, 10, 10)] == ["$.b", "$.c", "$.a"]
