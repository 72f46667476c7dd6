"""Texts without what is not told apart in them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.outcomes.text import cleaner

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
