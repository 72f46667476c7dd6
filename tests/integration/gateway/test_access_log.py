"""One line for each answered request, whoever answered it."""

import io
import json
from dataclasses import replace

import pytest

from proxy.telemetry import logs
from tests.fakes import FakeClock
from tests.integration.gateway.conftest import World
from tests.integration.gateway.peers import answer


async def test_the_bytes_of_the_bodies(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = io.StringIO()
    monkeypatch.setattr(logs._Access, "sink", logs._Sink(lines, "worker 1", FakeClock()))
    world.worker.use(replace(world.snapshot(), access_log=True))
    world.human.answers = lambda _: answer(b"twelve bytes")
    await world.ask(body=b"seven b")
    refused = await world.ask(target="/nowhere", body=b"")
    said = [json.loads(line) for line in lines.getvalue().splitlines()]
    assert [(each["status"], each["received"], each["sent"]) for each in said] == [
        (200, 7, 12),
        (404, 0, len(refused.body)),
    ]
    assert len(refused.body) > 0
