"""Faults that no real store shows; all else is in tests/integration/test_recorder.py."""

import asyncio
from pathlib import Path

import pytest

from proxy.control.batching import route_rules
from proxy.control.recorder import Recorder
from proxy.model.measures import OUTCOMES
from proxy.model.rollouts import Batch
from proxy.model.tick import Tick
from proxy.storage.spool import Spool
from proxy.telemetry.metrics import Metrics
from proxy.telemetry.tasks import spawn, stop
from tests.unit.control.test_batching import ROLLOUT


class ScriptedWriter:
    """A `PairWriter` that does what it is told, then writes to a list."""

    def __init__(self, *faults: Exception) -> None:
        self.faults, self.written = list(faults), list[Batch]()

    async def write(self, batches: list[Batch]) -> list[bool]:
        if self.faults:
            raise self.faults.pop(0)
        self.written += batches
        return [True] * len(batches)


def tick(seq: int) -> Tick:
    return Tick("w1", seq, 1e9, {OUTCOMES.name: {("refunds", "v1", "canary", "1", "legacy", "ok", "77"): seq}})


async def test_a_fault_of_ours_is_told_to_its_caller_and_the_next_tick_is_kept(tmp_path: Path) -> None:
    writer = ScriptedWriter(RuntimeError("a fault of ours"))
    recorder = Recorder(writer, Spool(tmp_path / "spool"), Metrics(process=False))
    recorder.set_rules({"refunds": route_rules(ROLLOUT)})
    work = spawn(recorder.run(), "recorder")
    with pytest.raises(RuntimeError, match="a fault of ours"):
        await recorder.submit(tick(1))
    await recorder.submit(tick(2))
    assert [batch.seq for batch in writer.written] == [2]
    await stop(work)
    recorder.close()


async def test_closing_lets_go_of_those_who_wait(tmp_path: Path) -> None:
    recorder = Recorder(ScriptedWriter(), Spool(tmp_path / "spool"), Metrics(process=False))
    waiting = spawn(recorder.submit(tick(1)), "submit")  # nothing runs that could keep it
    await asyncio.sleep(0)
    recorder.close()
    await asyncio.wait({waiting}, timeout=5)
    assert waiting.cancelled()
