"""Child processes of the benchmark: pinned to a core, in their own process group, and always ended."""

import os
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.errors import BenchError

STOP_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Cores:
    """Where the load (wrk and the upstreams) runs, and where the proxy: as many as it has workers, the best first.
    The load's own core is the last of them, for there may be no other."""

    load: int
    proxy: tuple[int, ...]


def pick_cores() -> Cores:
    """The cores of this machine. Where possible the load's and the first of the proxy are no two threads of one."""
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) < 2:
        raise BenchError("the load and the proxy need a core each, and this machine has one")
    load = usable[0]
    siblings = Path(f"/sys/devices/system/cpu/cpu{load}/topology/thread_siblings_list")
    twins = _parse_cpu_list(siblings.read_text()) if siblings.exists() else set()
    return Cores(load, (*sorted(usable[1:], key=lambda core: core in twins), load))


def _parse_cpu_list(text: str) -> set[int]:
    """The cores of a list such as `0,4-6`."""
    cores: set[int] = set()
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        cores.update(range(int(first), int(last or first) + 1))
    return cores


def free_ports(count: int) -> list[int]:
    """Different ports that nobody listened on a moment ago."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [sock.getsockname()[1] for sock in sockets]
    finally:
        for sock in sockets:
            sock.close()


def on_cores(*cores: int) -> list[str]:
    """What stands before a command to pin it to `cores`, and to have it ended should the benchmark be killed."""
    return ["setpriv", "--pdeathsig", "TERM", "taskset", "--cpu-list", ",".join(map(str, cores))]


class Child:
    """A server started by the benchmark; `log` holds what it wrote."""

    def __init__(self, argv: Sequence[str], cores: Sequence[int], log: Path) -> None:
        self.name = Path(argv[0]).name
        self.log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [*on_cores(*cores), *argv],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches only the benchmark, which then ends the children in order
            )
        self.pid = self._process.pid

    def wait_until_answering(self, port: int, tls: ssl.SSLContext | None = None, seconds: float = 20.0) -> None:
        """Until `port` answers a request with 200; BenchError with the log's end when it ends or takes too long."""
        deadline = time.monotonic() + seconds
        while not _answers(port, tls):
            if self._ended_within(0.02):
                raise BenchError(f"{self.name} ended with code {self._process.returncode}: {self.last_words()}")
            if time.monotonic() > deadline:
                raise BenchError(f"{self.name} does not answer after {seconds:g} s: {self.last_words()}")

    def last_words(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return " | ".join(lines[-3:])[-300:] or "it said nothing"

    def stop(self) -> None:
        """Ask its main process to end, then end whatever is left of its group."""
        try:
            if self._process.poll() is None:
                self._process.terminate()
            self._ended_within(STOP_SECONDS)
        finally:  # also when Ctrl-C comes while it waits
            with suppress(ProcessLookupError):  # an empty group: all of it ended as asked
                os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()

    def _ended_within(self, seconds: float) -> bool:
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True


def _answers(port: int, tls: ssl.SSLContext | None) -> bool:
    try:
        with ExitStack() as stack:
            client = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=1))
            if tls is not None:
                client = stack.enter_context(tls.wrap_socket(client, server_hostname="localhost"))
            client.sendall(b"GET /plain/ready HTTP/1.1\r\nhost: bench.test\r\n\r\n")
            return client.recv(4096).startswith(b"HTTP/1.1 200")
    except OSError:
        return False  # not listening yet


@contextmanager
def running(
    argv: Sequence[str], cores: Sequence[int], log: Path, port: int, tls: ssl.SSLContext | None = None
) -> Iterator[Child]:
    """A child that answers on `port`, ended on leaving."""
    child = Child(argv, cores, log)
    try:
        child.wait_until_answering(port, tls)
        yield child
    finally:
        child.stop()
