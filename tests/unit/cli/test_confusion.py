"""Decisions set against each other in a terminal of 80 columns."""

from typing import Any

from rich.console import Group

from proxy.admin.documents import evidence_document
from proxy.cli.confusion import MAX_FIELDS, MAX_ROWS, confusion_view, consistency, fields_view, misses
from proxy.model.rollouts import Evidence
from tests.unit.cli.screen import lines, shown


def document(decisions: dict[tuple[str, str], int], **costs: float) -> dict[str, Any]:
    missed = sum(pairs for (legacy, agent), pairs in decisions.items() if legacy != agent)
    seen = Evidence(matched=sum(decisions.values()) - missed, mismatched=missed, decisions=decisions)
    return evidence_document(seen, costs={("approve", "deny"): costs.get("cost", 1.0)})


def test_legacys_decisions_go_down_and_the_agents_across() -> None:
    found = document({("approve", "approve"): 12_345, ("approve", "deny"): 9, ("deny", "deny"): 40}, cost=10.0)
    first, second = found["classes"]
    assert shown(Group(*confusion_view(found))) == [
        ["legacy \\ agent", "approve", "deny", "agree", "surely", "cost"],
        ["approve", "12,345", "9", "99.9%", f"{first['lower_bound']:.1%}", "90"],
        ["deny", "-", "40", "100.0%", f"{second['lower_bound']:.1%}", "0"],
    ]
    assert misses(found) == f"9, which cost 90; {90 / 12_394:.3g} a pair"


def test_rare_decisions_of_the_agent_share_a_column_and_nothing_is_lost() -> None:
    names = ["approve", "deny", "refer to a supervisor", "later", "never", "partly"]
    found = document({("approve", name): 100 - index for index, name in enumerate(names)})
    head, row = shown(Group(*confusion_view(found)))
    assert head[1:5] == ["approve", "deny", "refer t…", "others"]
    assert row[1:5] == ["100", "99", "98", str(97 + 96 + 95)]


def test_it_fits_whatever_decisions_there_are() -> None:
    names = ["w" * 64, "x" * 64, "y" * 64, "[b]z" * 16, *map(str, range(20))]
    decisions = {(one, other): 123_456_789 for one in names for other in names}
    view = confusion_view(document(decisions, cost=1e9))
    said = lines(Group(*view))
    assert max(map(len, said)) <= 80
    assert len(said) == MAX_ROWS + 2  # each on its own line, the head, and how many more there are
    assert said[-1] == f"and {len(names) - MAX_ROWS} rarer decisions, which --json shows"


def test_without_decisions_there_is_no_table() -> None:
    assert confusion_view(document({})) == []
    assert misses(document({})) == ""
    assert misses(document({("approve", "deny"): 3})) == ""  # their number says it


def test_where_the_arms_differ_and_what_of_it_is_noise() -> None:
    counts = {"$.text": (65, 40), "$.decision": (30, 1), **{f"$.f{number}": (1, 0) for number in range(20)}}
    seen = Evidence(matched=70, mismatched=30, repeats=100, repeats_alike=60, fields=counts)
    said = shown(Group(*fields_view(evidence_document(seen)["fields"])))
    assert said[:3] == [
        ["differs", "pairs", "itself", "field"],
        ["65.0%", "65", "40.0%", "$.text"],
        ["30.0%", "30", "1.0%", "$.decision"],
    ]
    assert len(said) == MAX_FIELDS + 1
    noisy = evidence_document(Evidence(matched=100, repeats=100, fields={"$.text": (50, 50)}))["fields"]
    assert shown(Group(*fields_view(noisy)))[1] == ["50.0%", "50", "50.0%", "$.text", "noise"]


def test_how_far_the_agent_agrees_with_itself() -> None:
    assert consistency(evidence_document(Evidence())) == ""
    said = consistency(evidence_document(Evidence(repeats=200, repeats_alike=190)))
    assert said.startswith("95.0% of 200 asked twice alike, surely 8")
