"""Where the microseconds go: samples of Crossfade's worker under load, taken by perf and sorted by what they are for.

A sample that was taken in the kernel belongs to the system call at its root. Any other belongs to the library that it
was taken in, and of the compiled hot path to its module.
"""

import re
import subprocess
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from benchmarks.errors import BenchError
from benchmarks.load.cases import Case
from benchmarks.load.children import on_cores
from benchmarks.load.peers import PEERS, started
from benchmarks.load.place import Scene
from benchmarks.load.session import MEASURES
from benchmarks.load.upstreams import find
from benchmarks.load.wrk import wrk_running
from benchmarks.page import markdown

INSTALL = "apt-get install linux-perf"
FREQUENCY = 4999
WARM_UP = 3.0
_SYMBOLS = 12
_FRAME = re.compile(r"^\s+[0-9a-f]+ (.*) \((.*)\)$")
_SYSCALL = re.compile(r"(?:__x64_sys_|__arm64_sys_|__sys_|ksys_)(\w+)")
_MODULE = re.compile(r"CPy(?:Def|Py)_(\w+?)___")
_LIBRARIES = (
    ("/uvloop/", "uvloop: the loop, transports, libuv"),
    ("/httptools/", "httptools: the parser"),
    ("/libssl", "OpenSSL"),
    ("/libcrypto", "OpenSSL"),
    ("/_ssl.", "OpenSSL"),
    ("/_blake2.", "the bucket's hash"),
    ("/python", "CPython"),
    ("/libpython", "CPython"),
    ("/libc.", "libc: memory, copies"),
    ("[vdso]", "the clock"),
)
"""What a file's path holds, the first that fits: extensions of Python lie in a directory of that name."""
_CPYTHON = (
    (re.compile(r"_PyEval_|_PyFrame_|_PyFunction_"), "CPython: plain Python"),
    (re.compile(r"(?i).*(alloc|free|gc_|visit_|traverse|subtype_clear)"), "CPython: memory"),
    (re.compile(r"(?i).*(lookup|dict|getattr|setattr|descr)"), "CPython: attributes, dicts"),
    (re.compile(r"(?i).*(call|method|getargs|parsestack)"), "CPython: calls"),
    (re.compile(r"(?i).*(bytes|unicode|ascii|list|tuple|set|long|float|buffer|memory|hash)"), "CPython: values"),
)
_SMALL = 0.005
"""Shares below it are told together."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A function and the file that it is in: `[kernel.kallsyms]`, or a library's path."""

    symbol: str
    file: str

    @property
    def of_kernel(self) -> bool:
        return self.file.startswith(("[kernel", "[guest.kernel"))


Stack = Sequence[Frame]
"""From where the sample was taken to its root. Never empty."""


def read_stacks(lines: Iterable[str]) -> Iterator[Stack]:
    """The samples of `perf script -F ip,sym,dso`: a frame a line, an empty line behind each sample."""
    stack: list[Frame] = []
    for line in lines:
        if frame := _FRAME.match(line.rstrip("\n")):
            stack.append(Frame(frame[1], frame[2]))
        elif stack:
            yield stack
            stack = []
    if stack:
        yield stack


def place(stack: Stack) -> str:
    """What a sample is counted for."""
    leaf = stack[0]
    if leaf.of_kernel:
        calls = (_SYSCALL.fullmatch(frame.symbol) for frame in reversed(stack))
        call = next((found[1] for found in calls if found), None)
        return f"kernel: {call}" if call else "kernel: the rest"
    if "__mypyc" in leaf.file:
        module = _MODULE.match(leaf.symbol)
        return f"Crossfade: {module[1]}" if module else "Crossfade: mypyc's runtime"
    library = next((told for part, told in _LIBRARIES if part in leaf.file), "other")
    if library != "CPython":
        return library
    return next((told for pattern, told in _CPYTHON if pattern.match(leaf.symbol)), "CPython: the rest")


def profile(case: Case, scene: Scene, seconds: float, tell: Callable[[str], None]) -> str:
    """Two tables in Markdown: µs of a request by what they are for, and the functions that most of them are in."""
    if find("perf") is None:
        raise BenchError(f"perf is missing; get it with: {INSTALL}")
    with ExitStack() as open_:
        upstreams = open_.enter_context(scene.upstreams())
        crossfade = PEERS["crossfade"]
        proxy = open_.enter_context(started(crossfade, scene.place("profile", case, upstreams), scene.cores))
        run = MEASURES[case.kind](proxy, case, upstreams, scene.cores, seconds)
        tell(f"{case.name}: {run}; now again, with perf")
        wrk = open_.enter_context(wrk_running(scene.cores.load, proxy.port, case))
        wrk.wait(WARM_UP)
        stacks = _sample(proxy.roles["worker"], scene, seconds)
    return _tables(stacks, run.cpu["worker"])


def _sample(pids: Sequence[int], scene: Scene, seconds: float) -> list[Stack]:
    file = scene.folder / "perf.data"
    here = on_cores(scene.cores.load)
    told = ",".join(map(str, pids))
    perf = find("perf") or "perf"
    record = [perf, "record", "-q", "-F", str(FREQUENCY), "-g", "-p", told, "-o", str(file), "sleep", str(seconds)]
    ended = subprocess.run([*here, *record], capture_output=True, text=True, timeout=seconds + 60, check=False)
    if ended.returncode or not file.exists():
        raise BenchError(f"perf may not look here (root, or kernel.perf_event_paranoid): {ended.stderr.strip()[-200:]}")
    script = [*here, perf, "script", "-i", str(file), "-F", "ip,sym,dso"]
    printed = subprocess.run(script, capture_output=True, text=True, errors="replace", timeout=120, check=False)
    stacks = list(read_stacks(printed.stdout.splitlines()))
    if not stacks:
        raise BenchError(f"perf saw nothing: {printed.stderr.strip()[-200:]}")
    return stacks


def _tables(stacks: Sequence[Stack], cpu: float) -> str:
    places = Counter(map(place, stacks))
    leaves = Counter((stack[0].symbol, place(stack)) for stack in stacks)
    per_sample = cpu / len(stacks)
    large = [(where, count) for where, count in places.most_common() if count >= _SMALL * len(stacks)]
    large.append(("what is less than that", len(stacks) - sum(count for _, count in large)))
    by_place = [(where, f"{count * per_sample:.2f}", f"{count / len(stacks):.1%}") for where, count in large]
    by_symbol = [
        (symbol, where, f"{count * per_sample:.2f}") for (symbol, where), count in leaves.most_common(_SYMBOLS)
    ]
    return (
        f"{len(stacks):,} samples, {cpu:.1f} µs of CPU a request.\n\n"
        f"{markdown(('where', 'µs', 'share'), by_place)}\n\n{markdown(('function', 'where', 'µs'), by_symbol)}"
    )
