"""When the agent fails: whether legacy fails too."""

import pytest

from proxy.gateway.evidence import Ends
from proxy.gateway.shared import legacy_fails_too

NOTHING = Ends()


@pytest.mark.parametrize(
    ("drawn", "taken", "share", "too"),
    [
        pytest.param(Ends(20, 0), NOTHING, 1.0, False, id="legacy is well"),
        pytest.param(Ends(0, 20), NOTHING, 1.0, True, id="legacy fails alike"),
        pytest.param(Ends(8, 12), NOTHING, 1.0, True, id="legacy fails a little less"),
        pytest.param(Ends(12, 8), NOTHING, 1.0, False, id="legacy fails much less"),
        pytest.param(Ends(70, 30), NOTHING, 0.5, True, id="both fail by half"),
        pytest.param(Ends(0, 2), NOTHING, 1.0, False, id="too few to tell"),
        pytest.param(Ends(1, 0, open=9), NOTHING, 1.0, True, id="legacy hangs"),
        pytest.param(Ends(0, 0), Ends(0, 8), 1.0, True, id="what legacy takes over fails too"),
        pytest.param(Ends(1, 0), Ends(0, 0, open=8), 1.0, False, id="what legacy takes over is under way"),
        pytest.param(Ends(0, 1), Ends(8, 0), 1.0, False, id="what legacy takes over is well"),
    ],
)
def test_legacy_is_looked_at_since_the_agent_began_to_fail(drawn: Ends, taken: Ends, share: float, too: bool) -> None:
    before = Ends(10_000, 100, open=5), Ends(300, 3, open=1)
    now = (
        Ends(10_000 + drawn.ok, 100 + drawn.failed, 5 + drawn.open),
        Ends(300 + taken.ok, 3 + taken.failed, 1 + taken.open),
    )
    assert legacy_fails_too(before, now, share) is too


def test_what_was_open_and_ended_since_makes_up_for_nothing() -> None:
    """Fewer are open than before: that is no failure, and takes none away."""
    before, now = (Ends(0, 0, open=50), NOTHING), (Ends(10, 2, open=40), NOTHING)
    assert not legacy_fails_too(before, now, 1.0)
    assert legacy_fails_too((Ends(0, 0, open=50), NOTHING), (Ends(0, 12, open=38), NOTHING), 1.0)
