"""Latency at a fixed rate, and how much of it is the proxy's: the open-loop client with and without the proxy."""

import json
import subprocess
import sys

from benchmarks.errors import BenchError
from benchmarks.load.cases import Case
from benchmarks.load.children import Cores, on_cores
from benchmarks.load.measure import Run, cpu_by_role, memory_by_role, per_request
from benchmarks.load.openloop import percentile
from benchmarks.load.peers import Started
from benchmarks.load.upstreams import Upstreams
from benchmarks.load.wrk import Load

LENGTHS = 2.0
"""How many times longer than a closed loop it runs: a p99 needs some thousands of requests."""


def measure_rate(proxy: Started, case: Case, upstreams: Upstreams, cores: Cores, seconds: float) -> Run:
    """The rate on the proxy, between two halves of the same straight on legacy."""
    seconds *= LENGTHS
    direct = upstreams.legacy.port
    earlier = _client(cores, direct, case, seconds / 2)
    before = cpu_by_role(proxy)
    told = _client(cores, proxy.port, case, seconds)
    cpu = per_request(before, cpu_by_role(proxy), told["requests"][0])
    later = _client(cores, direct, case, seconds / 2)
    both = {name: earlier[name] + later[name] for name in earlier}
    return Run(memory_by_role(proxy), cpu, _load(told, seconds), direct=_load(both, seconds))


def _client(cores: Cores, port: int, case: Case, seconds: float) -> dict[str, list[int]]:
    argv = [*on_cores(cores.load), sys.executable, "-m", "benchmarks.load.openloop", str(port), case.path]
    argv += [str(case.rate), str(seconds)]
    ended = subprocess.run(argv, capture_output=True, text=True, timeout=seconds + 60, check=False)
    if ended.returncode:
        raise BenchError(f"the open-loop client failed: {ended.stderr.strip().rpartition(chr(10))[2]}")
    told: dict[str, list[int]] = json.loads(ended.stdout)
    return told


def _load(told: dict[str, list[int]], seconds: float) -> Load:
    latencies = sorted(told["latencies"])
    if not latencies:
        raise BenchError("not one request was answered")
    p50, p99 = (percentile(latencies, percent) / 1000 for percent in (50, 99))
    return Load(len(latencies), len(latencies) / seconds, p50, p99, sum(told["errors"]))
