import subprocess
import sys
from pathlib import Path

import pytest

from proxy.storage import owed
from proxy.storage.owed import ROUTES, Left, Owed, begin, find, forget


@pytest.fixture(params=["memory", "beside the spool"])
def directory(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A spool's directory; the counts are in a memory of this test's own, or there is none."""
    memory = tmp_path / "memory"
    if request.param == "memory":
        memory.mkdir()
    monkeypatch.setattr(owed, "MEMORY", memory)
    (tmp_path / "worker-1").mkdir()
    return tmp_path / "worker-1"


def make(counts: Owed, route: str, records: int) -> None:
    counts.made[counts.place(route)] += records


def test_what_was_made_and_not_secured_is_owed(directory: Path) -> None:
    counts, left = begin(directory, "a" * 32)
    assert left is None
    make(counts, "refunds", 10)
    make(counts, "claims", 3)
    counts.secure(7, {"refunds": 8, "claims": 3})
    assert find(directory) == Left("a" * 32, 7, {"refunds": 2})
    counts.secure(8, {"refunds": 2})
    assert find(directory) is None
    assert counts.nothing


def test_it_outlives_a_killed_process(directory: Path) -> None:
    program = f"""
import os, signal
from pathlib import Path
from proxy.storage import owed
owed.MEMORY = Path({str(owed.MEMORY)!r})
counts, _ = owed.begin(Path({str(directory)!r}), "life")
counts.made[counts.place("refunds")] = 5
counts.secure(3, {{"refunds": 1}})
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -9
    assert find(directory) == Left("life", 3, {"refunds": 4})


def test_the_next_life_takes_it_over_until_it_is_secured(directory: Path) -> None:
    make(begin(directory, "first")[0], "refunds", 2)
    second, left = begin(directory, "second")
    assert left == Left("first", 0, {"refunds": 2})
    make(second, "refunds", 1)
    third, left = begin(directory, "third")  # killed before it could say so
    assert left == Left("second", 0, {"refunds": 3})
    third.secure(1, {"refunds": 3})
    assert begin(directory, "fourth")[1] is None


def test_killed_while_it_takes_over_nothing_changes(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(begin(directory, "first")[0], "refunds", 2)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            begin(directory, "second")
    assert begin(directory, "third")[1] == Left("first", 0, {"refunds": 2})


def test_routes_beyond_the_bound_are_counted_together(directory: Path) -> None:
    counts, _ = begin(directory, "life")
    for number in range(ROUTES + 5):
        make(counts, f"r{number}", 1)
    left = find(directory)
    assert left is not None
    assert (len(left.records), left.records["r0"], left.records[""]) == (ROUTES, 1, 6)
    again = begin(directory, "next")[1]
    assert again == left


def test_what_is_settled_is_forgotten(directory: Path) -> None:
    make(begin(directory, "life")[0], "refunds", 1)
    forget(directory)
    forget(directory)
    assert find(directory) is None


@pytest.mark.parametrize("content", [b"", b"x" * owed.SIZE, b"x" * (owed.SIZE + 1)])
def test_what_is_not_ours_says_nothing(directory: Path, content: bytes) -> None:
    owed._path(directory).write_bytes(content)
    assert find(directory) is None
    assert begin(directory, "life")[1] is None


def test_a_link_that_somebody_put_there_is_not_followed(directory: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"precious")
    owed._path(directory).with_suffix(".new").symlink_to(other)
    owed._path(directory).symlink_to(other)
    make(begin(directory, "life")[0], "refunds", 1)
    assert other.read_bytes() == b"precious"
    assert find(directory) == Left("life", 0, {"refunds": 1})


def test_where_nothing_can_be_written_nothing_is_counted_and_traffic_goes_on(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.posix_fallocate", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
    counts, left = begin(directory, "life")
    make(counts, "refunds", 1)
    assert (left, find(directory)) == (None, None)


def test_what_was_said_is_not_said_again_where_it_cannot_be_taken_over(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(begin(directory, "first")[0], "refunds", 1)
    with monkeypatch.context() as patch:
        patch.setattr("os.posix_fallocate", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
        assert begin(directory, "second")[1] == Left("first", 0, {"refunds": 1})
    assert begin(directory, "third")[1] is None
