import orjson
import pytest

from proxy.admin.hiding import SHOWN, WHY, hidden
from proxy.config.rollout_schema import Rollout
from proxy.model.records import Outcome, Record
from proxy.outcomes.pairing import make_pair, rules

SAID = "the-agent-said-so"


def document(status: int) -> dict[str, object]:
    """What is recorded where legacy answers with this status, and the agent says SAID, twice."""
    rollout = Rollout.model_validate(
        {"agent": "agent", "version": "v1", "salt": "s", "pending": {}, "compare": {"decision": "$.decision"}}
    )
    said = Outcome(200, 0.1, headers=(("content-type", SAID),), body=orjson.dumps({"decision": SAID, "why": SAID}))
    record = Record(
        "r-1", "0" * 32, "refunds", *("v1", "shadow", 1), 1e9, "POST", "/refunds", "abcd", 7, "legacy", "legacy",
        "bucket_out", "mirrored", body=b'{"amount": 5}', agent=said, repeat=said,
        legacy=Outcome(status, 0.2, body=b'{"case_id": "c-1", "decision": "approve"}'),
    )  # fmt: skip
    return {"id": "refunds.1-0", **make_pair(record, rules(rollout)).document}


def test_of_an_open_pair_nothing_is_left_that_the_agent_said() -> None:
    pair = document(202)
    shown = hidden({**pair, "steps": [{"name": SAID}], "step_totals": {"tools": SAID}, "new": {SAID: SAID}})
    assert SAID in orjson.dumps(pair).decode()
    assert SAID not in orjson.dumps(shown).decode()
    assert (shown["agent"], shown["repeat"], shown["differences"], shown["steps"]) == (None, None, [], [])
    assert shown["hidden"] == WHY


def test_it_keeps_its_shape_and_all_that_is_of_legacy_and_the_request() -> None:
    pair = document(202)
    shown = hidden(pair)
    assert shown.keys() - {"hidden"} == pair.keys()
    assert {name: shown[name] for name in SHOWN if name in pair} == {name: pair[name] for name in SHOWN if name in pair}
    assert shown["pending"] == {"until": pair["pending"]["until"]}  # type: ignore[index]


@pytest.mark.parametrize("verdict", ["matched", "mismatched", "incomparable", "expired", None])
def test_a_pair_that_is_not_open_is_shown_as_it_is(verdict: str | None) -> None:
    pair = {**document(202), "verdict": verdict}
    assert hidden(pair) is pair


def test_one_that_cannot_be_read_is_shown_as_it_is() -> None:
    pair = {"id": "refunds.1-0", "unreadable": "its key is gone"}
    assert hidden(pair) is pair
