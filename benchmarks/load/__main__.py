"""`make bench`: measure Crossfade side by side with what is installed of its peers."""

import resource
import signal
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import FrameType

import click

from benchmarks.errors import BenchError
from benchmarks.load.cases import CASES, Case, Kind, choose
from benchmarks.load.install import how_to_get, install_peers
from benchmarks.load.peers import PEERS
from benchmarks.load.place import Scene
from benchmarks.load.profiling import profile
from benchmarks.load.recording import RECORDING, measure
from benchmarks.load.report import FIGURES, PROFILE, figures
from benchmarks.load.session import Plan, Session
from benchmarks.load.upstreams import find
from benchmarks.page import called, machine, write_readme

_PROFILE_HELP = (
    "Where the microseconds of a request go in Crossfade, by perf: split-post, or the case that --case names."
)
_CASE_HELP = f"Only cases whose names contain WORD: {', '.join(case.name for case in CASES)}. May be repeated."


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--case", "words", multiple=True, metavar="WORD", help=_CASE_HELP)
@click.option("--peer", "names", multiple=True, type=click.Choice(list(PEERS)), help="Only these; may be repeated.")
@click.option("--rounds", type=click.IntRange(1, 50), help="How often each case is run.  [default: 2 or 3, quick: 1]")
@click.option("--seconds", type=click.FloatRange(0.5, 30), help="Length of a measured run.  [default: 1.2, quick: 0.8]")
@click.option("--quick", is_flag=True, help="About a minute: POST only, one short round. Good for a first look.")
@click.option("--write", is_flag=True, help="Write the tables, machine and versions into benchmarks/README.md.")
@click.option("--profile", "profiled", is_flag=True, help=_PROFILE_HELP)
@click.option("--recording", is_flag=True, help="What recording every pair costs: control, users, the store's memory.")
@click.option("--install-peers", "install", is_flag=True, help="Install wrk, nginx, HAProxy and Envoy, and stop.")
def main(
    *,
    words: tuple[str, ...],
    names: tuple[str, ...],
    rounds: int | None,
    seconds: float | None,
    quick: bool,
    write: bool,
    profiled: bool,
    recording: bool,
    install: bool,
) -> None:
    """CPU time per request, requests/s, latencies and memory of Crossfade beside nginx, HAProxy, Envoy and aiohttp."""
    try:
        if install:
            install_peers()
            return
        if recording:
            _recording(seconds or (4.0 if quick else 10.0), rounds or (1 if quick else 4), write)
            return
        cases = _cases(words, quick)
        peers = _peers(names)
        if profiled:
            _profile(words, seconds or 5.0, peers, write)
            return
        plan = Plan(
            cases,
            tuple(PEERS[name] for name in peers),
            rounds or (1 if quick else None),
            seconds or (0.8 if quick else 1.2),
            reference_seconds=0.5 if quick else 0.6,
        )
        sys.exit(_measure(plan, peers, write))
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        sys.exit(1)


def _cases(words: tuple[str, ...], quick: bool) -> tuple[Case, ...]:
    cases = choose(words)
    if not cases:
        raise BenchError(f"no case is called like {' or '.join(words)}; there are {', '.join(c.name for c in CASES)}")
    return tuple(case for case in cases if words or not quick or _is_quick(case))


def _is_quick(case: Case) -> bool:
    return case.kind is Kind.IDLE or (case.kind is Kind.LOAD and case.method == "POST")


def _peers(names: tuple[str, ...]) -> dict[str, str]:
    """Versions of those asked for that are installed; the missing ones are named, and it goes on without them."""
    if missing := [program for program in ("wrk", "nginx") if find(program) is None]:
        raise BenchError(f"{' and '.join(missing)} missing; get them with: {how_to_get(missing)}")
    found: dict[str, str] = {}
    for name, peer in PEERS.items():
        version = peer.version() if not names or name in names else ""
        if version is None:
            print(f"{name} is missing and left out; get it with: {peer.install}")
        elif version:
            found[name] = version
    return found


def _measure(plan: Plan, versions: Mapping[str, str], write: bool) -> int:
    """Run the plan and print; the exit code is 1 when a run failed."""
    _allow_many_sockets()
    signal.signal(signal.SIGTERM, _end)
    with tempfile.TemporaryDirectory(prefix="crossfade-bench-") as folder:
        session = Session(plan, Scene.set(Path(folder)), print)
        session.run()
    text = f"{machine(versions, called('bench'))}\n\n{figures(session.results)}"
    print(f"\n{text}")
    if write:
        write_readme(FIGURES, text)
    return 1 if session.results.failed else 0


def _profile(words: tuple[str, ...], seconds: float, versions: Mapping[str, str], write: bool) -> None:
    """One case, the first that is meant; split-post without any."""
    versions = {name: version for name, version in versions.items() if name == "crossfade"}
    _allow_many_sockets()
    signal.signal(signal.SIGTERM, _end)
    case = _cases(words or ("split-post",), quick=False)[0]
    with tempfile.TemporaryDirectory(prefix="crossfade-bench-") as folder:
        found = profile(case, Scene.set(Path(folder)), seconds, print)
    text = f"{machine(versions, called('bench'))}\n\n{found}"
    print(f"\n{text}")
    if write:
        write_readme(PROFILE, text)


def _recording(seconds: float, rounds: int, write: bool) -> None:
    versions = {name: version for name, version in _peers(("crossfade",)).items() if version}
    _allow_many_sockets()
    signal.signal(signal.SIGTERM, _end)
    with tempfile.TemporaryDirectory(prefix="crossfade-bench-") as folder:
        found = measure(Scene.set(Path(folder)), seconds, rounds, print)
    text = f"{machine(versions, called('bench'))}\n\n{found}"
    print(f"\n{text}")
    if write:
        write_readme(RECORDING, text)


def _allow_many_sockets() -> None:
    """A crowd opens ten thousand connections here and more in a proxy, which inherits this limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _end(signum: int, _frame: FrameType | None) -> None:
    """Leave by the way that ends every child."""
    raise SystemExit(128 + signum)


if __name__ == "__main__":
    main()
