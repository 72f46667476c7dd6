"""From a worker's record to the pair that is stored: both arms' outcomes side by side, compared and masked.

Each body is decoded and masked once, and both arms' together where they are the same bytes. The verdict is found on
what the arms said; the document holds the masked form only. The agent's answer to the same request asked again is
compared with its first one by the same rules; what differs there too is noise.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

from proxy.config.compare_schema import parse_miss
from proxy.config.rollout_schema import Rollout
from proxy.model.records import Outcome, Record
from proxy.model.words import Arm, Failure, Match
from proxy.outcomes import body, labels, noise, pending
from proxy.outcomes.body import NO_BODY, Body, Kind
from proxy.outcomes.choosing import Chooser
from proxy.outcomes.compare import Answer, Comparer, Comparison, Difference
from proxy.outcomes.decision import MISSING, check_path, compile_path, path_text
from proxy.outcomes.escalation import CONFIDENCE
from proxy.outcomes.redact import MASK, Redactor, look


@dataclass(frozen=True, slots=True)
class Rules:
    """How one rollout's records become pairs. Made once per configuration."""

    comparer: Comparer
    redactor: Redactor
    chooser: Chooser
    segment: Callable[[Any], Any] | None = None
    """Finds in a request's body what `gates.segments.by` names."""
    says_yes: Callable[[Any], bool] | None = None
    """Whether a decision is a yes of `gates.direction`."""
    waiting: pending.Waiting | None = None
    """By what an answer of legacy is none yet."""
    costs: Mapping[tuple[str, str], float] = field(default_factory=dict)
    """What misses cost, by (legacy's decision, the agent's) as they are counted; another one costs 1."""
    confidence_hidden: bool = False
    """The agent's confidence is not kept, so no reason may tell it."""


class Pair(NamedTuple):
    """`verdict` is None where only one arm was asked. `document` is the pair without its `id`, ready for JSON.

    What a comparable pair is counted under: `segment` (None without `gates.segments`), `direction` (None where nobody
    said yes alone), `decisions` of legacy and the agent as labels (None where one is not known, or no single value).
    One that waits for the human's decision is open until `until` (Unix seconds) for whoever names one of its `refs`.

    `repeat` is the verdict on the agent's two answers, None where it was asked once. `fields` are the paths at which
    the arms, or these two answers, differ.
    """

    verdict: Match | None
    document: dict[str, Any]
    segment: str | None = None
    direction: labels.Direction | None = None
    decisions: tuple[str, str] | None = None
    refs: tuple[str, ...] = ()
    until: float = 0.0
    repeat: Match | None = None
    fields: tuple[noise.Field, ...] = ()


def rules(rollout: Rollout) -> Rules:
    """Compile what a rollout says of comparing and masking. Raises ValueError, with the setting's name, where a path is
    no JSONPath."""
    compare, confidence = rollout.compare, rollout.escalate.confidence
    segments, direction = rollout.gates.segments, rollout.gates.direction
    paths = [("escalate.confidence.path", confidence.path)] if confidence is not None else []
    paths += [("gates.segments.by", segments.by)] if segments is not None else []
    for setting, path in paths:
        try:
            check_path(path)
        except ValueError as error:
            raise ValueError(f"{setting}: {error}") from None
    comparer = Comparer(compare)
    chooser = Chooser(rollout.record, rollout.salt)
    return Rules(
        comparer,
        Redactor(rollout.record.redact),
        chooser,
        compile_path(segments.by) if segments is not None else None,
        labels.one_of(map(comparer.name, direction.yes)) if direction is not None else None,
        pending.waiting(rollout.pending, rollout.salt, compare.decision) if rollout.pending is not None else None,
        {
            (labels.label(comparer.name(legacy)), labels.label(comparer.name(agent))): cost
            for (legacy, agent), cost in ((parse_miss(miss), cost) for miss, cost in compare.cost.items())
        },
        confidence is not None and chooser.covers(confidence.path),
    )


