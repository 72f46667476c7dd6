"""What is read is what is there."""

import pytest

from proxy.telemetry.visible import visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ünïcode\n\tand a tab", "plain ünïcode\n\tand a tab"),
        ("a family 👩\u200d👧", "a family 👩\u200d👧"),
        ("\x1b[2Jgone", "\\u001b[2Jgone"),
        ("\x9b2J", "\\u009b2J"),
        ("over\rwritten", "over\\u000dwritten"),
        ("abc\u202ecba", "abc\\u202ecba"),
        ("zero\u200bwidth", "zero\\u200bwidth"),
        ("half \ud83d of one", "half \\ud83d of one"),
    ],
)
def test_it_is_shown(text: str, shown: str) -> None:
    assert visible(text) == shown
