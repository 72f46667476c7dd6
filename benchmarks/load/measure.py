"""One run's figures: the client's counts and latencies, the proxy's CPU time and memory, how much the agent got."""

import socket
import threading
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass

from benchmarks.errors import BenchError
from benchmarks.load.cases import Case
from benchmarks.load.children import Cores
from benchmarks.load.peers import Started
from benchmarks.load.procfs import cpu_seconds, peak_memory
from benchmarks.load.upstreams import Upstreams
from benchmarks.load.wrk import Load, run_wrk

WARM_UP = 0.3
SETTLE_LIMIT = 10.0


@dataclass(frozen=True, slots=True)
class Run:
    """One measured run. `cpu` is µs per completed request and `memory` the peak in bytes, both by role of process.

    `agent_share` is requests that reached the agent over completed ones, None where nobody counts; `recorded_share` is
    recorded pairs over completed requests. An idle run has no load. `direct` is the same load on the upstream, without
    the proxy, just before and after; only a run at a fixed rate has it.
    """

    memory: dict[str, int]
    cpu: dict[str, float]
    load: Load | None = None
    agent_share: float | None = None
    recorded_share: float = 0.0
    direct: Load | None = None

    def __str__(self) -> str:
        if self.load is None:
            return f"{self.memory['worker'] / (1 << 20):.1f} MiB"
        return (
            f"{self.cpu['worker']:.1f} µs a request, {self.load.per_second:,.0f} requests/s, p50 {self.load.p50:.2f} ms"
        )


def measure_load(proxy: Started, case: Case, upstreams: Upstreams, cores: Cores, seconds: float) -> Run:
    """A short warm-up, then a load of `seconds`; the CPU time includes what the load still caused after its end."""
    agent = upstreams.agent(case.agent)
    run_wrk(cores.load, proxy.port, case, WARM_UP)
    settle(proxy)
    reached = agent.requests() if agent.counted else 0
    recorded = proxy.peer.recorded(proxy.admin)
    before = cpu_by_role(proxy)
    load = run_wrk(cores.load, proxy.port, case, seconds)
    settle(proxy)
    cpu = per_request(before, cpu_by_role(proxy), load.requests)
    return Run(
        memory=memory_by_role(proxy),
        cpu=cpu,
        load=load,
        agent_share=(agent.requests() - 1 - reached) / load.requests if agent.counted else None,
        recorded_share=(proxy.peer.recorded(proxy.admin) - recorded) / load.requests,
    )


def measure_idle(proxy: Started, case: Case, _upstreams: Upstreams, _cores: Cores, _seconds: float) -> Run:
    """Memory with connections that sent one request each, got their answer and stay open."""
    head = f"{case.method} {case.path} HTTP/1.1\r\nhost: bench.test\r\nx-user-id: user-%05d\r\n\r\n"
    with ExitStack() as stack:
        for user in range(case.connections):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", proxy.port), timeout=10))
            client.sendall((head % user).encode())
            if not client.recv(4096).startswith(b"HTTP/1.1 200"):
                raise BenchError(f"connection {user + 1} of {case.connections} was not answered with 200")
        settle(proxy)
        return Run(memory=memory_by_role(proxy), cpu={})


def settle(proxy: Started) -> None:
    """Wait until the proxy uses no more CPU, such as for copies under way; at most SETTLE_LIMIT."""
    pause = threading.Event()
    pids = [pid for role in proxy.roles.values() for pid in role]
    seen = cpu_seconds(pids)
    for _ in range(int(SETTLE_LIMIT / 0.1)):
        pause.wait(0.1)
        now = cpu_seconds(pids)
        if now - seen < 0.02:  # two ticks of the counter: what an idle proxy's timers may take
            return
        seen = now


def per_request(before: Mapping[str, float], after: Mapping[str, float], requests: int) -> dict[str, float]:
    """µs of CPU by role, from two readings in seconds. BenchError where nothing was done."""
    if requests <= 0:
        raise BenchError("not one request was completed")
    return {role: (used - before[role]) / requests * 1e6 for role, used in after.items()}


def cpu_by_role(proxy: Started) -> dict[str, float]:
    try:
        return {role: cpu_seconds(pids) for role, pids in proxy.roles.items()}
    except FileNotFoundError as error:
        raise BenchError(f"a process of {proxy.peer.name} ended under load: {proxy.child.last_words()}") from error


def memory_by_role(proxy: Started) -> dict[str, int]:
    return {role: peak_memory(pids) for role, pids in proxy.roles.items()}