def make_pair(record: Record, rules: Rules) -> Pair:
    """The pair of one record.

    In the document times are RFC 3339 in UTC, durations seconds; `first_byte` is null where no body came. A body is its
    JSON value or its text; of other bytes only `{omitted, bytes}` is kept. `verdict_reason` says in a sentence why a
    pair is incomparable, or what it waits for, `more_differences` how many are not listed. `segment` is null where the
    rollout names none. A pair that waits also has `pending`: {until, unfit, refs}, of which `unfit` is a sentence where
    the agent's answer can never be compared, and `refs` is for erasure.
    """
    redactor = rules.redactor
    legacy = _body(record.legacy)
    agent = legacy if _same_body(record) else _body(record.agent)
    result = _chosen(_compare(record, legacy, agent, rules.comparer), legacy, agent, rules)
    opened = pending.opened(record, legacy, rules.waiting)
    if opened is not None and result is not None:
        result = Comparison(Match.PENDING, reason=opened.reason)
    repeat = _repeat(record, agent, rules)
    ours = mask(legacy, rules, record.legacy)
    theirs = ours if agent is legacy and rules.comparer.in_body else mask(agent, rules, record.agent)
    request = body.read(record.body, record.truncated)
    asked = _keep(request, rules)
    segment = rules.segment and labels.label(rules.segment(asked.document))
    document: dict[str, Any] = {
        "request_id": record.request_id,
        "trace_id": record.trace_id,
        "route": record.route,
        "version": record.version,
        "stage": record.stage,
        "epoch": record.epoch,
        "at": _time(record.at),
        "key_hash": record.key_hash,
        "bucket": record.bucket,
        "arm": record.arm,
        "mode": record.mode,
        "reason": record.reason,
        "shadow_fate": record.fate,
        "segment": segment,
        "verdict": result.verdict.value if result else None,
        "verdict_reason": result.reason if result else "only one arm was asked",
        "differences": [_difference(found, redactor, repeat) for found in result.differences] if result else [],
        "more_differences": result.more if result else 0,
        "request": {
            "method": record.method,
            "target": look(record.target),
            "headers": redactor.headers(record.headers),
            "body": asked.shown,
            "truncated": record.truncated,
        },
        "legacy": _outcome(record.legacy, legacy, ours, redactor),
        "agent": _outcome(record.agent, agent, theirs, redactor),
        "repeat": repeat.document if repeat else None,
        "escalation": _escalation(record.escalation, rules),
        "steps": [],
    }
    if opened is not None:
        unfit = _never_fit(record, agent, theirs, rules.comparer)
        document["pending"] = {"until": _time(opened.until), "unfit": unfit, "refs": opened.refs}
        made = Pair(result.verdict if result else None, document, refs=opened.refs, until=opened.until)
    elif result is None:
        made = Pair(None, document)
    else:
        made = counted_pair(result.verdict, document, segment, ours.decision, theirs.decision, rules)
    noted = _noted(result, repeat)
    return made._replace(**noted) if noted else made


def counted_pair(
    verdict: Match, document: dict[str, Any], segment: str | None, legacy: Any, agent: Any, rules: Rules
) -> Pair:
    """The pair with what it is counted under. `legacy` and `agent` are the decisions, masked."""
    if verdict is Match.INCOMPARABLE:
        return Pair(verdict, document)
    direction = labels.direction(rules.says_yes, legacy, agent) if rules.says_yes else None
    return Pair(verdict, document, segment, direction, labels.decisions(verdict, legacy, agent))


class Masked(NamedTuple):
    """What is kept of an answer's body, and the decision in it: a hidden member stays hidden, even where it is the
    decision."""

    body: Any
    decision: Any


def mask(content: Body, rules: Rules, outcome: Outcome | None = None) -> Masked:
    """`outcome` is the one whose body it is, where there is one: a decision may be in a header, or be the status."""
    kept = _keep(content, rules)
    if outcome is None or rules.comparer.in_body:
        return Masked(kept.shown, rules.comparer.decide(Answer(kept.document)))
    headers = tuple(rules.redactor.headers(outcome.headers).items())
    return Masked(kept.shown, rules.comparer.decide(Answer(kept.document, outcome.status, headers)))


class _KeptBody(NamedTuple):
    """A body as the pair shows it, and what may be read from it: its JSON, MISSING where there is none."""

    shown: Any
    document: Any = MISSING


def _keep(content: Body, rules: Rules) -> _KeptBody:
    left = rules.chooser.body(content)
    if not isinstance(left, Body):
        return _KeptBody(left)
    shown = rules.redactor.body(left)
    return _KeptBody(shown, shown if left.kind is Kind.JSON else MISSING)


def _chosen(result: Comparison | None, one: Body, other: Body, rules: Rules) -> Comparison | None:
    """The comparison with what may be kept of its differences."""
    if result is None or not result.differences or rules.chooser.nothing:
        return result
    documents = (content.value if content.kind is Kind.JSON else MISSING for content in (one, other))
    left = rules.chooser.differences(result.differences, *documents)
    return result._replace(differences=left, more=result.more + len(result.differences) - len(left))


def _body(outcome: Outcome | None) -> Body:
    return body.read(outcome.body, outcome.truncated) if outcome else NO_BODY


def _same_body(record: Record) -> bool:
    legacy, agent = record.legacy, record.agent
    if legacy is None or agent is None:
        return False
    return legacy.body == agent.body and legacy.truncated == agent.truncated


