"""What a worker counts between two ticks.

What is evidence is in `evidence`; the other counts are dictionaries from ready-made label tuples. `drain` turns all of
it into the wire's families and starts from zero.
"""

from bisect import bisect_right
from collections import defaultdict
from typing import Any

from proxy.gateway.evidence import Tally, Users, slot_now
from proxy.gateway.parcels import Due, Parcels
from proxy.model import measures
from proxy.model.records import Parcel
from proxy.model.tick import Counts, Histograms, Labels
from proxy.model.words import Arm, Mode
from proxy.storage.owed import Owed


class Counters:
    """All counts of one worker. `owed` is where they count what a kill would cost."""

    def __init__(self, owed: Owed | None = None) -> None:
        self.fates: dict[Labels, int] = defaultdict(int)
        self.decisions: dict[Labels, int] = defaultdict(int)
        self.fallbacks: dict[Labels, int] = defaultdict(int)
        self.missed: dict[Labels, int] = defaultdict(int)
        self.retries: dict[Labels, int] = defaultdict(int)
        self.gone: dict[Labels, int] = defaultdict(int)
        self.dropped: dict[Labels, int] = defaultdict(int)
        self.overrides: dict[Labels, int] = defaultdict(int)
        self.connections_refused: dict[Labels, int] = defaultdict(int)
        self.strays: dict[Labels, int] = defaultdict(int)
        self.health: dict[Labels, int] = defaultdict(int)
        self.capped: dict[Labels, int] = defaultdict(int)
        self.callbacks: dict[Labels, int] = defaultdict(int)
        self._refused: dict[Labels, int] = defaultdict(int)
        self._tallies: dict[tuple[Any, ...], Tally] = {}
        self._users: dict[Labels, Users] = {}
        self._slot = slot_now()
        self.parcels = Parcels()
        self._owed = owed if owed is not None else Owed()
        self._dues: dict[int, Due] = {}

    def tally(self, route: str, arm: Arm, mode: Mode, evidence: Labels | None) -> Tally:
        """The tally of these labels; the same one while anybody counts there."""
        key = (route, arm.value, mode.value, evidence)
        found = self._tallies.get(key)
        if found is None:
            found = self._tallies[key] = Tally(route, arm, mode, evidence, self._slot)
        return found

    def users(self, labels: Labels) -> Users:
        """The users served at (route, version, stage, epoch, weight, arm); the same ones while that lasts."""
        found = self._users.get(labels)
        if found is None:
            found = self._users[labels] = Users()
        return found

    def due(self, route: str) -> Due:
        """Where the route's records are counted when their requests are answered."""
        place = self._owed.place(route)
        found = self._dues.get(place)
        if found is None:
            found = self._dues[place] = Due(self._owed.made, place)
        return found

    def retain(self, current: set[int]) -> None:
        """Forget the tallies and users that no table (`current`: their ids) and no request under way uses any more.

        A request under way in one mode may yet count in another of its stage: as a fallback, or by its copy.
        """
        busy = {(tally.labels[0], tally.evidence) for tally in self._tallies.values() if tally.open}
        for key, tally in list(self._tallies.items()):
            used = id(tally) in current or (tally.labels[0], tally.evidence) in busy
            if not used and not tally.untold:
                del self._tallies[key]
        for labels, users in list(self._users.items()):
            if id(users) not in current and not users.fresh:
                del self._users[labels]

    def refused(self, error: str) -> None:
        self._refused[(error,)] += 1

    def record(self, route: str, fields: tuple[Any, ...], bodies: int) -> None:
        """Keep a record, whose bodies have so many bytes, for the next tick."""
        reason = self.parcels.add(route, fields, bodies)
        if reason:
            self.dropped[(route, reason)] += 1

    def drain(self) -> tuple[Counts, Histograms, list[Parcel]]:
        """What was counted since the last call."""
        counters: Counts = {}
        for family, counts in (
            (measures.SHADOW, self.fates),
            (measures.DECISIONS, self.decisions),
            (measures.FALLBACKS, self.fallbacks),
            (measures.FALLBACKS_MISSED, self.missed),
            (measures.RETRIES, self.retries),
            (measures.CLIENT_GONE, self.gone),
            (measures.PAIRS_DROPPED, self.dropped),
            (measures.REFUSED, self._refused),
            (measures.OVERRIDES, self.overrides),
            (measures.STRAYS, self.strays),
            (measures.CONNECTIONS_REFUSED, self.connections_refused),
            (measures.HEALTH_CHECKS, self.health),
            (measures.CAPPED, self.capped),
            (measures.CALLBACKS, self.callbacks),
        ):
            if counts:
                counters[family.name] = dict(counts)
                counts.clear()
        histograms: Histograms = {}
        self._drain_tallies(counters, histograms)
        return counters, histograms, self.parcels.drain()

    def drain_users(self) -> dict[Labels, bytes]:
        """The users that were seen for the first time since the last call."""
        return {labels: users.tell() for labels, users in self._users.items() if users.fresh}

    def _drain_tallies(self, counters: Counts, histograms: Histograms) -> None:
        requests: dict[Labels, int] = {}
        outcomes: dict[Labels, int] = {}
        durations: dict[Labels, list[float]] = {}
        first_bytes: dict[Labels, list[float]] = {}
        self._slot = slot_now()
        for tally in self._tallies.values():
            if tally.codes:
                for code, count in tally.codes.items():
                    labels = (*tally.labels, str(code))
                    requests[labels] = requests.get(labels, 0) + count
                _add(durations, tally.labels, histogram(tally.durations))
                tally.codes = {}
                tally.durations = []
                if tally.first_bytes:
                    _add(first_bytes, tally.labels, histogram(tally.first_bytes))
                    tally.first_bytes = []
            tally.tell(outcomes, self._slot)
        if requests:
            counters[measures.REQUESTS.name] = requests
            histograms[measures.REQUEST_DURATION.name] = durations
        if first_bytes:
            histograms[measures.FIRST_BYTE.name] = first_bytes
        if outcomes:
            counters[measures.OUTCOMES.name] = outcomes


def _add(histograms: dict[Labels, list[float]], labels: Labels, more: list[float]) -> None:
    known = histograms.get(labels)
    histograms[labels] = more if known is None else [a + b for a, b in zip(known, more, strict=True)]


def histogram(durations: list[float]) -> list[float]:
    """[sum, bucket counts ...] of durations in seconds. Sorted once for a tick: to look for each one's bucket when it
    comes would cost every request as much as counting it."""
    ordered = sorted(durations)
    result, below = [sum(ordered)], 0
    for bound in measures.BOUNDS:
        place = bisect_right(ordered, bound)
        result.append(place - below)
        below = place
    result.append(len(ordered) - below)
    return result
