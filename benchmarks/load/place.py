"""Where one started proxy lives and what it has to bear: all that its configuration is written from."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.load.cases import Case, Kind, Tls
from benchmarks.load.certificates import Certificates, make_certificates
from benchmarks.load.children import Cores, free_ports, pick_cores
from benchmarks.load.upstreams import Upstream, Upstreams, all_upstreams, render, user

POOL = 256
"""Connections to an arm that may rest, where there are few clients."""
ARM = 1024
"""Connections to an arm that a proxy may have where there are very many clients; the other requests wait for their
turn, except in nginx, which cannot let them wait. It is Crossfade's and Envoy's default."""


@dataclass(frozen=True, slots=True)
class Place:
    """A proxy's directory, its ports, its upstreams, its certificates and the case that it is started for."""

    folder: Path
    port: int
    admin: int
    legacy: Upstream
    agent: Upstream
    case: Case
    certificates: Certificates

    @property
    def tls_to_clients(self) -> bool:
        return self.case.tls is not Tls.NOWHERE

    @property
    def tls_to_upstreams(self) -> bool:
        return self.case.tls is Tls.BOTH

    @property
    def crowd(self) -> int:
        """Clients that send at once, where they are so many that limits have to be raised for them; else 0."""
        return self.case.connections if self.case.kind is Kind.CROWD else 0

    @property
    def pool(self) -> int:
        """How many connections to an arm may rest: all that there are, so that none is closed for want of room."""
        return ARM if self.crowd else POOL

    def clients(self, usual: int) -> int:
        """How many clients a proxy must hold, some to spare; `usual` suffices where there are few."""
        return max(usual, self.crowd + self.crowd // 4)

    def write(self, template: str, **fragments: object) -> str:
        """Fill in a configuration and give its path. `fragments` are what this proxy alone says in some cases."""
        secure = self.tls_to_upstreams
        agents = (self.agent.tls,) if secure else self.agent.ports
        made = render(
            template, self.folder / template, DIR=self.folder, USER=user(), WORKERS=self.case.workers,
            PORT=self.port, ADMIN=self.admin, POOL=self.pool, SCHEME="https" if secure else "http",
            LEGACY=self.legacy.tls if secure else self.legacy.port, AGENT=agents[0] if secure else self.agent.port,
            AGENTS=" ".join(f"server 127.0.0.1:{port};" for port in agents),
            CA=self.certificates.ca, CERT=self.certificates.cert, KEY=self.certificates.key, **fragments,
        )  # fmt: skip
        return str(made)


@dataclass(frozen=True, slots=True)
class Scene:
    """What all places of a session share: its directory, the cores and the certificates."""

    folder: Path
    cores: Cores
    certificates: Certificates

    @classmethod
    def set(cls, folder: Path) -> "Scene":
        return cls(folder, pick_cores(), make_certificates(folder / "certificates"))

    def upstreams(self) -> AbstractContextManager[Upstreams]:
        return all_upstreams(self.folder, self.cores, self.certificates)

    def place(self, name: str, case: Case, upstreams: Upstreams, turn: int = 0) -> Place:
        """A new folder and free ports; each turn meets the arms at another one of their ports."""
        folder = self.folder / name
        folder.mkdir()
        legacy, agent = upstreams.legacy.turned(turn), upstreams.agent(case.agent).turned(turn)
        port, admin = free_ports(2)
        return Place(folder, port, admin, legacy, agent, case, self.certificates)