def _compare(record: Record, legacy: Body, agent: Body, comparer: Comparer) -> Comparison | None:
    if record.legacy is None or record.agent is None:
        return None
    reason = _unfit(Arm.LEGACY, record.legacy, legacy, comparer) or _unfit(Arm.AGENT, record.agent, agent, comparer)
    if reason:
        return Comparison(Match.INCOMPARABLE, reason=reason)
    return comparer.compare(_answer(record.legacy, legacy), _answer(record.agent, agent), same=legacy.raw == agent.raw)


def _answer(outcome: Outcome, content: Body) -> Answer:
    document = content.value if content.kind is Kind.JSON else MISSING
    return Answer(document, outcome.status, outcome.headers)


class _Repeat(NamedTuple):
    """`differences` are those between the agent's two answers."""

    document: dict[str, Any]
    verdict: Match | None
    differences: tuple[Difference, ...]
    noise: noise.Noise


def _repeat(record: Record, agent: Body, rules: Rules) -> _Repeat | None:
    if record.repeat is None:
        return None
    again = body.read(record.repeat.body, record.repeat.truncated)
    result = _compare(record._replace(legacy=record.agent, agent=record.repeat), agent, again, rules.comparer)
    result = _chosen(result, agent, again, rules)
    kept = _outcome(record.repeat, again, mask(again, rules, record.repeat), rules.redactor)
    assert kept is not None
    kept["verdict"] = result.verdict.value if result else None
    differences = result.differences if result else ()
    return _Repeat(kept, result.verdict if result else None, differences, noise.Noise(differences))


def _noted(result: Comparison | None, repeat: _Repeat | None) -> dict[str, Any]:
    """What the pair's differences, and the repeat, add to what is counted; nothing for most pairs."""
    differences, again = result.differences if result else (), repeat.differences if repeat else ()
    noted: dict[str, Any] = {"repeat": repeat.verdict} if repeat else {}
    if differences or again:
        noted["fields"] = noise.fields(differences, again)
    return noted


def _unfit(arm: Arm, outcome: Outcome, content: Body, comparer: Comparer) -> str:
    """Why an arm's answer cannot be compared; empty where it can."""
    if outcome.error == Failure.ESCALATION:
        return f"{arm} handed over to the human"
    if outcome.error:
        return f"{arm} did not complete: {outcome.error}"
    if outcome.status == 0 or outcome.status >= 500:
        return f"{arm} failed with status {outcome.status}"
    if not comparer.in_body:
        return ""
    if not content.whole:
        return f"{arm}'s answer is longer than record.max_body"
    if content.kind is Kind.NONE:
        return f"{arm}'s answer has no body, or none was kept"
    if content.kind is not Kind.JSON:
        return f"{arm}'s answer is not JSON"
    return ""


def _never_fit(record: Record, agent: Body, masked: Masked, comparer: Comparer) -> str:
    """Why no decision of the human can be compared with what the agent did; empty where one can."""
    if record.agent is None:
        return ""
    reason = _unfit(Arm.AGENT, record.agent, agent, comparer)
    if not reason and masked.decision is MISSING:
        reason = f"{Arm.AGENT}'s answer has no decision"
    return reason


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def _outcome(outcome: Outcome | None, content: Body, masked: Masked, redactor: Redactor) -> dict[str, Any] | None:
    if outcome is None:
        return None
    return {
        "status": outcome.status,
        "decision": None if masked.decision is MISSING else masked.decision,
        "duration": round(outcome.duration, 6),
        "first_byte": round(outcome.first_byte, 6) or None,
        "error": outcome.error or None,
        "headers": redactor.headers(outcome.headers),
        "body": masked.body,
        "truncated": outcome.truncated or not content.whole,
    }


def _difference(found: Difference, redactor: Redactor, repeat: _Repeat | None) -> dict[str, Any]:
    """As JSON. `missing` names the arm that has nothing at the path; null stands for it. `noise` is there, and true,
    where the agent differs from itself too."""
    hidden = any(isinstance(part, str) and redactor.hides(part) for part in found.place)
    shown: dict[str, Any] = {"path": path_text(found.place)}
    for arm, value in ((Arm.LEGACY, found.legacy), (Arm.AGENT, found.agent)):
        if value is MISSING:
            shown |= {arm.value: None, "missing": arm.value}
        else:
            shown[arm.value] = MASK if hidden else redactor.value(value)
    if repeat is not None and repeat.noise.covers(found):
        shown["noise"] = True
    return shown


def _escalation(escalation: tuple[str, str] | None, rules: Rules) -> dict[str, str] | None:
    if escalation is None:
        return None
    escalation_id, reason = escalation
    if rules.confidence_hidden and reason.startswith(CONFIDENCE):
        reason = CONFIDENCE
    return {"id": escalation_id, "reason": rules.redactor.text(reason)}
