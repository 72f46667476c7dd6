"""Texts without what is not told apart in them."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.outcomes.text import MAX_STACKED, cleaner

STEPS = st.lists(st.sampled_from(["unicode", "case", "space"]), min_size=1, max_size=3).map(tuple)


@pytest.mark.parametrize(
    ("steps", "text", "clean"),
    [
        (("case",), "Straße", "strasse"),
        (("space",), "  a \t\n b\u00a0c ", "a b c"),
        (("unicode",), "\ufb01ne \u2460 e\u0301", "fine 1 \u00e9"),
        (("case", "unicode"), "\u212bNGSTR\u00d6M", "\u00e5ngstr\u00f6m"),
        (("space", "case", "unicode"), " \uff39\uff25\uff33\u3000please ", "yes please"),
        (("case",), " Yes ", " yes "),
    ],
)
def test_each_step_removes_what_it_names_and_nothing_else(steps: tuple[str, ...], text: str, clean: str) -> None:
    assert cleaner(steps)(text) == clean


@given(STEPS, st.text())
def test_cleaning_is_idempotent_and_the_order_of_steps_says_nothing(steps: tuple[str, ...], text: str) -> None:
    clean = cleaner(steps)(text)
    assert cleaner(steps)(clean) == clean
    assert cleaner(tuple(reversed(steps)))(text) == clean


@pytest.mark.parametrize("marks", ["\u0300\u0327", "\u0f73", "\uff9e\u0300"])
def test_marks_without_end_cost_no_more_than_their_number(marks: str) -> None:
    clean = cleaner(("unicode", "case"))
    pile = "e" + "".join(mark * 100_000 for mark in marks)
    began = time.process_time()
    assert clean(pile) == pile
    assert time.process_time() - began < 5  # in order, they take minutes


def test_as_many_marks_as_a_text_may_have_are_put_in_order() -> None:
    clean = cleaner(("unicode",))
    half = MAX_STACKED // 2
    word = "k" + "\u0300" * half + "\u0327" * half
    assert clean(word * 3) == ("\u0137" + "\u0327" * (half - 1) + "\u0300" * half) * 3
