"""What recording every pair costs: whether one control process keeps up, what it does to users, what the store holds.

Two measurements, each against goals of its own:

- **Keeping up**: a `feeder` stands in for workers and hands over 5,000 pairs a second, each a request and two answers
  of 2 KiB. Control is on a core of its own; the store and the feeder are on the other one. It keeps up when all is in
  the store as soon as it was handed over, and nothing was dropped.
- **Users**: the open-loop client asks the same Crossfade at the same rate, by turns on a route that copies to the agent
  and records nothing, and on one that also records every pair. In each round the one p99 is divided by the other; the
  median of the rounds is what counts. The worker is on a core of its own, and so is control. Where there are but two
  cores it would share one with the client and the arms, whose waiting for it (Linux lets a process run on for
  milliseconds) would be taken for the worker's. So there control and store stand still during each round, of either
  kind, and catch up after it; the worker does all that it always does.
"""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import redis

from benchmarks.errors import BenchError
from benchmarks.load.cases import Case, Kind, Traffic
from benchmarks.load.children import Cores, on_cores
from benchmarks.load.measure import cpu_by_role, settle
from benchmarks.load.openloop import percentile
from benchmarks.load.peers import PEERS, Started, started
from benchmarks.load.place import Place, Scene
from benchmarks.page import markdown
from proxy.storage import keys
from proxy.storage.paths import link_path, socket_path

FEED = 5_000
"""Pairs a second."""
USERS = 1_000
"""Requests a second of the open-loop client: it, nginx twice and, with two cores, control share a core."""
LONGEST_ROUND = 4.0
"""Seconds: what a worker records in it fits into its memory, while control stands still."""
MAX_SLOWER = 1.10
MAX_BEHIND = 0.5
"""Seconds by which the last pair may be kept later than it was handed over: a tick, and then some."""

RECORDING = "recording", "make bench ARGS='--recording --write'"
"""The section of the README that is written."""

CASE = Case("recording", "every pair recorded, 2 KiB", Traffic.PAIRS, kind=Kind.RATE, rate=USERS)


@dataclass(frozen=True, slots=True)
class Kept:
    """Of one feed. `cpu` is the seconds of CPU that control and the store took, `pairs` and `bytes` what is in the
    store, `behind` how much later than handed over the last pair was kept."""

    records: int
    seconds: float
    behind: float
    dropped: float
    cpu: Mapping[str, float]
    pairs: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Users:
    """The p99 of each round in milliseconds, without and with recording; requests and errors of all."""

    without: list[float]
    recorded: list[float]
    requests: int
    errors: int


@dataclass(frozen=True, slots=True)
class Goal:
    says: str
    bound: str
    measured: str
    met: bool


def measure(scene: Scene, seconds: float, rounds: int, tell: Callable[[str], None]) -> str:
    """Run both and give the page's part."""
    with scene.upstreams() as upstreams:
        place = scene.place("recording-feed", CASE, upstreams)
        with started(PEERS["crossfade"], place, scene.cores) as proxy:
            kept = _keeping_up(proxy, place, scene.cores, seconds)
        tell(f"fed {kept.records:,} pairs, the last one kept {kept.behind:.2f} s behind")
        place = scene.place("recording-users", CASE, upstreams, 1)
        with started(PEERS["crossfade"], place, scene.cores) as proxy:
            users = _users(proxy, scene.cores, seconds, rounds, tell)
    return page(kept, users)


def page(kept: Kept, users: Users) -> str:
    rows = [(goal.says, goal.bound, goal.measured, "met" if goal.met else "**not met**") for goal in goals(kept, users)]
    control, store = (1e6 * kept.cpu[role] / kept.records for role in ("control", "store"))
    told = (
        f"Of one pair: {control:.0f} µs of CPU in control, so that one core would do for {1e6 / control:,.0f} a second;"
        f" {store:.0f} µs in the store. Users: {users.requests:,} requests, half of them recorded."
    )
    return f"**Recording**\n\n{markdown(('goal', 'must', 'measured', 'verdict'), rows)}\n\n{told}"


