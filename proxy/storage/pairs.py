"""Pairs and evidence on their way into the store: `PairWriter` of `proxy.model.ports`.

The rule: a batch is (source, seq), and it is written exactly once, whatever is sent again. Of each source the highest
number written is kept; batches of one source come in order, so a number at or below it was written. Totals, users,
pairs and that mark change in one script.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import orjson
import structlog

from proxy.model.errors import SealError, StoreError, StoreFormatError, StoreUnavailableError
from proxy.model.rollouts import OTHER, Batch
from proxy.model.tick import pack_buckets
from proxy.model.words import Arm
from proxy.storage import keys, totals
from proxy.storage.connection import Client, translate, translated
from proxy.storage.scripts import OLD_LAYOUT, VERDICTS, WRITE_BATCH
from proxy.storage.sealing import Sealer
from proxy.storage.steps import StepStore
from proxy.storage.tally import MAX_NAMED
from proxy.storage.upgrade import upgrade

_log = structlog.get_logger()

SEEN_SECONDS: Final = 7 * 86_400
"""How long a worker's life is remembered after its last batch. What waits longer in a spool may count twice."""

TOTALS_SECONDS: Final = 400 * 86_400
"""How long a stage's evidence, and who its users were, outlives the last batch of it."""

MAX_STAGES: Final = 1_000
"""Stages of a route whose evidence can be found again; the oldest go first."""

STORE_BYTES: Final = "store_bytes"
STORE_AGE: Final = "store_age"
"""Reasons for which pairs are dropped: the bytes that a route's may take, their age. The oldest go first."""

ERASED: Final = "erased"
"""Why pairs are dropped: they waited while their person was erased."""

OUTCOMES_FULL: Final = "outcomes_full"
"""Why late decisions are dropped: too many wait to be joined."""

GRACE_SECONDS: Final = 30 * 86_400
"""How long after its pair has expired a late decision is told from one of which nobody has heard."""

_VERDICT_NUMBER: Final[dict[str | None, int]] = {None: 0, **{word: n for n, word in enumerate(VERDICTS, start=1)}}


def _tell_nobody(_route: str, _reason: str, _pairs: int) -> None:
    pass


class PairStore:
    """`dropped` is told (route, reason, how many pairs) of those that went before `max_pairs` was reached. `sealer`
    opens pairs whose person was erased meanwhile: of these nothing is kept, nor what the agent did."""

    def __init__(
        self, redis: Client, dropped: Callable[[str, str, int], None] = _tell_nobody, sealer: Sealer | None = None
    ) -> None:
        self._redis, self._dropped, self._sealer = redis, dropped, sealer or Sealer()
        self._crowded: set[str] = set()  # routes of which it was logged that they have more names than are kept apart

    async def write(self, batches: list[Batch]) -> list[bool]:
        """See `PairWriter`. All go in one round trip; after an error some may be written: send all of them again.

        Routes that an older Crossfade wrote are brought to the present layout first.
        """
        replies = await self._send(batches)
        older = [batch for batch, reply in zip(batches, replies, strict=True) if reply.written == OLD_LAYOUT]
        if older:
            await upgrade(self._redis, {batch.route for batch in older})
            again = iter(await self._send(older))
            replies = [next(again) if reply.written == OLD_LAYOUT else reply for reply in replies]
        for batch, reply in zip(batches, replies, strict=True):
            self._tell(batch.route, reply)
            if reply.erased:
                await self._forget(batch, reply.erased)
        return [reply.written > 0 for reply in replies]

    async def _send(self, batches: list[Batch]) -> list["_Reply"]:
        pipeline: Any = self._redis.pipeline(transaction=False)
        last: dict[tuple[str, str], int] = {}
        for batch in batches:
            life = (batch.route, batch.source)
            pipeline.execute_command("EVAL", WRITE_BATCH, *_arguments(batch, last.get(life, -1)))
            last[life] = batch.seq
        with translated():
            replies = await pipeline.execute(raise_on_error=False)
        _raise_worst([translate(reply) for reply in replies if isinstance(reply, Exception)])
        return [_Reply(*reply) for reply in replies]

    def _tell(self, route: str, reply: "_Reply") -> None:
        if reply.written == OLD_LAYOUT:
            raise StoreUnavailableError(f"{route}: its keys are of an older layout and cannot be brought to ours")
        for reason, lost in (
            (STORE_BYTES, reply.trimmed), (STORE_AGE, reply.aged), (OUTCOMES_FULL, reply.refused),
        ):  # fmt: skip
            if lost:
                self._dropped(route, reason, lost)
        if reply.beyond and route not in self._crowded:
            self._crowded.add(route)
            hint = f"there are more than {MAX_NAMED} segments or pairs of decisions; the others are counted as {OTHER}"
            _log.warning("names_beyond_bound", route=route, hint=hint)

    async def _forget(self, batch: Batch, erased: Sequence[int]) -> None:
        """Their pairs were not written; what the agent told of its work on them may have come before."""
        gone = [batch.pairs[number - 1] if number > 0 else batch.handed[-number - 1] for number in erased]
        self._dropped(batch.route, ERASED, sum(number > 0 for number in erased))
        traces = [trace for kept in gone if (trace := self._trace(batch.route, kept.document))]
        await StepStore(self._redis, self._sealer).forget(batch.route, traces)

    def _trace(self, route: str, document: bytes) -> str:
        try:
            return str(orjson.loads(self._sealer.open(document, route)).get("trace_id") or "")
        except (SealError, ValueError, AttributeError):
            return ""


