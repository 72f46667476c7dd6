import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.model.errors import StoreError
from proxy.storage.sealing import Sealer
from proxy.storage.spool import Spool, adopt
from tests.seals import NEW_KEY, OLD_KEY


def drain(spool: Spool) -> list[bytes]:
    frames = []
    while (frame := spool.peek()) is not None:
        frames.append(frame)
        spool.pop()
    return frames


def segments(directory: Path) -> list[Path]:
    return sorted(directory.glob("*.seg"))


def test_first_in_first_out_over_segments(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s", segment_bytes=64)
    frames = [f"frame {number}".encode() for number in range(50)]
    assert all(spool.append(frame) for frame in frames)
    assert len(segments(tmp_path / "s")) > 5
    assert drain(spool) == frames
    assert spool.empty
    assert spool.size == 0
    assert segments(tmp_path / "s") == []


def test_a_frame_stays_until_it_is_popped(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s")
    spool.append(b"one")
    spool.append(b"two")
    assert spool.peek() == b"one"
    assert spool.peek() == b"one"
    assert spool.head(5) == [b"one", b"two"]
    spool.pop()
    assert spool.head(5) == [b"two"]
    spool.append(b"three")
    assert spool.head(5) == [b"two", b"three"]
    spool.pop(2)
    assert spool.empty


def test_head_is_bounded_in_frames_and_bytes(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s")
    for number in range(10):
        spool.append(bytes([number]) * 100)
    assert len(spool.head(3)) == 3
    assert len(spool.head(10, max_bytes=450)) == 5
    assert len(spool.head(1, max_bytes=1)) == 1


def test_what_was_not_popped_comes_again_after_a_restart(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s", segment_bytes=64)
    frames = [f"frame {number}".encode() for number in range(20)]
    for frame in frames:
        spool.append(frame)
    spool.peek()
    spool.pop(1)
    spool.close()
    again = Spool(tmp_path / "s", segment_bytes=64)
    again.append(b"later")
    # The popped one shares its segment with others, so it comes once more.
    assert drain(again) == [*frames, b"later"]


def test_popped_segments_do_not_come_again(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s", segment_bytes=40)
    for number in range(9):
        spool.append(b"%d" % number * 10)  # two to a segment
    for _ in range(4):
        spool.peek()
        spool.pop()
    spool.close()
    assert drain(Spool(tmp_path / "s")) == [b"%d" % number * 10 for number in range(4, 9)]


def test_the_bound_refuses_and_counts(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s", limit_bytes=1000, segment_bytes=200)
    taken = [spool.append(b"x" * 92) for _ in range(12)]
    assert taken == [True] * 10 + [False] * 2
    assert spool.refused == 2
    assert spool.size == 1000
    spool.head(2)
    spool.pop(2)  # a whole segment
    assert spool.append(b"y" * 92)


def test_a_frame_larger_than_a_segment_has_one_to_itself(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s", segment_bytes=100)
    frames = [b"a", b"b" * 5000, b"", b"c"]
    for frame in frames:
        assert spool.append(frame)
    assert drain(spool) == frames


@pytest.mark.parametrize("cut", [1, 7, 8, 9, 15])
def test_a_torn_end_is_dropped_and_counted(tmp_path: Path, cut: int) -> None:
    spool = Spool(tmp_path / "s")
    spool.append(b"whole")
    spool.append(b"torn off")
    spool.close()
    path = segments(tmp_path / "s")[0]
    os.truncate(path, path.stat().st_size - cut)
    again = Spool(tmp_path / "s")
    again.append(b"after")
    assert drain(again) == [b"whole", b"after"]
    assert again.torn == 1


def test_a_broken_frame_costs_the_rest_of_its_segment_only(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s", segment_bytes=48)
    for number in range(9):
        spool.append(b"%d" % number * 8)  # three to a segment
    spool.close()
    path = segments(tmp_path / "s")[1]
    data = bytearray(path.read_bytes())
    data[16 + 8] ^= 0xFF  # in the second of the three
    path.write_bytes(data)
    again = Spool(tmp_path / "s")
    assert drain(again) == [b"%d" % number * 8 for number in (0, 1, 2, 3, 6, 7, 8)]
    assert again.torn == 1


def test_frames_read_ahead_of_a_broken_one_are_not_lost_with_it(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s")
    spool.append(b"whole")
    spool.append(b"broken")
    spool.close()
    path = segments(tmp_path / "s")[0]
    os.truncate(path, path.stat().st_size - 1)
    reader = Spool(tmp_path / "s")
    assert reader.head(10) == [b"whole"]
    reader.close()  # died before it popped
    assert drain(Spool(tmp_path / "s")) == [b"whole"]


def test_a_garbage_length_is_not_believed(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s")
    spool.close()
    (tmp_path / "s" / "0000000000000001.seg").write_bytes(b"\xff" * 100)
    assert Spool(tmp_path / "s").empty is True


def test_the_disk_full_refuses_counts_and_mends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(tmp_path / "s")
    assert spool.append(b"before")
    real = os.pwritev

    def half(fd: int, buffers: list[bytes], offset: int) -> int:
        return real(fd, [b"".join(buffers)[:5]], offset)

    monkeypatch.setattr(os, "pwritev", half)
    assert not spool.append(b"does not fit")
    assert spool.failed == 1
    monkeypatch.setattr(os, "pwritev", real)
    assert spool.append(b"after")
    assert drain(spool) == [b"before", b"after"]


def test_an_unusable_directory_refuses_until_it_can_be_used(tmp_path: Path) -> None:
    (tmp_path / "parent").write_text("in the way")
    spool = Spool(tmp_path / "parent" / "s")
    assert not spool.append(b"lost")
    assert spool.failed == 1
    assert spool.empty
    (tmp_path / "parent").unlink()
    assert spool.append(b"kept")
    assert drain(spool) == [b"kept"]


def test_a_directory_belongs_to_one_process(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s")
    with pytest.raises(StoreError, match="is in use by another process"):
        Spool(tmp_path / "s")
    spool.close()
    Spool(tmp_path / "s").close()


def test_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s")
    spool.append(b"a secret")
    assert (tmp_path / "s").stat().st_mode & 0o077 == 0
    assert segments(tmp_path / "s")[0].stat().st_mode & 0o077 == 0


def test_adopts_what_the_dead_left_and_nothing_of_the_living(tmp_path: Path) -> None:
    alive, dead = Spool(tmp_path / "worker-a"), Spool(tmp_path / "worker-b")
    control = Spool(tmp_path / "control")
    for spool in (alive, dead, control):
        spool.append(spool.directory.name.encode())
    dead.close()
    adopted = list(adopt(tmp_path))
    assert [drain(spool) for spool in adopted] == [[b"worker-b"]]
    adopted[0].remove()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["control", "worker-a"]


def test_may_be_filled_and_emptied_by_two_threads(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s", segment_bytes=200)
    frames = [b"%d" % number for number in range(500)]
    found: list[bytes] = []

    def empty() -> None:
        while len(found) < len(frames):
            given_out = spool.head(7)
            found.extend(given_out)
            spool.pop(len(given_out))

    reader = threading.Thread(target=empty, daemon=True)
    reader.start()
    assert all(spool.append(frame) for frame in frames)
    reader.join(20)
    assert found == frames
    assert (spool.frames, spool.size) == (0, 0)


def test_a_closed_spool_takes_and_gives_nothing(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s")
    spool.append(b"kept")
    spool.close()
    assert not spool.append(b"late")
    assert spool.peek() is None
    assert drain(Spool(tmp_path / "s")) == [b"kept"]


def test_a_killed_writer_loses_no_frame_that_was_taken(tmp_path: Path) -> None:
    code = (
        "import sys, itertools; from pathlib import Path; from proxy.storage.spool import Spool;"
        "s = Spool(Path(sys.argv[1]), segment_bytes=2000)\n"
        "for n in itertools.count():\n"
        "    s.append(b'%d' % n * 20)\n"
        "    print(n, flush=True)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "s")], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        for _ in range(200):
            last = int(writer.stdout.readline())
        writer.send_signal(signal.SIGKILL)
        last = max([last, *(int(line) for line in writer.stdout.read().splitlines() if line)])
    frames = drain(Spool(tmp_path / "s"))
    assert frames == [b"%d" % n * 20 for n in range(len(frames))]
    assert len(frames) >= last + 1


@given(steps=st.lists(st.one_of(st.binary(max_size=60), st.integers(1, 4), st.just("restart")), max_size=60))
def test_is_a_queue_that_may_repeat_itself_after_a_restart(
    tmp_path_factory: pytest.TempPathFactory, steps: list[bytes | int | str]
) -> None:
    directory = tmp_path_factory.mktemp("spool") / "s"
    spool = Spool(directory, segment_bytes=100)
    sent: list[bytes] = []
    popped = 0  # of sent; what a restart repeats lies before it
    for step in steps:
        if isinstance(step, bytes):
            assert spool.append(step)
            sent.append(step)
        elif isinstance(step, int):
            given_out = spool.head(step)
            assert given_out == sent[popped : popped + len(given_out)]
            assert given_out or popped == len(sent)
            spool.pop(len(given_out))
            popped += len(given_out)
        else:
            spool.close()
            spool = Spool(directory, segment_bytes=100)
            ahead = _count(directory)
            assert len(sent) - ahead <= popped
            popped = len(sent) - ahead
        assert spool.frames == len(sent) - popped
    assert drain(spool) == sent[popped:]
    spool.close()


def _count(directory: Path) -> int:
    """Frames on disk."""
    total = 0
    for path in segments(directory):
        data = path.read_bytes()
        offset = 0
        while offset < len(data):
            offset += 8 + int.from_bytes(data[offset : offset + 4], "big")
            total += 1
    return total


# Sealed


def test_with_keys_the_files_hold_nothing_readable(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s", sealer=Sealer([NEW_KEY]))
    assert spool.append(b"of a person " * 100)
    written = segments(tmp_path / "s")[0].read_bytes()
    assert b"person" not in written
    assert NEW_KEY.id.encode() in written
    assert spool.peek() == b"of a person " * 100


def test_without_keys_frames_are_written_as_they_are(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s")
    assert spool.append(b"of nobody " * 100)
    assert segments(tmp_path / "s")[0].read_bytes().endswith(b"of nobody " * 100)


def test_frames_from_before_there_were_keys_are_read_and_so_are_those_of_a_key_before(tmp_path: Path) -> None:
    for sealer in (Sealer(), Sealer([OLD_KEY]), Sealer([NEW_KEY])):
        spool = Spool(tmp_path / "s", sealer=sealer)
        assert spool.append(b"frame of " + sealer.key_id.encode())
        spool.close()
    again = Spool(tmp_path / "s", sealer=Sealer([NEW_KEY, OLD_KEY]))
    assert drain(again) == [b"frame of ", b"frame of 2026-01", b"frame of 2026-07"]
    assert again.unreadable == 0


@pytest.mark.parametrize("segment_bytes", [60, 250, 4 << 20])
def test_a_frame_whose_key_is_gone_costs_no_other(tmp_path: Path, segment_bytes: int) -> None:
    """Wherever it stands: alone in its segment, first, last, between others."""
    sealer = Sealer()
    spool = Spool(tmp_path / "s", segment_bytes=segment_bytes, sealer=sealer)
    for number, word in enumerate([b"old", b"new", b"old", b"old", b"new", b"new", b"old"]):
        sealer.use([OLD_KEY] if word == b"old" else [NEW_KEY])
        assert spool.append(b"%d %s" % (number, word))
    spool.close()
    again = Spool(tmp_path / "s", sealer=Sealer([NEW_KEY]))
    assert again.frames == 7
    assert again.head(1) == [b"1 new"]
    assert drain(again) == [b"1 new", b"4 new", b"5 new"]
    assert (again.unreadable, again.torn, again.frames, again.size) == (4, 0, 0, 0)
    assert segments(tmp_path / "s") == []


def test_the_keys_may_change_while_frames_wait(tmp_path: Path) -> None:
    sealer = Sealer([OLD_KEY])
    spool = Spool(tmp_path / "s", sealer=sealer)
    assert spool.append(b"before")
    sealer.use([NEW_KEY, OLD_KEY])
    assert spool.append(b"after")
    assert drain(spool) == [b"before", b"after"]
