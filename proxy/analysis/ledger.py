"""The ledger of slots: what arrived when, on both arms and from all sources, until it is settled.

Rules kept here:
- a request counts where it arrived. A stretch of slots is settled when nothing of it is open; settled ones leave in
  order. What is open is judged so that the agent is never blamed too early: its own as good, legacy's as bad;
- nothing waits forever: what is open after `wait` is an answer that streams, for a timeout would have ended it. The
  agent's stay good, legacy's are withdrawn;
- what comes for a stretch that has left is booked with the oldest that is still here: the agent's bad ones (its good
  ones were counted), and all of legacy's that end;
- no count is below 0, and no more are bad than there were, whatever is reported.

However long the wait, there are at most `MAX_CELLS` stretches: old ones are joined, more coarsely the older they are.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

from proxy.analysis.block import Block
from proxy.analysis.sources import Source
from proxy.model.measures import SLOT
from proxy.model.rollouts import Arrived

MAX_CELLS: Final = 12
MAX_SOURCES: Final = 64
MAX_ROWS: Final = 20_000
"""Rows that wait for the next `settle`."""

OWN_LAG: Final = 3
"""Slots after which all of our own workers have reported an arrival."""

OTHERS_LAG: Final = 10
"""The same, where other replicas report too."""

FORGET: Final = 3_000
"""Slots (ten minutes) after which a source that is silent is forgotten."""


class Stretch(NamedTuple):
    """Requests that arrived within `elapsed` seconds, by arm; for `looks` see `Block`. `pending` are those of legacy's
    that are open, and counted as bad of either kind."""

    elapsed: float
    looks: int
    agent: int
    agent_failed: int
    agent_slow: int
    legacy: int
    legacy_failed: int
    legacy_slow: int
    pending: int = 0

    @property
    def failures(self) -> Block:
        return self._block(self.agent_failed, self.legacy_failed)

    @property
    def slowness(self) -> Block:
        return self._block(self.agent_slow, self.legacy_slow)

    def _block(self, agent_bad: int, legacy_bad: int) -> Block:
        return Block(self.elapsed, self.agent, agent_bad, self.legacy, legacy_bad, self.looks, self.pending)


class _Cell:
    """The counts of the slots `first` to `last`, both included; in the order of `Arrived`."""

    __slots__ = ("counts", "first", "joined", "last")

    def __init__(self, slot: int) -> None:
        self.first = self.last = slot
        self.joined = 0  # looks of the cells that it was joined of
        self.counts = [0] * (len(Arrived._fields) - 1)

    def add(self, row: Arrived) -> None:
        counts = self.counts
        for index, count in enumerate(row[1:]):
            if count:
                counts[index] += count

    def join(self, later: "_Cell") -> None:
        self.joined = self.looks + later.looks
        self.last = later.last
        self.counts = [mine + its for mine, its in zip(self.counts, later.counts, strict=True)]

    @property
    def looks(self) -> int:
        return self.joined or int(self.counts[0] > 0 and self.counts[4] > 0)

    @property
    def open(self) -> tuple[int, int]:
        """Of the agent's and of legacy's. Below 0 where more ended than arrived."""
        return self.counts[0] - self.counts[1], self.counts[4] - self.counts[5]

    def stretch(self, after: int, *, final: bool) -> Stretch:
        """As it stands, `after` being the last slot before it. Not final: legacy's open ones count as bad."""
        agent, ended, failed, slow, legacy, legacy_ended, legacy_failed, legacy_slow = self.counts
        elapsed = (self.last - after) * SLOT
        sound = agent >= ended >= max(failed, slow) and legacy == legacy_ended >= max(legacy_failed, legacy_slow)
        if sound and min(self.counts) >= 0:
            return Stretch(elapsed, self.looks, agent, failed, slow, legacy, legacy_failed, legacy_slow)
        requests, peers = max(agent, ended, 0), max(legacy_ended, 0)
        pending = 0 if final else max(legacy - peers, 0)
        return Stretch(
            elapsed,
            self.looks,
            requests,
            max(0, min(failed, requests)),
            max(0, min(slow, requests)),
            peers + pending,
            max(0, min(legacy_failed, peers)) + pending,
            max(0, min(legacy_slow, peers)) + pending,
            pending,
        )