class _Reply(NamedTuple):
    """WRITE_BATCH's."""

    written: int
    trimmed: int
    beyond: int
    refused: int
    aged: int
    erased: list[int]


def _arguments(batch: Batch, before: int) -> list[str | bytes | int | float]:
    """The number of keys, the keys and the arguments of WRITE_BATCH."""
    route = batch.route
    names = [keys.layout(route), keys.seen(route, batch.source), keys.pairs(route)]
    names += [keys.verdict(route, word) for word in VERDICTS]
    names += [keys.stages(route), keys.pending(route), keys.outcomes(route), keys.escalations(route)]
    names.append(keys.erased(route))
    users = [
        (keys.users(route, *place, arm), pack_buckets(buckets))
        for place, served in batch.users.items()
        for arm, buckets in zip((Arm.LEGACY, Arm.AGENT), served, strict=True)
        if buckets
    ]
    values: list[str | bytes | int | float] = [keys.LAYOUT, batch.seq, before]
    values += [SEEN_SECONDS, TOTALS_SECONDS, batch.max_pairs, batch.max_bytes, MAX_STAGES, len(batch.evidence)]
    values += [len(users), int(batch.max_age), GRACE_SECONDS, len(batch.outcomes), len(batch.handed)]
    for (version, epoch, stage), evidence in batch.evidence.items():
        names.append(keys.totals(route, version, epoch, stage))
        values += (keys.stage_name(version, epoch, stage), epoch)
        values += totals.counts(evidence)
    for name, buckets in users:
        names.append(name)
        values.append(buckets)
    values += batch.outcomes
    for given in batch.handed:
        names += (keys.escalation(route, given.escalation), keys.handed(route, given.escalation))
        values += (given.escalation, given.reason, given.document, given.key_hash, given.at)
    for pair in batch.pairs:
        values += (
            _VERDICT_NUMBER.get(pair.verdict, 0), pair.document, pair.key_hash, pair.at, pair.until, len(pair.refs),
            pair.escalation, pair.reason,
        )  # fmt: skip
        for ref in pair.refs:
            names += (keys.ref(route, ref), keys.early(route, ref))
        if pair.escalation:
            names += (keys.escalation(route, pair.escalation), keys.handed(route, pair.escalation))
    return [len(names), *names, *values]


def _raise_worst(errors: list[StoreError]) -> None:
    """An unreachable store goes before a bad key: then nothing is known of the other batches."""
    for error in errors:
        if not isinstance(error, StoreFormatError):
            raise error
    if errors:
        raise errors[0]
