"""How the parts of a view are written."""

import pytest

from proxy.cli.parts import took


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (None, "-"),
        (0.0, "0.00 ms"),
        (7e-06, "0.01 ms"),
        (0.0126, "13 ms"),
        (2.44, "2.4 s"),
        (3600.0, "3,600.0 s"),
    ],
)
def test_what_took_long_and_what_did_not_are_read_alike(seconds: float | None, told: str) -> None:
    assert took(seconds) == told
