"""Moves, evidence and explanations as documents."""

from dataclasses import replace

import orjson

from proxy.admin.documents import event_document, evidence_document, explanation_document, stage_document
from proxy.analysis.agreement import lower_bound
from proxy.config.gates_schema import Segments
from proxy.model.rollouts import Event, Evidence, GateResult
from proxy.model.snapshot import KeySource
from proxy.model.words import Verdict
from proxy.rollout.shares import ALPHA
from proxy.routing.explain import explain
from tests.integration.admin_world import SEEN, SPEC, STAGES


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
                "dry_run": False,
            }
        ],
    }


def test_what_was_seen_at_a_stage() -> None:
    document = stage_document("v2", 3, "canary", SEEN)
    segments = document.pop("segments")
    assert document == {
        "version": "v2",
        "epoch": 3,
        "stage": "canary",
        "totals": {
            "legacy": {"requests": 950, "failed": 1, "slow": 3},
            "agent": {"requests": 50, "failed": 2, "slow": 0},
        },
        "agreement": {
            "matched": 36,
            "mismatched": 4,
            "incomparable": 0,
            "ratio": 0.9,
            "lower_bound": lower_bound(36, 4, ALPHA),
        },
        "kappa": {"value": None, "lower_bound": -1.0, "upper_bound": 1.0},
        "confusion": [],
        "classes": [],
        "misses": {"pairs": 4, "cost": 4.0, "cost_per_pair": 0.1},
        "consistency": {"repeats": 0, "alike": 0, "ratio": None, "lower_bound": None},
        "fields": [],
        "direction": {"agent_yes": 3, "agent_no": 1},
        "fallback_rate": 0.04,
        "escalation_rate": 0.02,
        "key_coverage": {"requests": 1_000, "no_key": 20, "ratio": 0.98},
    }
    assert [(each["name"], each["matched"], each["mismatched"], each["verdict"]) for each in segments] == [
        ("broken", 6, 3, None),
        ("late", 30, 1, None),
    ]
    assert segments[1]["lower_bound"] == lower_bound(30, 1, ALPHA / 2) < lower_bound(30, 1, ALPHA)


def test_segments_are_those_of_the_gate_where_there_is_one() -> None:
    rule = Segments.model_validate({"by": "$.reason", "agreement": "20%", "min_samples": 10, "min_share": "1%"})
    segments = evidence_document(SEEN, rule)["segments"]
    assert [(each["name"], each["verdict"]) for each in segments] == [("broken", "inconclusive"), ("late", "passed")]


def test_kappa_tells_agreement_from_chance() -> None:
    seen = Evidence(decisions={("yes", "yes"): 400, ("no", "no"): 400, ("yes", "no"): 20})
    found = evidence_document(seen)["kappa"]
    assert 0.8 < found["lower_bound"] < found["value"] < found["upper_bound"] < 1.0


def test_decisions_are_set_against_each_other_and_misses_weighed() -> None:
    decisions = {("approve", "approve"): 90, ("approve", "deny"): 2, ("deny", "deny"): 40, ("deny", "approve"): 3}
    seen = Evidence(matched=130, mismatched=6, decisions=decisions)  # one mismatch whose decisions are hidden
    document = evidence_document(seen, costs={("approve", "deny"): 10.0})
    assert document["confusion"][1] == {"legacy": "approve", "agent": "deny", "pairs": 2, "cost": 20.0}
    assert [(each["decision"], each["agreed"], each["missed"], each["cost"]) for each in document["classes"]] == [
        ("approve", 90, 2, 20.0),
        ("deny", 40, 3, 3.0),
    ]
    assert document["classes"][0]["lower_bound"] == lower_bound(90, 2, ALPHA / 2)
    assert document["misses"] == {"pairs": 6, "cost": 24.0, "cost_per_pair": 24 / 136}


def test_how_far_the_agent_agrees_with_itself_and_where_not() -> None:
    seen = Evidence(
        matched=900, mismatched=100, repeats=200, repeats_alike=150,
        fields={"$.reason": (500, 100), "$.decision": (100, 0), "$.id": (0, 1)},
    )  # fmt: skip
    document = evidence_document(seen)
    assert document["consistency"] == {
        "repeats": 200,
        "alike": 150,
        "ratio": 0.75,
        "lower_bound": lower_bound(150, 50, ALPHA),
    }
    assert [
        (field["path"], field["raw_rate"], field["noise_rate"], field["noisy"]) for field in document["fields"]
    ] == [
        ("$.reason", 0.5, 0.5, True),
        ("$.decision", 0.1, 0.0, False),
        ("$.id", 0.0, 0.005, True),
    ]


def test_what_was_not_seen_has_no_share() -> None:
    document = evidence_document(Evidence())
    assert (document["agreement"]["ratio"], document["agreement"]["lower_bound"]) == (None, None)
    assert (document["fallback_rate"], document["escalation_rate"]) == (None, None)
    assert (document["key_coverage"]["ratio"], document["segments"]) == (None, [])


def test_an_explanation_holds_the_key_s_hash_and_not_the_key() -> None:
    told = explain(SPEC, b"alice", STAGES, 0)
    document = explanation_document("refunds", SPEC, told, why="")
    assert document["key_hash"] == told.key_hash
    assert b"alice" not in orjson.dumps(document)
    assert document["sources"] == [
        {"kind": "header", "name": "x-user-id", "alike": True},
        {"kind": "query", "name": "user", "alike": True},
    ]


def test_an_explanation_without_a_key_has_neither_bucket_nor_hash() -> None:
    spec = replace(SPEC, key=(KeySource("client_ip"),))
    document = explanation_document("refunds", spec, explain(spec, b"", STAGES, 0))
    assert (document["bucket"], document["key_hash"], document["now"]["reason"]) == (None, None, "no_key")
    assert document["sources"] == [{"kind": "client_ip", "name": None, "alike": False}]
