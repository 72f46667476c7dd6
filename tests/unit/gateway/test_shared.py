"""When the agent fails: whether legacy fails too."""

import pytest

from proxy.gateway.evidence import Ends
from proxy.gateway.shared import Shared, legacy_fails_too
from proxy.gateway.table import RolloutEntry
from proxy.model.snapshot import KeySource, MatchSpec, RolloutSpec, RouteSpec, Snapshot, UpstreamSpec
from proxy.model.words import Phase

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


def snapshot(number: int) -> Snapshot:
    spec = RolloutSpec("b", "v", "canary", Phase.PROGRESSING, 1, 5_000, (KeySource("client_ip"),), "s")
    upstreams = (UpstreamSpec("a", "127.0.0.1", 1), UpstreamSpec("b", "127.0.0.1", 2))
    return Snapshot(number, (RouteSpec("r", MatchSpec(), "a", spec),), upstreams)


async def test_an_outage_of_both_arms_over_a_new_snapshot_is_not_the_agents() -> None:
    """Timeouts end what began a minute ago, by a table that has been replaced since; and then what began by this one.
    Legacy's thousands of good answers before the outage are not to be set against its failures in it."""
    trips: list[str] = []
    shared = Shared(snapshot(1), lambda _route, _rollout, reason: trips.append(reason))

    def present() -> RolloutEntry:
        ((_, entry),) = shared.table.rollouts()
        return entry

    def fail(entry: RolloutEntry) -> None:
        legacy = entry.legacy.tally
        for _ in range(20):
            legacy.open += 1
            legacy.outcome(0, failed=True, slow=False)
            legacy.open -= 1
        shared.agent_did("r", entry, failed=True, connect=False, unasked=False)

    old = present()
    old.legacy.tally.ok = 5_000
    shared.use(snapshot(2))
    assert present() is not old
    for _ in range(4):
        fail(old)
    for _ in range(30):
        fail(present())
    assert trips == []
