"""The clients' and upstreams' logs against `/metrics`, the store's pairs and the stage's evidence.

What a client cannot know is bounded: whether it left before its answer was there, and which of two that raced came
first (`Act.open_end`). All else must be exact.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from proxy.model.words import Failure
from tests.integration.soak.upstream import FaultyUpstream, Seen
from tests.integration.soak.visits import Ledger, Outcome

Row = tuple[str, ...]
SERVED = ("legacy", "canary", "fallback")


class Values:
    """What `/metrics` shows. Names are without their prefix."""

    def __init__(self, text: str) -> None:
        self._samples = [
            (sample.name.removeprefix("crossfade_"), sample.labels, sample.value)
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        ]

    def by(self, name: str, *labels: str, **fixed: str) -> Counter[Any]:
        """The values above 0 of a family, added up by these labels: a tuple, or where it is one, its value."""
        found: Counter[Any] = Counter()
        for sample, given, value in self._samples:
            if sample == name and fixed.items() <= given.items() and value:
                row = tuple(given[label] for label in labels)
                found[row[0] if len(row) == 1 else row] += int(value)
        return found

    def seconds(self, name: str) -> float:
        """What a histogram's durations add up to."""
        return sum(value for sample, _, value in self._samples if sample == f"{name}_sum")

    def total(self, name: str, **fixed: str) -> int:
        return self.by(name, **fixed).total()


