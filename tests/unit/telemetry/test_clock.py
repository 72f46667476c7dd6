"""How times are written."""

import pytest

from proxy.telemetry.clock import SystemClock, rfc3339


@pytest.mark.parametrize(
    ("at", "written"),
    [(0.0, "1970-01-01T00:00:00.000Z"), (1_800_000_000.1239, "2027-01-15T08:00:00.123Z")],
)
def test_times_are_rfc_3339_in_utc(at: float, written: str) -> None:
    assert rfc3339(at) == written


def test_the_real_clock_goes_on() -> None:
    clock = SystemClock()
    assert clock.monotonic() <= clock.monotonic()
    assert clock.now() > 1_700_000_000
