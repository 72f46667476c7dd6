"""A worker that serves nobody and hands over pairs: `python -m benchmarks.load.feeder LINK SPOOL RATE SECONDS`.

It is a real worker's link with real parcels, fed with records as the gateway packs them: a request and two answers of
2 KiB each, text that differs from record to record, so that nothing compresses better than it would. Due times are
settled beforehand; where the control process is slow, records wait as a worker's do.

Prints one line of JSON: records handed over, seconds from the first one to the last acknowledgement, records dropped.
"""

import asyncio
import json
import random
import sys
import time
from pathlib import Path
from typing import Any

import orjson
import uvloop

from proxy.gateway.counters import Counters
from proxy.gateway.link import Link
from proxy.model.measures import OUTCOMES
from proxy.telemetry.clock import SystemClock

BODY = 2 << 10
DIFFERENT = 0.05
"""Share of pairs whose decisions differ."""
_KINDS = 500
_TURN = 0.01
_TICK = 0.2
_NUMBER = 64
"""Of the worker: no real one has it here."""
_WORDS = ("order", "refund", "bought", "within", "days", "item", "damaged", "customer", "policy", "because", "returned")


def main(path: Path, spool: Path, rate: float, seconds: float) -> None:
    print(json.dumps(uvloop.run(feed(path, spool, rate, seconds))))


async def feed(path: Path, spool: Path, rate: float, seconds: float) -> dict[str, float]:
    """All that is due, and then until all of it is kept."""
    link = Link(path, _NUMBER, spool, lambda _: None, SystemClock())
    if not await link.start(10.0):
        raise SystemExit("the control process does not answer")
    counters = Counters(link.owed)
    due = counters.due("pairs")
    counters.parcels.on_full = lambda: link.report({}, {}, {}, counters.parcels.drain(), {})
    records = kinds()
    begun, told, fed = time.perf_counter(), 0.0, 0
    while (now := time.perf_counter() - begun) < seconds:
        while fed < now * rate:
            fields, bodies = records[fed % _KINDS]
            due.one()
            counters.record("pairs", (b"feed-%08x" % fed, *fields[1:]), bodies)
            fed += 1
        if now - told >= _TICK:
            told = now
            _report(link, counters)
        await asyncio.sleep(_TURN)
    _report(link, counters)
    await link.close(60.0)
    dropped = sum(counters.dropped.values()) + sum(link.dropped.values())
    return {"records": fed, "seconds": time.perf_counter() - begun, "dropped": dropped}


def _report(link: Link, counters: Counters) -> None:
    counts, histograms, parcels = counters.drain()
    records = sum(count for parcel in parcels for count in parcel.counts.values())
    for arm in ("legacy", "agent"):
        counts.setdefault(OUTCOMES.name, {})[("pairs", "1", "split", "1", arm, "ok", "")] = max(1, records)
    link.report(counts, histograms, {}, parcels, {})


def kinds() -> list[tuple[tuple[Any, ...], int]]:
    """Records, and the bytes of their bodies; the first field is another one in each."""
    generator = random.Random(7)
    return [_record(generator) for _ in range(_KINDS)]


def _record(generator: random.Random) -> tuple[tuple[Any, ...], int]:
    request, legacy = _body(generator, "approve"), _body(generator, "approve")
    agent = _body(generator, "deny" if generator.random() < DIFFERENT else "approve")
    headers = b"content-type: application/json\r\n"
    trace = b"00-%032x-%016x-01" % (generator.getrandbits(128), generator.getrandbits(64))
    fields = (
        b"", trace, "pairs", "1", "split", 1, time.time(), b"POST", b"/pairs/refunds", generator.randbytes(16),
        generator.randrange(100_000), "legacy", "legacy", "bucket_out", "mirrored", headers, request, False, b"", "",
        200, 0.012, "", headers, legacy, False, 0.011,
        200, 0.034, "", headers, agent, False, 0.033, None,
    )  # fmt: skip
    return fields, len(request) + len(legacy) + len(agent)


def _body(generator: random.Random, decision: str) -> bytes:
    head = {
        "id": f"{generator.getrandbits(64):016x}",
        "decision": decision,
        "amount": generator.randrange(10_000) / 100,
    }
    note = ""
    while len(note) < BODY:
        note += f"{generator.choice(_WORDS)} {generator.choice(_WORDS)}-{generator.randrange(1000)} "
    room = BODY - len(orjson.dumps({**head, "note": ""}))
    return orjson.dumps({**head, "note": note[:room]})


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4]))