class Books:
    """`renewed`: how many times the upstreams' settings changed, which ends a check that is under way."""

    def __init__(self, ledger: Ledger, human: FaultyUpstream, agent: FaultyUpstream, renewed: int) -> None:
        self._ledger, self._human, self._agent, self._renewed = ledger, human, agent, renewed
        self._left = [each for each in ledger.outcomes if each.answer is None and not each.cut]
        self._raced = sum(
            seen.act.open_end for log in (human.log, agent.log) for tries in log.values() for seen in tries
        )

    def faults(self, values: Values, totals: dict[str, Any]) -> list[str]:
        """What does not add up, one line each. `totals` is the stage's evidence."""
        checks: list[Callable[[], Iterator[str]]] = [
            lambda: self._answers(values),
            lambda: self._once_each(values),
            lambda: self._copies(values),
            lambda: self._second_chances(values),
            lambda: self._durations(values),
            lambda: self._evidence(values, totals),
            lambda: self._checks(values),
            lambda: _at_rest(values),
        ]
        return [fault for check in checks for fault in check()]

    def _begun(self, route: str) -> list[Outcome]:
        return [each for each in self._ledger.outcomes if each.ask.route == route]

    def _answers(self, values: Values) -> Iterator[str]:
        """requests_total, row by row."""
        labels = ("route", "arm", "mode", "code")
        rows = sum((values.by("requests_total", *labels, mode=mode) for mode in SERVED), Counter())
        known: Counter[Row] = Counter()
        by_us: Counter[Row] = Counter()
        for each in self._ledger.outcomes:
            answer, route = each.answer, each.ask.route
            if each.cut:
                by_us[(route, "200")] += 1
            elif answer is None or answer.status == 408:
                continue
            elif answer["x-number"] is None:
                by_us[(route, str(answer.status))] += 1
            else:
                known[(route, answer["x-crossfade-arm"] or "", answer["x-mode"] or "", str(answer.status))] += 1
        if missing := known - rows:
            yield f"answers that were not counted: {missing}"
        over: Counter[Row] = Counter()
        for (route, _, _, code), count in (rows - known).items():
            over[(route, code)] += count
        if missing := by_us - over:
            yield f"errors and cut answers that were not counted: {missing}"
        unread = len(self._left) - values.total("client_gone_total")
        if (over - by_us).total() != unread:
            yield f"{unread} clients left with an answer under way, but of nobody are {over - by_us}"

    def _once_each(self, values: Values) -> Iterator[str]:
        """Each request that was begun is answered, refused or left; has one decision and one fate."""
        for route in ("refunds", "plain"):
            begun = self._begun(route)
            slow = sum(each.answer is not None and each.answer.status == 408 for each in begun)
            counted = sum(values.total("requests_total", route=route, mode=mode) for mode in SERVED)
            gone = values.total("client_gone_total", route=route)
            if counted + gone + slow != len(begun):
                yield f"{route}: {counted} answered + {gone} left + {slow} too slow, of {len(begun)}"
        yield from _same("refused", values.by("refused_total", "error"), Counter(self._ledger.refused))
        requests = len(self._begun("refunds"))
        for name in ("decisions_total", "shadow_total"):
            if values.total(name) != requests or values.total(name, route="refunds") != requests:
                yield f"{requests} requests, {name}: {values.by(name, 'route')}"
        tunnels = sum(each.ask.upgrade for each in self._begun("refunds"))
        if values.total("shadow_total", fate="upgraded") != tunnels:
            yield f"{tunnels} tunnels asked for, not {values.total('shadow_total', fate='upgraded')}"

    def _copies(self, values: Values) -> Iterator[str]:
        seen = [each for tries in self._agent.log.values() for each in tries if each.mode == "shadow"]
        heads = Counter(str(each.act.status) for each in seen if each.act.status)
        yield from self._about("copies' answers", values.by("requests_total", "code", mode="shadow"), heads)
        fates = Counter(
            "mirrored" if each.whole else "timed_out" if each.act.failure is Failure.TIMEOUT else "failed"
            for each in seen
        )
        shown = values.by("shadow_total", "fate")
        del fates["failed"]  # there it may be that no copy was seen
        yield from self._about("fates", Counter({fate: shown[fate] for fate in ("mirrored", "timed_out")}), fates)

    def _second_chances(self, values: Values) -> Iterator[str]:
        unseen = len(self._left) + sum(
            each.answer is not None and each.answer["x-number"] is None for each in self._ledger.outcomes
        )
        for upstream, name in ((self._human, "human"), (self._agent, "agent")):
            again = sum(max(len(_serving(tries)) - 1, 0) for tries in upstream.log.values())
            shown = values.by("retries_total", "reason", upstream=name)
            stale = shown.pop("stale", 0)
            if not again <= shown.total() + stale or shown.total() > again + unseen:
                yield f"{name} was asked again {again} times; {shown}, {stale} for a connection that was closed"
            if not set(shown) <= {"reset", "503"}:
                yield f"retries for {set(shown)}"
        reasons: Counter[str] = Counter()
        for number, tries in self._human.log.items():
            agents = self._agent.tries(number, "canary")
            if tries[0].mode == "fallback" and agents and not agents[-1].act.open_end:
                reasons[(agents[-1].act.failure or Failure.RESET).value] += 1
        shown = values.by("fallbacks_total", "reason")
        if missing := reasons - shown:
            yield f"fallbacks that were not counted: {missing}"
        fallen = sum(tries[0].mode == "fallback" for tries in self._human.log.values())
        if not fallen <= shown.total() <= fallen + unseen:
            yield f"legacy took over {fallen} times, counted are {shown}"

    def _durations(self, values: Values) -> Iterator[str]:
        labels = ("route", "arm", "mode")
        answers = values.by("requests_total", *labels)
        yield from _same("durations", values.by("request_duration_seconds_count", *labels), answers)
        if more := values.by("first_byte_seconds_count", *labels) - answers:
            yield f"first bytes of no answer: {more}"
        for upstream, name in ((self._human, "human"), (self._agent, "agent")):
            heads = sum(seen.act.status > 0 for tries in upstream.log.values() for seen in tries)
            shown = values.total("upstream_duration_seconds_count", upstream=name)
            if not heads - self._raced - len(self._left) <= shown <= heads + upstream.tunnelled.total():
                yield f"{name} began {heads} answers, {shown} were measured"

    def _evidence(self, values: Values, totals: dict[str, Any]) -> Iterator[str]:
        """All that an arm did, but not what there was no room for, what legacy did as a fallback, nor what one user had
        too often."""
        taken_over = values.total("requests_total", route="refunds", mode="fallback")
        no_room: Counter[str] = values.by("requests_total", "arm", route="refunds", code="503")
        no_room["legacy"] -= values.total("requests_total", route="refunds", mode="fallback", code="503")
        for each in self._begun("refunds"):
            answer = each.answer
            if answer is None or answer.status != 503 or answer["x-number"] is None:
                continue
            if answer["x-mode"] != "fallback":
                no_room[answer["x-crossfade-arm"] or ""] -= 1
        no_room["agent"] += values.total("fallbacks_total", reason="overload")
        no_room["agent"] -= values.total("requests_total", mode="shadow", code="503")
        did = values.by("requests_total", "arm", route="refunds") - values.by("outcomes_capped_total", "arm")
        did["legacy"] -= taken_over
        did["agent"] += values.total("fallbacks_total") - values.total("requests_total", mode="shadow")
        did["agent"] += sum(values.total("shadow_total", fate=fate) for fate in ("mirrored", "timed_out", "failed"))
        for arm in ("legacy", "agent"):
            found, expected = totals[arm]["requests"], did[arm] - no_room[arm]
            if not 0 <= found - expected <= len(self._left):  # who left before a 503 does not know whose it was
                yield f"{arm}: evidence of {found} requests, there were {expected}"

    def faults_of_pairs(self, values: Values, pairs: list[dict[str, Any]]) -> Iterator[str]:
        """The same of all pairs in the store, once the rest adds up."""
        answered = sum(values.total("requests_total", route="refunds", mode=mode) for mode in SERVED)
        dropped = values.total("pairs_dropped_total")
        if len(pairs) + dropped != answered:
            yield f"{len(pairs)} pairs and {dropped} dropped, of {answered} answered"
        verdicts = Counter(pair["verdict"] for pair in pairs if pair["verdict"])
        yield from _same("verdicts", values.by("pairs_total", "verdict"), verdicts)
        if twice := Counter(pair["request_id"] for pair in pairs) - Counter({pair["request_id"] for pair in pairs}):
            yield f"recorded more than once: {twice}"
        for pair in pairs:
            bodies = [pair["request"]["body"], *(pair[arm]["body"] for arm in ("legacy", "agent") if pair[arm])]
            numbers = {body["number"] for body in bodies if isinstance(body, dict)}
            if not numbers <= {int(pair["request_id"][1:])}:
                yield f"the pair {pair['request_id']} holds what is of {numbers}"

    def _checks(self, values: Values) -> Iterator[str]:
        for upstream, name in ((self._human, "human"), (self._agent, "agent")):
            shown = values.by("health_checks_total", "result", upstream=name)
            if shown - upstream.checks or (upstream.checks - shown).total() > self._renewed:
                yield f"{name} was checked {upstream.checks}, counted are {shown}"

    def _about(self, what: str, shown: Counter[str], expected: Counter[str]) -> Iterator[str]:
        """The same, but for those of which it is open who came first."""
        if (shown - expected).total() > self._raced or (expected - shown).total() > self._raced:
            yield f"{what}: {shown}, expected are {expected}, give or take {self._raced}"


def _serving(tries: list[Seen]) -> list[Seen]:
    return [seen for seen in tries if seen.mode != "shadow"]


def _same(what: str, shown: Counter[Any], expected: Counter[Any]) -> Iterator[str]:
    if shown != expected:
        yield f"{what}: {shown} are counted, {expected} there were"


def _at_rest(values: Values) -> Iterator[str]:
    """Nothing is under way, nothing was out of bounds."""
    for name in (
        "inflight_requests", "tunnels", "upstream_queue", "upstream_connections", "client_connections",
        "shadow_pending", "upstream_strays_total", "metrics_rejected_total", "overrides_total",
        "connections_refused_total", "rollbacks_total", "spool_frames",
    ):  # fmt: skip
        if values.total(name):
            yield f"{name} is {values.total(name)}"
