"""What a worker counts as evidence: what arms did, by the slot in which the request arrived, and whom they served.

Rules kept here:
- an outcome belongs to the slot of its request's arrival, whenever it comes: else a fault that both arms share would be
  blamed on the one that fails faster;
- what is no evidence after all is withdrawn from the slot that it arrived in;
- of one user's bad outcomes only a few in a minute are evidence.
"""

from time import monotonic
from typing import Final

from proxy.analysis.blame import Slot
from proxy.model.measures import SLOT, USER_BAD_PER_MINUTE, Result
from proxy.model.snapshot import BUCKETS
from proxy.model.tick import Labels
from proxy.model.words import Arm, Mode

MAX_REPEATERS: Final = 10_000
"""Users with bad outcomes of whom it is known, in a minute, how many they had; further users' all count."""

MEMORY: Final = 300
"""Slots for which a worker knows what became of the requests that arrived in them."""

_LEARN: Final = 0.1
"""The part that a tick has in what is usual."""


def slot_now() -> int:
    """The number of the present slot, by the clock that all processes of this machine share."""
    return int(monotonic() / SLOT)


class Late:
    """Outcomes of requests that arrived in an earlier slot."""

    __slots__ = ("failed", "ok", "slow", "withdrawn")

    def __init__(self) -> None:
        self.ok = self.failed = self.slow = self.withdrawn = 0


class Known:
    """Requests that arrived in one slot, as far as they are evidence, and those of them that have ended."""

    __slots__ = ("arrived", "failed", "ok")

    def __init__(self) -> None:
        self.arrived = self.ok = self.failed = 0

    def add(self, arrived: int, ok: int, failed: int) -> None:
        self.arrived += arrived
        self.ok += ok
        self.failed += failed


