"""A move of a rollout as a document."""

from proxy.admin.documents import event_document
from proxy.model.rollouts import Event, GateResult
from proxy.model.words import Verdict


def test_a_move_tells_when_who_from_where_to_where_and_why() -> None:
    gate = GateResult("agreement", Verdict.PASSED, 0.97, 0.955, 0.95, 800, "agreement is at least 95.5 %")
    event = Event(
        at=1_800_000_000.0,
        route="refunds",
        version="v2",
        kind="advance",
        actor="controller",
        reason="the gates passed",
        before=("progressing", "shadow", 0),
        after=("progressing", "canary", 5_000),
        gates=(gate,),
    )
    assert event_document(event) == {
        "at": "2027-01-15T08:00:00.000Z",
        "route": "refunds",
        "version": "v2",
        "kind": "advance",
        "actor": "controller",
        "reason": "the gates passed",
        "before": {"phase": "progressing", "stage": "shadow", "weight": 0.0},
        "after": {"phase": "progressing", "stage": "canary", "weight": 5.0},
        "gates": [
            {
                "name": "agreement",
                "verdict": "passed",
                "value": 0.97,
                "bound": 0.955,
                "threshold": 0.95,
                "samples": 800,
                "reason": "agreement is at least 95.5 %",
            }
        ],
    }
