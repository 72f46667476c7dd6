"""Steps of agents' work in the store, found by the trace that their request belonged to.

Who shows a pair calls `StepStore.read(route, pair["trace_id"])`, once and for one pair: `trail.steps` become the pair's
`steps`, `trail.totals` its `step_totals`. A pair whose human has not decided yet must not show them (they tell what the
agent would do): that is for the reader of pairs to see to, by the verdict. Who erases a pair calls
`StepStore.forget(route, trace_ids)`; spans of these traces that come later are not kept.

| key | type | holds |
|---|---|---|
| `crossfade:{route}:steps:<trace>` | hash | see below |
| `crossfade:{route}:traces` | sorted set | the traces that have steps, by when the first of them came |
| `crossfade:{route}:trace_bytes` | hash | how many bytes the steps of each take, and field `total`: of all |

The hash of a trace has, by span id, the steps of one span (JSON, sealed), or its parent's id in hex where the span is
no step: so that what is below it finds its place. Beside them stand `:bytes`, `:spans`, `:links` and `:over` (spans
that were too many), or `:erased` alone.

The rule: a span is kept once, whatever is sent again; an exporter that got no answer sends it again. Each trace has
bounds, and so has each route: the oldest traces go first.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

import orjson

from proxy.model.errors import StoreFormatError
from proxy.outcomes.steps import Step, Trail, arrange
from proxy.storage import keys
from proxy.storage.connection import Client, ask, execute
from proxy.storage.sealing import Sealer
from proxy.storage.step_scripts import FORGET_STEPS, KEEP_STEPS

MAX_SPANS: Final = 500
MAX_LINKS: Final = 2_000
MAX_BYTES: Final = 256 << 10
"""Of one trace: spans that are steps, spans that only lead to one, bytes of the first as they are stored."""

FORGOTTEN_SECONDS: Final = 86_400
"""For how long spans of a trace that was erased are still turned away."""

_CHUNK: Final = 100
"""Traces in one round trip."""

KEPT, KNOWN, OVER, ERASED = 1, 0, -1, -2
"""What became of a span: it is kept, it was there before, the trace has enough, the trace was erased."""


class Found(NamedTuple):
    """One span for the store: its steps, or none, where it only leads from what is below it to its parent."""

    span_id: str
    parent_id: str
    steps: Sequence[Step]


class Bounds(NamedTuple):
    """Of a route: how long steps are kept (seconds), traces that have some, bytes of all together."""

    max_age: float
    max_traces: int
    max_bytes: int


class Kept(NamedTuple):
    """What became of each span, in their order, and how many steps' spans of older traces had to go."""

    fates: list[int]
    displaced: int


class StepStore:
    def __init__(self, redis: Client, sealer: Sealer) -> None:
        self._redis, self._sealer = redis, sealer

    async def keep(self, route: str, traces: dict[str, list[Found]], bounds: Bounds) -> dict[str, Kept]:
        """Add to what is kept of each trace. After an error some may be kept: send all of them again."""
        kept: dict[str, Kept] = {}
        names = list(traces)
        for start in range(0, len(names), _CHUNK):
            some = names[start : start + _CHUNK]
            pipeline: Any = self._redis.pipeline(transaction=False)
            for trace in some:
                pipeline.execute_command("EVAL", KEEP_STEPS, *self._arguments(route, trace, traces[trace], bounds))
            replies = await execute(pipeline, [keys.steps(route, trace) for trace in some])
            for trace, (fates, gone) in zip(some, replies, strict=True):
                kept[trace] = Kept(fates, await self._remove(route, [name.decode() for name in gone]))
        return kept

    async def read(self, route: str, trace: str) -> Trail:
        """All that is known of one trace; an empty trail where nothing is. Raises StoreError where it does not open."""
        key = keys.steps(route, trace)
        flat = await ask(self._redis, "HGETALL", key, key=key)
        fields = dict(zip(flat[::2], flat[1::2], strict=True)) if isinstance(flat, list) else flat
        over = int(fields.get(b":over", 0))
        steps: list[Step] = []
        links: dict[str, str] = {}
        for name, value in fields.items():
            if name.startswith(b":"):
                continue
            if len(value) <= 16:
                links[name.decode()] = value.decode()
            else:
                steps += self._opened(route, key, value)
        return arrange(steps, links, over)

    async def forget(self, route: str, traces: Iterable[str]) -> int:
        """Erase the steps of these traces, also those that are still on their way. How many spans there were."""
        names = list(traces)
        erased = 0
        for start in range(0, len(names), _CHUNK):
            some = names[start : start + _CHUNK]
            pipeline: Any = self._redis.pipeline(transaction=False)
            for trace in some:
                named = (keys.steps(route, trace), keys.traces(route), keys.trace_bytes(route))
                pipeline.execute_command("EVAL", FORGET_STEPS, len(named), *named, trace, FORGOTTEN_SECONDS)
            erased += sum(await execute(pipeline, [keys.steps(route, trace) for trace in some]))
        return erased

    def _arguments(self, route: str, trace: str, found: list[Found], bounds: Bounds) -> list[str | bytes | int]:
        named = (keys.layout(route), keys.steps(route, trace), keys.traces(route), keys.trace_bytes(route))
        limits = (MAX_SPANS, MAX_LINKS, MAX_BYTES, int(bounds.max_age), bounds.max_traces, bounds.max_bytes)
        values: list[str | bytes | int] = [len(named), *named, keys.LAYOUT, trace, *limits]
        for span in found:
            values.append(span.span_id)
            values.append(self._sealer.seal(orjson.dumps(span.steps), route) if span.steps else span.parent_id)
        return values

    def _opened(self, route: str, key: str, value: bytes) -> list[Step]:
        try:
            steps = orjson.loads(self._sealer.open(value, route))
        except orjson.JSONDecodeError:
            steps = None
        if not isinstance(steps, list):
            raise StoreFormatError(key, "holds what is no step")
        return steps

    async def _remove(self, route: str, traces: list[str]) -> int:
        """They are in no index any more; where this is lost, they go when they are old. How many spans it was."""
        removed = 0
        for trace in traces:
            key = keys.steps(route, trace)
            pipeline: Any = self._redis.pipeline(transaction=False)
            pipeline.execute_command("HGET", key, ":spans")
            pipeline.execute_command("UNLINK", key)
            spans, _ = await execute(pipeline, [key, key])
            removed += int(spans or 0)
        return removed