def goals(kept: Kept, users: Users) -> list[Goal]:
    ratio = median(recorded / without for recorded, without in zip(users.recorded, users.without, strict=True))
    recorded, without = median(users.recorded), median(users.without)
    per_pair = kept.bytes / max(1, kept.pairs)
    return [
        Goal(
            f"{FEED:,} pairs/s of 2 KiB bodies, one control process on one core: the last one kept",
            f"{MAX_BEHIND:g} s behind", f"{kept.behind:.2f} s", kept.behind <= MAX_BEHIND,
        ),
        Goal("the same: pairs dropped, or missing in the store", "0", f"{_missing(kept):,.0f}", _missing(kept) == 0),
        Goal(
            f"p99 of users at {USERS:,} requests/s, with recording over without", f"{MAX_SLOWER:g} x",
            f"{ratio:.2f} x ({recorded:.2f} ms over {without:.2f} ms, {users.errors} errors)",
            ratio <= MAX_SLOWER and users.errors == 0,
        ),
        Goal("memory in the store per pair of 6 KiB of bodies", "reported", f"{per_pair:,.0f} bytes", met=True),
    ]  # fmt: skip


def _missing(kept: Kept) -> float:
    return max(kept.dropped, kept.records - kept.pairs)


def _keeping_up(proxy: Started, place: Place, cores: Cores, seconds: float) -> Kept:
    _move(proxy, "store", cores.load)
    data = place.folder / "data"
    settle(proxy)
    before = cpu_by_role(proxy)
    argv = [*on_cores(cores.load), sys.executable, "-m", "benchmarks.load.feeder", str(link_path(data))]
    argv += [str(place.folder / "feeder"), str(FEED), str(seconds)]
    told = _told(argv, seconds)
    after = cpu_by_role(proxy)
    pairs, size = _stored(data)
    cpu = {role: after[role] - before[role] for role in ("control", "store")}
    dropped = told["dropped"] + _dropped(proxy.admin)
    return Kept(int(told["records"]), seconds, told["seconds"] - seconds, dropped, cpu, pairs, size)


def _users(proxy: Started, cores: Cores, seconds: float, rounds: int, tell: Callable[[str], None]) -> Users:
    seconds = min(seconds, LONGEST_ROUND)
    other = cores.proxy[1]
    for role in ("control", "store"):
        _move(proxy, role, other)
    still = [pid for role in ("control", "store") for pid in proxy.roles[role]] if other == cores.load else []
    found: dict[Traffic, list[float]] = {Traffic.MIRROR: [], Traffic.PAIRS: []}
    requests = errors = 0
    for number in range(rounds):
        order = list(found) if number % 2 == 0 else list(found)[::-1]
        for traffic in order:
            argv = [*on_cores(cores.load), sys.executable, "-m", "benchmarks.load.openloop", str(proxy.port)]
            with _stopped(still):
                told = _told([*argv, f"/{traffic}/refunds", str(USERS), str(seconds), "2048"], seconds)
            found[traffic].append(percentile(sorted(told["latencies"]), 99) / 1000)
            requests += len(told["latencies"])
            errors += sum(told["errors"])
            settle(proxy)
        tell(
            f"round {number + 1} of {rounds}: {', '.join(f'{name} {each[-1]:.2f} ms' for name, each in found.items())}"
        )
    return Users(found[Traffic.MIRROR], found[Traffic.PAIRS], requests, errors)


@contextmanager
def _stopped(pids: Sequence[int]) -> Iterator[None]:
    try:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def _move(proxy: Started, role: str, core: int) -> None:
    for pid in proxy.roles[role]:
        os.sched_setaffinity(pid, {core})


def _told(argv: list[str], seconds: float) -> dict[str, Any]:
    ended = subprocess.run(argv, capture_output=True, text=True, timeout=seconds + 120, check=False)
    if ended.returncode:
        program = argv[argv.index("-m") + 1]
        raise BenchError(f"{program} failed: {ended.stderr.strip().rpartition(chr(10))[2]}")
    told: dict[str, Any] = json.loads(ended.stdout.strip().rpartition("\n")[2])
    return told


def _dropped(admin: int) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{admin}/metrics", timeout=5) as answer:
        told = answer.read().decode()
    return sum(map(float, re.findall(r"^crossfade_pairs_dropped_total{.*} (\S+)$", told, re.MULTILINE)))


def _stored(data: Path) -> tuple[int, int]:
    """Pairs in the store, and the bytes that they take there."""
    store = redis.Redis(unix_socket_path=str(socket_path(data / "store", "valkey.sock")))
    stream = keys.pairs("pairs")
    size = store.memory_usage(stream, samples=0) or 0
    return store.xlen(stream), size
