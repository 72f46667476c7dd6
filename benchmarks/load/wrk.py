"""wrk: a closed loop of kept-alive connections, each sending when it has its answer."""

import json
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks.errors import BenchError
from benchmarks.load.cases import Case, Tls
from benchmarks.load.children import on_cores
from benchmarks.load.upstreams import CONFIGS, find


@dataclass(frozen=True, slots=True)
class Load:
    """What a client counted. Latencies in milliseconds; `errors` are answers over 399, timeouts, broken connections."""

    requests: int
    per_second: float
    p50: float
    p99: float
    errors: int


class Wrk:
    """A running wrk. `stop` ends it and gives its counts."""

    def __init__(self, argv: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            argv,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # Ctrl-C reaches only the benchmark
        )

    def wait(self, seconds: float) -> None:
        """Let it run; BenchError when it ends by itself."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return
        raise BenchError(f"wrk failed: {self._process.communicate()[0].strip()}")

    def stop(self) -> Load:
        self._process.send_signal(signal.SIGINT)  # it then stops and reports; its own -d knows whole seconds only
        output, _ = self._process.communicate(timeout=30)
        return parse_wrk(output)

    def kill(self) -> None:
        with self._process as process:
            process.kill()


@contextmanager
def wrk_running(core: int, port: int, case: Case) -> Iterator[Wrk]:
    """The load of `case` on 127.0.0.1, from one thread."""
    scheme = "http" if case.tls is Tls.NOWHERE else "https"
    argv = [*on_cores(core), find("wrk") or "wrk", "-t1", f"-c{case.connections}", "-d600s", "--timeout", "10s"]
    argv += ["-s", str(CONFIGS / "wrk.lua"), f"{scheme}://127.0.0.1:{port}{case.path}"]
    argv += ["--", case.method, str(case.sent)]
    wrk = Wrk(argv)
    try:
        yield wrk
    finally:
        wrk.kill()


def run_wrk(core: int, port: int, case: Case, seconds: float) -> Load:
    """The load of `case` for `seconds`, the opening of its connections included."""
    with wrk_running(core, port, case) as wrk:
        wrk.wait(seconds)
        return wrk.stop()


def parse_wrk(output: str) -> Load:
    """The line of JSON that `wrk.lua` prints last."""
    told = json.loads(output.strip().rpartition("\n")[2])
    return Load(
        requests=told["requests"],
        per_second=told["requests"] / (told["microseconds"] / 1e6),
        p50=told["p50"] / 1000,
        p99=told["p99"] / 1000,
        errors=sum(told["errors"].values()),
    )