class Ledger:
    """Call `add` whenever something is reported, and `settle` every tick."""

    def __init__(self, wait: float) -> None:
        """`wait`: seconds after which a request that is open can no longer end by a timeout."""
        self.wait = wait
        self.lost = 0
        """Rows that did not fit."""
        self._sources: dict[str, Source] = {}
        self._added: list[tuple[str, tuple[Arrived, ...]]] = []
        self._waiting = 0
        self._cells: list[_Cell] = []
        self._now = self._left = -1  # the last slot that has left; -1: nothing was settled yet
        self._spare = 0, 0  # by arm: ends of requests that arrived in a later cell, since their source's offset changed

    def add(self, source: str, rows: Iterable[Arrived]) -> None:
        """What `source` reports: empty for our own workers, whose slots are numbered by our clock."""
        report = tuple(rows)
        if not report:
            return
        if self._waiting + len(report) > MAX_ROWS:
            self.lost += len(report)
            return
        self._waiting += len(report)
        self._added.append((source, report))

    def settle(self, now: int) -> list[Stretch]:
        """What is settled by now (our clock's slot), oldest first. It leaves the ledger."""
        if self._now < 0:
            self._left = now - OTHERS_LAG - 1
        self._now = now = max(now, self._now)
        for name, rows in self._added:
            self._book(self._source(name, rows), rows, now)
        self._added, self._waiting = [], 0
        self._join(MAX_CELLS)
        wait = max(int(self.wait / SLOT), OTHERS_LAG)
        lag = OWN_LAG if self._sources.keys() <= {""} else OTHERS_LAG
        settled: list[Stretch] = []
        while self._cells:
            cell, age = self._cells[0], now - self._cells[0].last
            agent, legacy = (pending - spare for pending, spare in zip(cell.open, self._spare, strict=True))
            if age < lag or (age < wait and (agent > 0 or legacy > 0)):
                break
            settled.append(cell.stretch(self._left, final=True))
            self._spare = max(0, -agent), max(0, -legacy)
            self._left = cell.last
            del self._cells[0]
        if not self._cells:
            self._spare = 0, 0
        return settled

    def tail(self) -> list[Stretch]:
        """What is not settled, as it stands now, oldest first. It stays."""
        after, stretches = self._left, []
        for cell in self._cells:
            stretches.append(cell.stretch(after, final=False))
            after = cell.last
        return stretches

    def _source(self, name: str, rows: tuple[Arrived, ...]) -> Source:
        source = self._sources.get(name)
        if source is not None:
            if name:
                source.hear(rows, self._now)
            return source
        forgotten = [key for key, other in self._sources.items() if key and other.heard < self._now - FORGET]
        for key in forgotten:
            del self._sources[key]
        if len(self._sources) >= MAX_SOURCES:
            del self._sources[min((key for key in self._sources if key), key=lambda key: self._sources[key].heard)]
        self._sources[name] = source = Source(rows, self._now, own=not name)
        return source

    def _book(self, source: Source, rows: tuple[Arrived, ...], now: int) -> None:
        for row in rows:
            slot, known = min(row.slot + source.offset, now), row.slot >= source.since
            if known and slot > self._left:
                self._cell(slot).add(row)
            elif any((late := _late(row, known=known))[1:]):
                (self._cells[0] if self._cells else self._cell(self._left + 1)).add(late)

    def _cell(self, slot: int) -> _Cell:
        """The cell that `slot` belongs to, newly made where there is none."""
        at = len(self._cells)
        while at and slot < self._cells[at - 1].first:
            at -= 1
        if at and slot <= self._cells[at - 1].last:
            return self._cells[at - 1]
        cell = _Cell(slot)
        self._cells.insert(at, cell)
        if len(self._cells) > 4 * MAX_CELLS:
            self._join(2 * MAX_CELLS)
            return self._cell(slot)
        return cell

    def _join(self, most: int) -> None:
        """Join neighbours until there are no more cells than `most`: first those that are short for their age."""
        cells = self._cells
        while len(cells) > most:
            end = cells[-1].last + 1
            at = min(
                range(len(cells) - 1),
                key=lambda at: (cells[at + 1].last + 1 - cells[at].first) / (end - cells[at].first),
            )
            cells[at].join(cells.pop(at + 1))


def _late(row: Arrived, *, known: bool) -> Arrived:
    """What still counts of a row that came too late for its slot: all of it ended, what is open as it is judged.

    Not `known`: its slot was before we heard of the source, so only requests whose arrival is in the row count.
    """
    arrived, peers = max(row.agent, 0), max(row.legacy, 0)
    agent = max(arrived, row.agent_failed, row.agent_slow) if known else arrived
    legacy = max(peers, row.legacy_ended) if known else peers
    pending = max(peers - max(row.legacy_ended, 0), 0)
    failed, slow = min(row.legacy_failed + pending, legacy), min(row.legacy_slow + pending, legacy)
    return Arrived(
        row.slot, agent, agent, min(row.agent_failed, agent), min(row.agent_slow, agent), legacy, legacy, failed, slow
    )
