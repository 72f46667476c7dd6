"""One run's figures: wrk's counts and latencies, the proxy's CPU time and memory, how much the agent got."""

import json
import signal
import socket
import subprocess
import threading
from contextlib import ExitStack
from dataclasses import dataclass

from benchmarks.load.cases import Case
from benchmarks.load.children import BenchError, Cores, on_core
from benchmarks.load.peers import Started
from benchmarks.load.procfs import cpu_seconds, peak_memory
from benchmarks.load.upstreams import CONFIGS, Upstream, find

CONNECTIONS = 64
BODY = 1024
WARM_UP = 0.3
SETTLE_LIMIT = 10.0


@dataclass(frozen=True, slots=True)
class Load:
    """What wrk counted. Latencies in milliseconds; `errors` are answers over 399, timeouts and broken connections."""

    requests: int
    per_second: float
    p50: float
    p99: float
    errors: int


@dataclass(frozen=True, slots=True)
class Run:
    """One measured run. `cpu` is µs per completed request and `memory` the peak in bytes, both by role of process.

    `agent_share` is requests that reached the agent over completed ones, None where nobody counts; `recorded_share` is
    recorded pairs over completed requests. An idle run has no load.
    """

    memory: dict[str, int]
    cpu: dict[str, float]
    load: Load | None = None
    agent_share: float | None = None
    recorded_share: float = 0.0

    def __str__(self) -> str:
        if self.load is None:
            return f"{self.memory['worker'] / (1 << 20):.1f} MiB"
        return (
            f"{self.cpu['worker']:.1f} µs a request, {self.load.per_second:,.0f} requests/s, p50 {self.load.p50:.2f} ms"
        )


def run_wrk(core: int, port: int, path: str, method: str, seconds: float) -> Load:
    """Load 127.0.0.1 for `seconds` from one thread with kept-alive connections, each sending when it got its answer."""
    argv = [*on_core(core), find("wrk") or "wrk", "-t1", f"-c{CONNECTIONS}", "-d60s"]
    body = str(BODY if method == "POST" else 0)
    argv += ["-s", str(CONFIGS / "wrk.lua"), f"http://127.0.0.1:{port}{path}", "--", method, body]
    with subprocess.Popen(
        argv,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # Ctrl-C reaches only the benchmark
    ) as wrk:
        try:
            wrk.wait(seconds)
        except subprocess.TimeoutExpired:
            wrk.send_signal(signal.SIGINT)  # it then stops and reports; its own -d knows whole seconds only
            output, _ = wrk.communicate(timeout=30)
        else:
            raise BenchError(f"wrk failed: {wrk.communicate()[0].strip()}")
        finally:
            wrk.kill()
    return parse_wrk(output)


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


def measure_load(proxy: Started, case: Case, agent: Upstream, cores: Cores, seconds: float) -> Run:
    """A short warm-up, then a load of `seconds`; the CPU time includes what the load still caused after its end."""
    run_wrk(cores.load, proxy.port, case.path, case.method, WARM_UP)
    settle(proxy)
    reached = agent.requests() if agent.counted else 0
    recorded = proxy.peer.recorded(proxy.admin)
    before = cpu_by_role(proxy)
    load = run_wrk(cores.load, proxy.port, case.path, case.method, seconds)
    settle(proxy)
    spent = {role: used - before[role] for role, used in cpu_by_role(proxy).items()}
    if load.requests == 0:
        raise BenchError(f"not one request was completed; {proxy.child.last_words()}")
    return Run(
        memory=memory_by_role(proxy),
        cpu={role: used / load.requests * 1e6 for role, used in spent.items()},
        load=load,
        agent_share=(agent.requests() - 1 - reached) / load.requests if agent.counted else None,
        recorded_share=(proxy.peer.recorded(proxy.admin) - recorded) / load.requests,
    )


def measure_idle(proxy: Started, case: Case) -> Run:
    """Memory with `case.idle` connections that sent one request each, got their answer and stay open."""
    head = f"{case.method} {case.path} HTTP/1.1\r\nhost: bench.test\r\nx-user-id: user-%05d\r\n\r\n"
    with ExitStack() as stack:
        for user in range(case.idle):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", proxy.port), timeout=10))
            client.sendall((head % user).encode())
            if not client.recv(4096).startswith(b"HTTP/1.1 200"):
                raise BenchError(f"connection {user + 1} of {case.idle} was not answered with 200")
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


def cpu_by_role(proxy: Started) -> dict[str, float]:
    try:
        return {role: cpu_seconds(pids) for role, pids in proxy.roles.items()}
    except FileNotFoundError as error:
        raise BenchError(f"a process of {proxy.peer.name} ended under load: {proxy.child.last_words()}") from error


def memory_by_role(proxy: Started) -> dict[str, int]:
    return {role: peak_memory(pids) for role, pids in proxy.roles.items()}
