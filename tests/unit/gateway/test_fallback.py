"""How an agent's answer says that it cannot."""

from typing import Any

import pytest

from proxy.gateway.connection import Connection
from proxy.gateway.counters import Counters
from proxy.gateway.fallback import too_unsure, why_not
from proxy.gateway.table import Table
from proxy.gateway.turn import Turn
from proxy.model.snapshot import EscalateSpec, KeySource, MatchSpec, RolloutSpec, RouteSpec, Snapshot, UpstreamSpec
from proxy.model.words import Failure, Phase


@pytest.fixture
async def rollout() -> Any:
    escalate = EscalateSpec(confidence_path="$.confidence", confidence_below=0.6)
    spec = RolloutSpec("b", "v", "s", Phase.PROGRESSING, 1, 0, (KeySource("client_ip"),), "s", escalate=escalate)
    upstreams = (UpstreamSpec("a", "h", 1), UpstreamSpec("b", "h", 2))
    table = Table(Snapshot(1, (RouteSpec("r", MatchSpec(), "a", spec),), upstreams), Counters(), Turn())
    return table.routes[0].rollout


@pytest.mark.parametrize(
    ("status", "noted", "expected"),
    [
        (200, [], None),
        (404, [], None),
        (500, [], (Failure.SERVER_ERROR, "status 500")),
        (200, [(b"x-crossfade-escalate", b"unclear")], (Failure.ESCALATION, "unclear")),
        (500, [(b"x-crossfade-escalate", b"unclear")], (Failure.ESCALATION, "unclear")),
        (200, [(b"x-crossfade-escalate", b"")], (Failure.ESCALATION, "unspecified")),
        (200, [(b"x-crossfade-escalate", b"x" * 999)], (Failure.ESCALATION, "x" * 200)),
    ],
)
async def test_by_its_head(rollout: Any, status: int, noted: list[tuple[bytes, bytes]], expected: Any) -> None:
    connection = Connection(rollout.canary.upstream)
    connection.status, connection.noted = status, noted

    assert why_not(rollout, connection) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"confidence": 0.59}', "confidence 0.59"),
        (b'{"confidence": 0.6}', None),
        (b'{"confidence": 0}', "confidence 0"),
        (b'{"confidence": true}', None),
        (b'{"confidence": "low"}', None),
        (b"{}", None),
        (b"not json", None),
        (b"", None),
    ],
)
async def test_by_its_confidence(rollout: Any, body: bytes, expected: str | None) -> None:
    assert too_unsure(rollout, body) == expected
