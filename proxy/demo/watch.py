"""What the demonstration sees of Crossfade: its admin API and its metrics, as any operator's tool would read them."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from proxy.demo.scene import ROUTE

_TIMEOUT: Final = aiohttp.ClientTimeout(total=5.0)


@dataclass(frozen=True, slots=True)
class Arm:
    requests: int = 0
    failed: int = 0

    @property
    def error_rate(self) -> float:
        return self.failed / self.requests if self.requests else 0.0


@dataclass(frozen=True, slots=True)
class Agreement:
    """`ratio` and `lower_bound` are shares from 0 to 1, None before the first comparable pair."""

    matched: int = 0
    mismatched: int = 0
    incomparable: int = 0
    ratio: float | None = None
    lower_bound: float | None = None


@dataclass(frozen=True, slots=True)
class RouteView:
    """The route's document of the admin API, as far as it is shown. `weight` in percent, `since` in Unix seconds."""

    phase: str
    stage: str
    weight: float
    since: float
    reason: str
    legacy: Arm = Arm()
    agent: Arm = Arm()
    agreement: Agreement = Agreement()

    @classmethod
    def read(cls, document: dict[str, Any]) -> "RouteView":
        totals, agreement = document["totals"], document["agreement"]
        return cls(
            phase=document["phase"],
            stage=document["stage"],
            weight=float(document["weight"]),
            since=datetime.fromisoformat(document["since"]).timestamp(),
            reason=document["reason"],
            legacy=Arm(totals["legacy"]["requests"], totals["legacy"]["failed"]),
            agent=Arm(totals["agent"]["requests"], totals["agent"]["failed"]),
            agreement=Agreement(**{name: agreement[name] for name in Agreement.__slots__}),
        )


@dataclass(frozen=True, slots=True)
class Counters:
    """From `/metrics`: users' answers by (arm, mode), fallbacks by reason, copies by fate, pairs by verdict."""

    answers: Counter[tuple[str, str]] = field(default_factory=Counter)
    fallbacks: Counter[str] = field(default_factory=Counter)
    shadow: Counter[str] = field(default_factory=Counter)
    pairs: Counter[str] = field(default_factory=Counter)

    @classmethod
    def read(cls, text: str) -> "Counters":
        counters = cls()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                labels, value = sample.labels, int(sample.value)
                if labels.get("route") != ROUTE:
                    continue
                match sample.name:
                    case "crossfade_requests_total" if labels["mode"] != "shadow":
                        counters.answers[labels["arm"], labels["mode"]] += value
                    case "crossfade_fallbacks_total":
                        counters.fallbacks[labels["reason"]] += value
                    case "crossfade_shadow_total":
                        counters.shadow[labels["fate"]] += value
                    case "crossfade_pairs_total":
                        counters.pairs[labels["verdict"]] += value
        return counters


class Watch:
    """A client of the admin API at `base`. Methods raise aiohttp.ClientError or TimeoutError where it is away."""

    def __init__(self, session: aiohttp.ClientSession, base: str) -> None:
        self._session, self._base = session, base

    async def ready(self) -> bool:
        """Whether `/readyz` says yes; no while nobody listens yet."""
        try:
            async with self._session.get(f"{self._base}/readyz", timeout=_TIMEOUT) as response:
                return response.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def route(self) -> RouteView:
        return RouteView.read(await self._json(f"/api/v1/routes/{ROUTE}"))

    async def mismatches(self, limit: int) -> list[dict[str, Any]]:
        """The newest pairs whose decisions differ."""
        document = await self._json(f"/api/v1/routes/{ROUTE}/pairs?verdict=mismatched&limit={limit}")
        pairs: list[dict[str, Any]] = document["pairs"]
        return pairs

    async def counters(self) -> Counters:
        async with self._session.get(f"{self._base}/metrics", timeout=_TIMEOUT) as response:
            response.raise_for_status()
            return Counters.read(await response.text())

    async def _json(self, path: str) -> dict[str, Any]:
        async with self._session.get(f"{self._base}{path}", timeout=_TIMEOUT) as response:
            response.raise_for_status()
            document: dict[str, Any] = await response.json()
            return document