class Tally:
    """What one arm did in one mode, on one route, at one stage, since the last tick.

    `open` is the number of requests under way that will count here, `slot` the present one. `unasked` are those that
    arrived although nobody drew them (a tester's). `evidence` is (route, version, stage, epoch), None without a
    rollout. `seconds` are what the good ones took, `usual` is what one takes (an average that forgets).
    """

    __slots__ = (
        "_recent", "arm", "arrived", "codes", "durations", "escalated", "evidence", "failed", "first_bytes", "labels",
        "late", "mode", "no_key", "ok", "open", "seconds", "slot", "slow", "unasked", "usual", "withdrawn",
    )  # fmt: skip

    def __init__(self, route: str, arm: Arm, mode: Mode, evidence: Labels | None, slot: int = 0) -> None:
        self.labels = (route, arm.value, mode.value)
        self.arm = arm.value
        self.mode = mode
        self.evidence = evidence
        self.slot = slot
        self.codes: dict[int, int] = {}
        self.durations: list[float] = []
        self.first_bytes: list[float] = []
        self.late: dict[int, Late] = {}
        self.open = self.arrived = self.unasked = self.no_key = self.escalated = 0
        self.ok = self.failed = self.slow = self.withdrawn = 0
        self.seconds = self.usual = 0.0
        self._recent: dict[int, Known] = {}

    def answered(self, code: int, duration: float, first_byte: float) -> None:
        """An answer to the client (in seconds). `first_byte` is 0 where it had no body."""
        self.codes[code] = self.codes.get(code, 0) + 1
        self.durations.append(duration)
        if first_byte:
            self.first_bytes.append(first_byte)

    def begin(self) -> int:
        """A request arrives. The slot, to be given back with its outcome."""
        self.open += 1
        self.arrived += 1
        return self.slot

    def outcome(self, slot: int, *, failed: bool, slow: bool) -> None:
        """What the arm did with a request that arrived in `slot`."""
        if slot != self.slot:
            late = self._late(slot)
            late.ok += not failed
            late.failed += failed
            late.slow += slow
        elif failed or slow:
            self.ok += not failed
            self.failed += failed
            self.slow += slow
        else:
            self.ok += 1

    def withdraw(self, slot: int) -> None:
        """A request that arrived in `slot` is no evidence."""
        if slot == self.slot:
            self.withdrawn += 1
        else:
            self._late(slot).withdrawn += 1

    @property
    def settled(self) -> int:
        """Of requests that arrived before this slot it is known how they end: those that are open still are open for
        much longer than usual, and will hardly end well."""
        return self.slot - 1 - int(1.5 * self.usual / SLOT)

    def since(self, slot: int, *, overdue: int = 0) -> dict[int, Slot]:
        """What is known of the requests that arrived in `slot` or later, up to MEMORY slots ago. Those that arrived
        before `overdue` and are open still are bad: who waits for what is down fails later than who notices at once."""
        known: dict[int, Known] = {}
        for number, kept in self._recent.items():
            if number >= slot:
                self._add_to(known, number, kept.arrived, kept.ok, kept.failed)
        self._add_to(known, self.slot, self.arrived - self.withdrawn, self.ok, self.failed)
        for number, late in self.late.items():
            if number in known:
                self._add_to(known, number, -late.withdrawn, late.ok, late.failed)
        return {
            number: Slot(one.ok, one.arrived - one.ok if number < overdue else one.failed)
            for number, one in known.items()
        }

    def _add_to(self, slots: dict[int, Known], number: int, arrived: int, ok: int, failed: int) -> None:
        found = slots.get(number)
        if found is None:
            found = slots[number] = Known()
        found.add(arrived, ok, failed)

    def _keep(self) -> None:
        """Remember by slot what is new, and how long it took."""
        if self.seconds:
            mean = self.seconds / max(self.ok + sum([late.ok for late in self.late.values()]), 1)
            self.usual += (mean - self.usual) * (_LEARN if self.usual else 1)
            self.seconds = 0.0
        recent = self._recent
        self._add_to(recent, self.slot, self.arrived - self.withdrawn, self.ok, self.failed)
        for number, late in self.late.items():
            if number in recent:
                self._add_to(recent, number, -late.withdrawn, late.ok, late.failed)
        for number in list(recent):  # in their order, so that the first that is young enough ends it
            if number > self.slot - MEMORY:
                break
            del recent[number]

    @property
    def untold(self) -> bool:
        """Whether there is anything to report."""
        return bool(self.codes or self.arrived or self.ok or self.failed or self.withdrawn or self.late)

    def tell(self, outcomes: dict[Labels, int], slot: int) -> None:
        """Add what is new to `outcomes`, and begin `slot`."""
        if self.evidence is not None and self.untold:
            self._tell(self.evidence, outcomes)
        if self.untold:
            if self.evidence is not None and self.mode is not Mode.SHADOW:
                self._keep()
            self.arrived = self.unasked = self.no_key = self.escalated = 0
            self.ok = self.failed = self.slow = self.withdrawn = 0
            self.late = {}
        self.slot = slot

    def _late(self, slot: int) -> Late:
        found = self.late.get(slot)
        if found is None:
            found = self.late[slot] = Late()
        return found

    def _tell(self, evidence: Labels, outcomes: dict[Labels, int]) -> None:
        if self.mode is Mode.FALLBACK:  # who was not drawn to legacy is no control; only that there was one counts
            self._add(outcomes, evidence, Result.FALLBACK, "", self.arrived)
            return
        if self.mode is not Mode.SHADOW:
            self._add(outcomes, evidence, Result.DRAWN, "", self.arrived - self.unasked)
        self._add(outcomes, evidence, Result.NO_KEY, "", self.no_key)
        self._add(outcomes, evidence, Result.ESCALATED, "", self.escalated)
        slot = str(self.slot)
        self._add(outcomes, evidence, Result.ARRIVED, slot, self.arrived)
        self._add_ends(outcomes, evidence, slot, self.ok, self.failed, self.slow, self.withdrawn)
        for number, late in self.late.items():
            self._add_ends(outcomes, evidence, str(number), late.ok, late.failed, late.slow, late.withdrawn)

    def _add_ends(
        self, outcomes: dict[Labels, int], evidence: Labels, slot: str, ok: int, failed: int, slow: int, withdrawn: int
    ) -> None:
        self._add(outcomes, evidence, Result.OK, slot, ok)
        self._add(outcomes, evidence, Result.FAILED, slot, failed)
        self._add(outcomes, evidence, Result.SLOW, slot, slow)
        self._add(outcomes, evidence, Result.WITHDRAWN, slot, withdrawn)

    def _add(self, outcomes: dict[Labels, int], evidence: Labels, result: Result, slot: str, count: int) -> None:
        if count:
            key = (*evidence, self.arm, result.value, slot)
            outcomes[key] = outcomes.get(key, 0) + count


class Users:
    """Which buckets one arm served at one stage and weight, and which of them are not reported yet."""

    __slots__ = ("_seen", "fresh")

    def __init__(self) -> None:
        self._seen = bytearray()  # a bit for each bucket, once there is a user: most rollouts are not split
        self.fresh: list[int] = []

    def note(self, bucket: int) -> None:
        if not self._seen:
            self._seen = bytearray(BUCKETS // 8)
        place, bit = bucket >> 3, 1 << (bucket & 7)
        if not self._seen[place] & bit:
            self._seen[place] |= bit
            self.fresh.append(bucket)

    def tell(self) -> bytes:
        """Those not reported yet, 3 bytes each."""
        told = b"".join([bucket.to_bytes(3, "big") for bucket in self.fresh])
        self.fresh = []
        return told


class Repeats:
    """How many bad outcomes each user had, by bucket, in the present minute."""

    __slots__ = ("_counts", "_minute")

    def __init__(self) -> None:
        self._minute = 0
        self._counts: dict[int, int] = {}

    def too_often(self, bucket: int, now: float) -> bool:
        """Count one more, at `now` (seconds, monotonic). Whether the user has had enough for this minute."""
        minute = int(now / 60)
        if minute != self._minute:
            self._minute = minute
            self._counts = {}
        count = self._counts.get(bucket, 0)
        if count >= USER_BAD_PER_MINUTE:
            return True
        if count or len(self._counts) < MAX_REPEATERS:
            self._counts[bucket] = count + 1
        return False
