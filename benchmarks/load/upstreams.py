"""Who answers: one nginx for each arm with a fixed answer, or an agent that answers late, or nobody."""

import os
import pwd
import re
import shutil
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.errors import BenchError
from benchmarks.load.cases import CASES, Agent
from benchmarks.load.certificates import Certificates
from benchmarks.load.children import Cores, free_ports, running

PORTS = 16
BODIES = tuple(sorted({case.answer for case in CASES} - {0}))
CONNECTIONS = 65_536
"""More than any proxy opens at once."""
CONFIGS = Path(__file__).parent / "configs"
_SBIN = ":/usr/local/sbin:/usr/sbin:/sbin"  # Debian keeps servers there, outside of a user's PATH


@dataclass(frozen=True, slots=True)
class Upstream:
    """An arm's server: its port, and all the ports on which it answers the same, for a proxy that opens a connection
    for each request and would run out of local ports to one of them. `tls` is its port for TLS, if it has one.
    `counted` says whether it counts its requests."""

    port: int
    ports: tuple[int, ...]
    tls: int = 0
    counted: bool = True

    def turned(self, number: int) -> "Upstream":
        """The same with another port first. Closed connections keep local ports busy for a while, but only those to
        the same port."""
        return replace(self, port=self.ports[number % len(self.ports)])

    def requests(self) -> int:
        """Requests so far, without this one. The answer of stub_status, and of the slow agent, ends like this:
        `server accepts handled requests` and below it three numbers."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/status", timeout=5) as answer:
            numbers = re.search(rb"requests\s+\d+ \d+ (\d+)", answer.read())
        if numbers is None:
            raise BenchError(f"the upstream on port {self.port} does not say its count")
        return int(numbers[1])


def find(program: str) -> str | None:
    """The path of a program, also where only root's PATH leads."""
    return shutil.which(program, path=os.environ.get("PATH", "") + _SBIN)


def render(template: str, target: Path, **values: object) -> Path:
    """Write `configs/template` to `target` with each `@NAME@` replaced; KeyError for a name without a value."""
    text = (CONFIGS / template).read_text()
    target.write_text(re.sub(r"@([A-Z]+)@", lambda match: str(values[match[1]]), text))
    return target


def user() -> str:
    """Who runs this: nginx's workers stay this user, so that they can write to its temporary directory."""
    return pwd.getpwuid(os.geteuid()).pw_name


@contextmanager
def nginx_upstream(folder: Path, cores: Cores, certificates: Certificates) -> Iterator[Upstream]:
    """A fixed nginx upstream on the load's core."""
    nginx = find("nginx")
    if nginx is None:
        raise BenchError("nginx is missing")
    (folder / "bytes").mkdir(parents=True)
    for size in BODIES:
        (folder / "bytes" / str(size)).write_bytes(b"x" * size)
    tls, *ports = free_ports(1 + PORTS)
    listen = [f"listen 127.0.0.1:{port} backlog=4096;" for port in ports] + [f"listen 127.0.0.1:{tls} ssl;"]
    config = render(
        "upstream.conf", folder / "nginx.conf", LISTEN=" ".join(listen), DIR=folder, USER=user(),
        CONNECTIONS=CONNECTIONS, CERT=certificates.cert, KEY=certificates.key,
    )  # fmt: skip
    argv = [nginx, "-e", "stderr", "-p", str(folder), "-c", str(config)]
    with running(argv, (cores.load,), folder / "log", ports[0]):
        yield Upstream(ports[0], tuple(ports), tls)


@contextmanager
def slow_agent(folder: Path, cores: Cores) -> Iterator[Upstream]:
    """An agent that answers after 200 ms, on the load's core."""
    folder.mkdir()
    (port,) = free_ports(1)
    argv = [sys.executable, "-m", "benchmarks.load.slow_agent", str(port)]
    with running(argv, (cores.load,), folder / "log", port):
        yield Upstream(port, (port,))


@dataclass(frozen=True, slots=True)
class Upstreams:
    legacy: Upstream
    healthy: Upstream
    slow: Upstream
    dead: Upstream

    def agent(self, kind: Agent) -> Upstream:
        return {Agent.HEALTHY: self.healthy, Agent.SLOW: self.slow, Agent.DEAD: self.dead}[kind]


@contextmanager
def all_upstreams(folder: Path, cores: Cores, certificates: Certificates) -> Iterator[Upstreams]:
    """Both arms and the failing agents; they run during the whole session and cost nothing while idle."""
    (nobody,) = free_ports(1)
    dead = Upstream(nobody, (nobody,), counted=False)
    with (
        nginx_upstream(folder / "legacy", cores, certificates) as legacy,
        nginx_upstream(folder / "agent", cores, certificates) as healthy,
        slow_agent(folder / "slow", cores) as slow,
    ):
        yield Upstreams(legacy, healthy, slow, dead)
