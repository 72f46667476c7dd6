"""The worker's queue of reports: in order, bounded, and no count is ever lost to a bound."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.gateway import outbox
from proxy.gateway.outbox import DiskResult, DiskWork, Outbox
from proxy.model.link import WINDOW, Decoder
from proxy.model.measures import DECISIONS, PAIRS_DROPPED, REQUEST_DURATION
from proxy.model.records import Parcel
from proxy.model.tick import Counts, Gauges, Tick, from_wire
from tests.fakes import FakeClock

LABELS = ("refunds", "bucket_in")
FAMILY = DECISIONS.name


class Disk:
    """What `Link` does with the spool, on a list that holds at most `limit` frames."""

    def __init__(self, limit: int = 1 << 30) -> None:
        self.frames: list[bytes] = []
        self.limit = limit

    def do(self, work: DiskWork) -> DiskResult:
        del self.frames[: work.pop]
        appended = 0
        for frame in work.append:
            if len(self.frames) >= self.limit:
                break
            self.frames.append(frame)
            appended += 1
        read = self.frames[work.skip : work.skip + work.read]
        return DiskResult(appended, read, bool(self.frames))


def step(box: Outbox, disk: Disk, *, connected: bool) -> list[Tick]:
    """One step of the pump: what goes out."""
    read: list[bytes] = []
    if (work := box.plan(connected=connected)) is not None:
        result = disk.do(work)
        box.done(work, result)
        read = result.frames
    return [tick_of(frame) for frame in box.take(read)] if connected else []


def all_steps(box: Outbox, disk: Disk, *, connected: bool) -> list[Tick]:
    """Steps until nothing more goes out or moves."""
    sent: list[Tick] = []
    for _ in range(100):
        before = (len(sent), len(disk.frames))
        sent += step(box, disk, connected=connected)
        if (len(sent), len(disk.frames)) == before:
            return sent
    raise AssertionError("it does not come to rest")


def tick_of(frame: bytes) -> Tick:
    ((kind, payload),) = Decoder().feed(frame)
    assert kind == "tick"
    return from_wire(payload)


def make(max_memory: int = 1 << 20) -> Outbox:
    return Outbox("life", FakeClock(), max_memory=max_memory)


def put(box: Outbox, count: int = 1, *parcels: Parcel) -> None:
    box.put({FAMILY: {LABELS: count}}, {}, {}, list(parcels))


def parcel(records: int = 1, size: int = 250) -> Parcel:
    """So many records, of so many bytes together; to the outbox they are bytes."""
    return Parcel([b"x" * size], {"refunds": records})


def counted(ticks: list[Tick]) -> int:
    return sum(tick.counters.get(FAMILY, {}).get(LABELS, 0) for tick in ticks)


def test_connected_ticks_go_out_at_once_and_are_forgotten_when_acknowledged() -> None:
    box, disk = make(), Disk()
    put(box, 3)
    put(box, 4)
    sent = all_steps(box, disk, connected=True)
    assert [(tick.seq, tick.counters[FAMILY][LABELS]) for tick in sent] == [(1, 3), (2, 4)]
    assert not box.empty
    box.acknowledge(2)
    assert box.empty
    assert disk.frames == []


def test_nothing_that_happened_makes_no_tick() -> None:
    box, disk = make(), Disk()
    box.put({}, {}, {"inflight_requests": {(): 0.0}}, [])
    assert len(all_steps(box, disk, connected=True)) == 1
    box.put({}, {}, {"inflight_requests": {(): 0.0}}, [])
    assert all_steps(box, disk, connected=True) == []
    box.put({}, {}, {"inflight_requests": {(): 1.0}}, [])
    assert len(all_steps(box, disk, connected=True)) == 1


def test_gauges_are_told_again_to_the_next_listener() -> None:
    box, disk = make(), Disk()
    gauges: Gauges = {"inflight_requests": {(): 2.0}}
    box.put({}, {}, gauges, [])
    all_steps(box, disk, connected=True)
    box.acknowledge(1)
    box.rewind()
    box.put({}, {}, gauges, [])
    assert [tick.gauges for tick in all_steps(box, disk, connected=True)] == [gauges]


def test_no_more_than_the_window_is_on_the_way() -> None:
    box, disk = make(), Disk()
    for _ in range(WINDOW + 5):
        put(box)
    assert len(all_steps(box, disk, connected=True)) == WINDOW
    box.acknowledge(3)
    assert [tick.seq for tick in all_steps(box, disk, connected=True)] == [WINDOW + 1, WINDOW + 2, WINDOW + 3]


def test_at_a_disconnect_all_moves_to_disk_and_comes_back_in_order_behind_what_was_there() -> None:
    box, disk = make(), Disk()
    earlier = Outbox("earlier life", FakeClock())
    put(earlier, 100)
    all_steps(earlier, disk, connected=False)

    put(box, 1)
    all_steps(box, disk, connected=True)  # reads the earlier life's first
    put(box, 2)
    box.rewind()
    all_steps(box, disk, connected=False)
    assert box.saved
    put(box, 3)

    sent = all_steps(box, disk, connected=True)
    assert [(tick.source, tick.seq) for tick in sent] == [("earlier life", 1), ("life", 1), ("life", 2)]
    box.acknowledge(3)
    assert [(tick.source, tick.seq) for tick in all_steps(box, disk, connected=True)] == [("life", 3)]
    box.acknowledge(4)
    all_steps(box, disk, connected=True)
    assert box.empty
    assert disk.frames == []


def test_what_was_on_the_way_goes_again_after_a_reconnect() -> None:
    box, disk = make(), Disk()
    put(box, 1)
    put(box, 2)
    all_steps(box, disk, connected=True)
    box.acknowledge(1)
    box.rewind()
    assert [tick.seq for tick in all_steps(box, disk, connected=True)] == [2]
    box.acknowledge(1)  # counted from the reconnect on
    assert box.empty


def test_an_acknowledgement_of_what_was_never_sent_is_refused() -> None:
    box, disk = make(), Disk()
    put(box)
    all_steps(box, disk, connected=True)
    with pytest.raises(ValueError, match="2 more ticks acknowledged, but 1 are on the way"):
        box.acknowledge(2)


def test_the_bound_drops_records_and_counts_them_but_no_count() -> None:
    box, disk = make(max_memory=2_000), Disk(limit=0)
    put(box, 1, parcel(1, 1_500))
    put(box, 2, parcel(2, 1_500))
    put(box, 4)
    assert box.dropped == {("refunds", "spool_full"): 2}

    sent = all_steps(box, disk, connected=True)
    assert counted(sent) == 7
    assert [len(tick.records) for tick in sent] == [1_500, 0]
    assert sent[1].counters[PAIRS_DROPPED.name] == {("refunds", "spool_full"): 2}
    assert [tick.seq for tick in sent] == [1, 2]


def test_a_full_disk_keeps_what_it_has_and_what_memory_holds() -> None:
    box, disk = make(max_memory=10_000), Disk(limit=2)
    for count in (1, 2, 4):
        put(box, count)
        all_steps(box, disk, connected=False)
    assert len(disk.frames) == 2
    assert not box.saved
    disk.limit = 10
    sent: list[Tick] = []
    while not box.empty:
        sent += all_steps(box, disk, connected=True)
        box.acknowledge(len(sent))
    assert counted(sent) == 7


def test_histograms_of_a_refused_tick_are_added_to_the_next() -> None:
    box, disk = make(max_memory=10), Disk()
    row = [0.5, 1.0, 0.0]
    box.put({}, {REQUEST_DURATION.name: {LABELS: row}}, {}, [])
    box.put({}, {REQUEST_DURATION.name: {LABELS: [0.25, 0.0, 1.0]}}, {}, [], last=True)
    (tick,) = all_steps(box, disk, connected=True)
    assert tick.histograms == {REQUEST_DURATION.name: {LABELS: [0.75, 1.0, 1.0]}}
    assert row == [0.5, 1.0, 0.0]


def test_a_slow_control_process_fills_the_disk_and_not_the_memory_and_gets_nothing_twice() -> None:
    box, disk = make(max_memory=10_000), Disk()
    sent: list[Tick] = []
    for _ in range(100):
        put(box, 1, parcel(1, 650))
        sent += all_steps(box, disk, connected=True)
    assert not box.dropped
    assert len(disk.frames) > 50
    assert len(sent) == WINDOW
    while not box.empty:
        box.acknowledge(len(sent))
        sent += all_steps(box, disk, connected=True)
    assert [tick.seq for tick in sent] == list(range(1, 101))


def test_each_parcel_is_a_tick_and_the_counts_are_in_the_first() -> None:
    box, disk = make(), Disk()
    put(box, 5, parcel(1, 10), parcel(1, 20), parcel(1, 30))
    sent = all_steps(box, disk, connected=True)
    assert [tick.counters.get(FAMILY, {}).get(LABELS, 0) for tick in sent] == [5, 0, 0]
    assert [tick.seq for tick in sent] == [1, 2, 3]
    assert [len(tick.records) for tick in sent] == [10, 20, 30]


def test_a_parcel_alone_changes_nothing_of_what_gauges_were_told() -> None:
    box, disk = make(), Disk()
    gauges: Gauges = {"inflight_requests": {(): 2.0}}
    box.put({}, {}, gauges, [])
    box.put({}, {}, {}, [parcel()])
    box.put({}, {}, gauges, [])
    assert [tick.gauges for tick in all_steps(box, disk, connected=True)] == [gauges, {}]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(["put", "step", "ack", "lose", "away", "full", "free"]), max_size=120))
def test_whatever_happens_each_count_arrives_once_and_in_order(happenings: list[str]) -> None:
    """A control process that forgets nothing, a link that breaks at any time, a disk that is full at times."""
    secured: list[int] = []
    records = 0

    def secure(seq: int, settled: dict[str, int]) -> None:
        """Killed at any moment, what is said to be secured is on disk or kept."""
        nonlocal records
        assert seq in {each.seq for each in (*kept, *map(tick_of, disk.frames))}
        secured.append(seq)
        records += settled.get("refunds", 0)

    box, disk = Outbox("life", FakeClock(), max_memory=1_500, secured=secure), Disk()
    kept: list[Tick] = []
    on_the_way: list[Tick] = []
    put_in, acked, connected = 0, 0, True

    def keep() -> None:
        for tick in on_the_way:
            if not kept or tick.seq > kept[-1].seq:
                kept.append(tick)
            else:
                assert tick.seq in {each.seq for each in kept}
        on_the_way.clear()

    for happening in [*happenings, "free", "lose", *["step", "ack"] * 60]:
        match happening:
            case "put":
                put_in += 1
                put(box, 1, parcel())
            case "step":
                on_the_way += step(box, disk, connected=connected)
            case "ack":
                count = len(on_the_way)
                keep()
                acked += count
                box.acknowledge(acked)
            case "lose":  # what was sent may have arrived all the same
                keep()
                box.rewind()
                acked, connected = 0, True
            case "away":
                on_the_way.clear()
                box.rewind()
                acked, connected = 0, False
            case "full":
                disk.limit = 2
            case "free":
                disk.limit = 1 << 30
    put(box, 0)
    assert counted(kept) + counted(last_words(box, disk, acked, kept)) == put_in
    assert records == put_in  # each has its one record, which was kept or counted as dropped
    assert secured == list(range(1, len(secured) + 1))


def last_words(box: Outbox, disk: Disk, acked: int, kept: list[Tick]) -> list[Tick]:
    sent: list[Tick] = []
    while new := all_steps(box, disk, connected=True):
        sent += new
        kept += [tick for tick in new if tick.seq not in {each.seq for each in kept}]
        box.acknowledge(acked + len(sent))
    return sent


def test_merging_changes_neither_side() -> None:
    left: Counts = {"a": {("x",): 1}}
    right: Counts = {"a": {("x",): 2, ("y",): 3}, "b": {("z",): 4}}
    assert outbox.merged(left, right) == {"a": {("x",): 3, ("y",): 3}, "b": {("z",): 4}}
    assert left == {"a": {("x",): 1}}
    assert right == {"a": {("x",): 2, ("y",): 3}, "b": {("z",): 4}}
