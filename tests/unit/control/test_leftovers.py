"""Spools of workers that are no more."""

from pathlib import Path

from structlog.testing import capture_logs

from proxy.control import leftovers
from proxy.model.link import TICK, encode
from proxy.model.measures import OWED
from proxy.model.tick import Tick, to_wire
from proxy.storage import owed
from proxy.storage.sealing import Sealer
from proxy.storage.spool import Spool
from tests.seals import NEW_KEY


def leave(data_dir: Path, number: int, *frames: bytes) -> Path:
    directory = data_dir / "spool" / f"worker-{number}"
    spool = Spool(directory)
    for frame in frames:
        assert spool.append(frame)
    spool.close()
    return directory


def tick(seq: int) -> bytes:
    return encode(TICK, to_wire(Tick("gone", seq, 0.0)))


class Taken:
    def __init__(self) -> None:
        self.ticks: list[tuple[int, bool]] = []

    async def take(self, tick: Tick, live: bool) -> None:
        self.ticks.append((tick.seq, live))


async def test_what_workers_beyond_the_present_number_left_is_taken_in_order_and_removed(tmp_path: Path) -> None:
    present = leave(tmp_path, 1, tick(1))
    gone = leave(tmp_path, 2, tick(5), tick(6), tick(7))
    taken = Taken()
    await leftovers.hand_over(tmp_path, 1, taken.take, Sealer())
    assert taken.ticks == [(5, False), (6, False), (7, False)]
    assert not gone.exists()
    assert present.exists()


async def test_what_a_killed_worker_owed_is_told_after_what_it_left_and_once(tmp_path: Path) -> None:
    gone = leave(tmp_path, 2, tick(5))
    counts, _ = owed.begin(gone, "gone")
    counts.made[counts.place("refunds")] = 9
    counts.secure(4, {"refunds": 2})
    ticks: list[Tick] = []

    async def take(tick: Tick, _live: bool) -> None:
        ticks.append(tick)

    for _ in range(2):
        await leftovers.hand_over(tmp_path, 1, take, Sealer())
    assert [tick.counters for tick in ticks] == [{}, {OWED.name: {("refunds", "gone", "4"): 7}}]
    assert ticks[0].seq < ticks[1].seq
    assert {tick.source for tick in ticks} == {"gone"}


async def test_a_spool_that_is_in_use_is_left_alone(tmp_path: Path) -> None:
    in_use = Spool(leave(tmp_path, 3, tick(1)))
    taken = Taken()
    await leftovers.hand_over(tmp_path, 1, taken.take, Sealer())
    assert taken.ticks == []
    assert not in_use.empty
    in_use.close()


async def test_what_cannot_be_read_is_said_and_the_rest_is_taken(tmp_path: Path) -> None:
    leave(tmp_path, 2, encode(TICK, ["nonsense"]), b"\x00\x00\x00\x01", tick(3))
    taken = Taken()
    with capture_logs() as logs:
        await leftovers.hand_over(tmp_path, 1, taken.take, Sealer())
    assert taken.ticks == [(3, False)]
    assert [line["event"] for line in logs] == ["leftover_unreadable", "leftover_unreadable", "leftovers_handed_over"]


async def test_other_folders_beside_them_are_nobodys(tmp_path: Path) -> None:
    (tmp_path / "spool" / "worker-x").mkdir(parents=True)
    (tmp_path / "spool" / "control").mkdir()
    await leftovers.hand_over(tmp_path, 1, Taken().take, Sealer())
    assert (tmp_path / "spool" / "worker-x").exists()


async def test_what_a_worker_sealed_is_taken_with_the_keys_and_said_to_be_lost_without(tmp_path: Path) -> None:
    sealer = Sealer([NEW_KEY])
    for number in (2, 3):
        spool = Spool(tmp_path / "spool" / f"worker-{number}", sealer=sealer)
        assert spool.append(tick(number))
        spool.close()
    taken = Taken()
    with capture_logs() as logs:
        await leftovers.hand_over(tmp_path, 2, taken.take, Sealer([NEW_KEY]))
        await leftovers.hand_over(tmp_path, 1, taken.take, Sealer())
    assert taken.ticks == [(3, False)]
    assert [line["event"] for line in logs] == [
        "leftovers_handed_over", "spool_frame_unreadable", "leftovers_handed_over",
    ]  # fmt: skip
