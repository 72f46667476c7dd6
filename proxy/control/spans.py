"""Agents' spans, joined to the requests that they belong to: steps are made of them, kept in the store, and logged.

A span belongs to the route that its trace was begun for, and to the pair of its trace. It may come before that pair is
recorded or after: both are found by the trace, and only meet when they are read. So nothing waits here, and nothing is
lost but by a bound, which is counted. While the store is away the sender is told to send again, and keeps them itself.

Each step that is kept is logged once, as `agent_step`, at most LOGGED_PER_SECOND of them; the others are counted. Of
arguments a line has only small ones, masked as they are kept.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import orjson
import structlog

from proxy.config.record_schema import Record
from proxy.config.sharing_schema import Traces
from proxy.control.batching import RouteRules
from proxy.control.forwarding import Forwarder
from proxy.model.clock import Clock
from proxy.model.errors import StoreFormatError, StoreUnavailableError
from proxy.model.spans import Span
from proxy.outcomes.decision import last_name
from proxy.outcomes.redact import Redactor
from proxy.outcomes.steps import Step, make_steps, route_of
from proxy.storage.steps import ERASED, KEPT, KNOWN, OVER, Bounds, Found, StepStore
from proxy.telemetry.families import SPANS, STEPS_UNLOGGED
from proxy.telemetry.metrics import Metrics

_log = structlog.get_logger()

LOGGED_PER_SECOND: Final = 200
MAX_LOGGED: Final = 512
"""Bytes of arguments that are logged; larger ones are left out."""
SLICE_SECONDS: Final = 0.005
"""After so long at a time the loop gets its turn."""

REPEAT: Final = "repeat"
"""The mode of a request that was sent to the agent again: what it did then is no part of the pair."""

_FATES: Final = {KNOWN: "known", OVER: "over_limit", ERASED: "erased"}

_ByRoute = dict[str, dict[str, list[Found]]]


class _Route(NamedTuple):
    bounds: Bounds
    redactor: Redactor


class Spans:
    """`proxy.model.ports.SpanTaker`."""

    def __init__(self, store: StepStore, forwarder: Forwarder, metrics: Metrics, clock: Clock) -> None:
        self._store, self._forwarder, self._metrics, self._clock = store, forwarder, metrics, clock
        self._routes: dict[str, _Route] = {}
        self._allowance, self._since = float(LOGGED_PER_SECOND), clock.monotonic()

    def use(self, rules: Mapping[str, RouteRules], traces: Traces) -> None:
        """From now on spans are of these routes, and go on to that collector."""
        self._routes = {name: _route(each.record) for name, each in rules.items()}
        self._forwarder.use(traces.forward)

    def forward(self, body: bytes, digest: bytes, headers: Mapping[str, str], spans: int) -> None:
        self._forwarder.add(body, digest, headers, spans)

    async def take(self, spans: Sequence[Span], malformed: int) -> int:
        if malformed:
            self._metrics.count(SPANS, "", "malformed", n=malformed)
        beyond = 0
        away: StoreUnavailableError | None = None
        routes = self._routes  # these until the end, whatever is loaded meanwhile
        for route, traces in (await self._sorted(spans, routes)).items():
            try:
                beyond += await self._keep(route, traces, routes[route].bounds)
            except StoreUnavailableError as error:
                away = error
                self._count(route, "store_away", traces)
            except StoreFormatError as error:
                self._count(route, "store_format", traces)
                _log.error("steps_not_kept", route=route, problem=str(error))
        if away is not None:
            raise away
        return beyond

    async def _sorted(self, spans: Sequence[Span], routes: Mapping[str, _Route]) -> _ByRoute:
        """What is to be kept, by route and trace."""
        found: _ByRoute = {}
        loop = asyncio.get_running_loop()
        turn = loop.time()
        for span in spans:
            mode, route = route_of(span)
            known = routes.get(route)
            if known is None:
                self._metrics.count(SPANS, "", "unrelated")
            elif mode == REPEAT:
                self._metrics.count(SPANS, route, "repeat")
            else:
                each = Found(span.span_id, span.parent_id, make_steps(span, known.redactor))
                found.setdefault(route, {}).setdefault(span.trace_id, []).append(each)
            if loop.time() - turn > SLICE_SECONDS:
                await asyncio.sleep(0)
                turn = loop.time()
        return found

    async def _keep(self, route: str, traces: dict[str, list[Found]], bounds: Bounds) -> int:
        beyond = 0
        for trace, kept in (await self._store.keep(route, traces, bounds)).items():
            if kept.displaced:
                self._metrics.count(SPANS, route, "displaced", n=kept.displaced)
            for span, fate in zip(traces[trace], kept.fates, strict=True):
                self._metrics.count(SPANS, route, _FATES.get(fate) or ("kept" if span.steps else "other"))
                beyond += fate == OVER
                if fate == KEPT:
                    for step in span.steps:
                        self._tell(route, trace, step)
        return beyond

    def _count(self, route: str, result: str, traces: dict[str, list[Found]]) -> None:
        self._metrics.count(SPANS, route, result, n=sum(map(len, traces.values())))

    def _tell(self, route: str, trace: str, step: Step) -> None:
        now = self._clock.monotonic()
        self._allowance = min(LOGGED_PER_SECOND, self._allowance + (now - self._since) * LOGGED_PER_SECOND)
        self._since = now
        if self._allowance < 1:
            self._metrics.count(STEPS_UNLOGGED, route)
            return
        self._allowance -= 1
        _log.info("agent_step", route=route, trace_id=trace, **logged(step))


def _route(record: Record) -> _Route:
    return _Route(Bounds(record.max_age, record.max_pairs, record.max_bytes), Redactor(hidden_names(record)))


def logged(step: Step) -> dict[str, Any]:
    """A step as a log's fields. (Counts of tokens are named so that they are not taken for tokens themselves.)"""
    fields: dict[str, Any] = {
        name: step[name] for name in ("kind", "name", "duration", "model", "error", "writes") if name in step
    }
    fields |= {"span_id": step["id"], "parent_id": step["parent"]}
    if tokens := step.get("tokens"):
        fields |= {f"{way}_token_count": tokens[way] for way in ("input", "output")}
    if "arguments" in step and len(orjson.dumps(step["arguments"], option=orjson.OPT_NON_STR_KEYS)) <= MAX_LOGGED:
        fields["arguments"] = step["arguments"]
    return fields


def hidden_names(record: Record) -> list[str]:
    """The members that are masked in what an agent tells of its work: those of `redact`, and the last names of the
    paths that are dropped, masked or hashed in bodies. An agent's tools call a thing by its name, but where it stands
    is another place."""
    paths = (*record.drop, *record.mask, *record.hash)
    return [*record.redact, *(name for path in paths if (name := last_name(path)))]
