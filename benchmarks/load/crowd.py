"""CPU time per request with very many connections: a window within a load, since opening them must not be counted."""

import resource
import time
from dataclasses import dataclass

from benchmarks.errors import BenchError
from benchmarks.load.cases import Case
from benchmarks.load.children import Cores
from benchmarks.load.measure import Run, cpu_by_role, memory_by_role, per_request
from benchmarks.load.peers import Started
from benchmarks.load.procfs import established
from benchmarks.load.upstreams import Upstreams
from benchmarks.load.wrk import Load, Wrk, wrk_running

OPENING_LIMIT = 30.0
"""How long it may take until all connections are open and were served."""
_LOOK = 0.25


@dataclass(frozen=True, slots=True)
class _Moment:
    """What had been done at a moment: `at` in seconds, CPU seconds by role, requests that reached each arm."""

    at: float
    cpu: dict[str, float]
    legacy: int
    agent: int


def measure_crowd(proxy: Started, case: Case, upstreams: Upstreams, cores: Cores, seconds: float) -> Run:
    """The window begins when all connections are open and were served.

    wrk counts from its start. So the requests of the window are counted by the upstreams: each reaches one of them.
    p50, p99 and errors are of the whole load.
    """
    _check_descriptors(case.connections + case.connections // 4)
    with wrk_running(cores.load, proxy.port, case) as wrk:
        _wait_until_open(wrk, proxy, case.connections)
        _wait_until_served(wrk, upstreams, case.connections)
        first = _look(proxy, upstreams)
        wrk.wait(seconds)
        last = _look(proxy, upstreams)
        load = wrk.stop()
    agent = last.agent - first.agent - 1  # the first look's own
    requests = last.legacy - first.legacy - 1 + agent
    return Run(
        memory=memory_by_role(proxy),
        cpu=per_request(first.cpu, last.cpu, requests),
        load=Load(requests, requests / (last.at - first.at), load.p50, load.p99, load.errors),
        agent_share=agent / requests,
    )


def _check_descriptors(needed: int) -> None:
    """wrk and the proxies inherit this limit."""
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed < needed:
        raise BenchError(f"{allowed} open files are allowed and {needed} are needed: raise ulimit -Hn")


def _wait_until_open(wrk: Wrk, proxy: Started, connections: int) -> None:
    deadline = time.monotonic() + OPENING_LIMIT
    while (opened := established(proxy.port)) < connections:
        if time.monotonic() > deadline:
            raise BenchError(f"only {opened} of {connections} connections were open after {OPENING_LIMIT:g} s")
        wrk.wait(_LOOK)


def _wait_until_served(wrk: Wrk, upstreams: Upstreams, requests: int) -> None:
    wanted = _reached(upstreams) + requests
    deadline = time.monotonic() + OPENING_LIMIT
    while _reached(upstreams) < wanted:
        if time.monotonic() > deadline:
            raise BenchError(f"less than {requests} requests were answered in {OPENING_LIMIT:g} s")
        wrk.wait(_LOOK)


def _reached(upstreams: Upstreams) -> int:
    return upstreams.legacy.requests() + upstreams.healthy.requests()


def _look(proxy: Started, upstreams: Upstreams) -> _Moment:
    """The upstreams are busy and take their time to tell; so the rest is the middle between before and after that."""
    began, before = time.monotonic(), cpu_by_role(proxy)
    legacy, agent = upstreams.legacy.requests(), upstreams.healthy.requests()
    after, ended = cpu_by_role(proxy), time.monotonic()
    cpu = {role: (used + before[role]) / 2 for role, used in after.items()}
    return _Moment((began + ended) / 2, cpu, legacy, agent)
