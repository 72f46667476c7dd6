"""Real Valkeys for tests: one as `store: embedded` runs it, a Sentinel's group, a Cluster. Each server can be stopped,
killed, frozen and started again; it keeps its data and its address.

A port is reserved for as long as its server may come back: a bound socket that does not listen keeps everyone away from
it but the server (both set SO_REUSEADDR, with which Linux lets them share it as long as only one listens).
"""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, Final, Self

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from proxy.storage import embedded
from tests.e2e.processes import die_with_us

PATIENCE: Final = 15.0
"""Seconds in which what is started here must be ready."""
SERVICE: Final = "crossfade"
"""The name by which the sentinels know their master."""
SLOTS: Final = 16_384
SHARE: Final = -(-SLOTS // 3)
"""Of them, one master's of a Cluster."""

_DURABLE: Final = ("--save", "", "--appendonly", "yes", "--appendfsync", "always")
"""A killed server loses nothing: what it answered is in the kernel's hands."""
_PROMPT: Final = ("--repl-diskless-sync-delay", "0")
"""A replica is served at once, without a wait for others that may want the same."""
_FOUND_OUT: Final = 1_000
"""Milliseconds after which a silent peer counts as gone. Enough for a machine that is busy with other tests."""


class Server:
    """One process with a directory of its own. `url` stays the same over restarts."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.url = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None, "the server does not run"
        return self._process.pid

    def start(self) -> None:
        """It answers when this returns. (It blocks: nobody else's loop may hang on it.)"""
        raise NotImplementedError

    def stop(self) -> None:
        """End it cleanly."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a crash would."""
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """It keeps its connections and answers nothing."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def say(self, *words: str | int) -> Any:
        """One command over a connection of its own, and the answer. Raises RedisError."""
        never_again = Retry(NoBackoff(), 0)
        with Redis.from_url(
            self.url, protocol=2, decode_responses=True, socket_timeout=1.0, retry=never_again
        ) as client:
            return client.execute_command(*words)

    def answers(self) -> bool:
        try:
            return bool(self.say("PING"))
        except (RedisError, OSError):
            return False

    def _run(self, argv: list[str], *inherited: int) -> None:
        self._log = (self.directory / "valkey.log").open("ab")
        self._process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            pass_fds=inherited,
            preexec_fn=die_with_us,  # noqa: PLW1509  # it is one system call
        )

    def _await_ready(self) -> None:
        _wait(lambda: self._has_ended() or self.answers(), f"{self.directory} answers")
        if self._has_ended():
            raise RuntimeError((self.directory / "valkey.log").read_text())

    def _has_ended(self) -> bool:
        return self._process is not None and self._process.poll() is not None

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(number)
        self._process.send_signal(signal.SIGCONT)
        self._process.wait(10)
        self._process = None
        if self._log is not None:
            self._log.close()


class Valkey(Server):
    """Exactly as `store: embedded` runs it, on a unix socket."""

    def __init__(self, data_dir: Path) -> None:
        super().__init__(data_dir)
        self.data_dir = data_dir

    def start(self) -> None:
        prepared = embedded.command(self.data_dir)
        self.url = prepared.url
        self._run(prepared.argv, prepared.lock)
        os.close(prepared.lock)
        self._await_ready()


class Node(Server):
    """One of several, on a port of this machine; `options` make it what it is among them. What it must remember itself
    begins with `settings`."""

    def __init__(self, directory: Path, port: int, *options: str, settings: str = "") -> None:
        super().__init__(directory)
        self.port, self.url = port, f"redis://127.0.0.1:{port}/0"
        self.file = directory / "valkey.conf"
        self._options = options
        directory.mkdir(parents=True)
        self.file.write_text(settings)

    def start(self) -> None:
        where = ("--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.directory))
        self._run([embedded.find_binary(), str(self.file), *where, *self._options])
        self._await_ready()

    @property
    def role(self) -> str:
        """`master`, `slave`, `sentinel`; empty where it does not answer."""
        try:
            return str(self.say("ROLE")[0])
        except (RedisError, OSError):
            return ""

    @property
    def replicas(self) -> int:
        """How many follow it and have all that it has."""
        known = self.say("INFO", "replication")
        return sum(known[f"slave{number}"]["state"] == "online" for number in range(known["connected_slaves"]))


class Group:
    """Several servers that belong together. `url` is what Crossfade's `store` says of them."""

    def __init__(self) -> None:
        self.url = ""
        self.members: list[Node] = []
        self._ports = ExitStack()

    def start(self) -> None:
        for member in self.members:
            member.start()

    def kill(self) -> None:
        for member in self.members:
            member.kill()
        self._ports.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def _port(self) -> int:
        reserved = self._ports.enter_context(socket.socket())
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind(("127.0.0.1", 0))
        port: int = reserved.getsockname()[1]
        return port


class Sentinel(Group):
    """A master, its replica, and three sentinels, two of which must agree that the master is gone."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        first, second = self._port(), self._port()
        follows = ("--replicaof", f"127.0.0.1 {first}")
        self.data = (
            Node(folder / "first", first, *_DURABLE, *_PROMPT),
            Node(folder / "second", second, *_DURABLE, *_PROMPT, *follows),
        )
        settings = f"""
            sentinel monitor {SERVICE} 127.0.0.1 {first} 2
            sentinel down-after-milliseconds {SERVICE} {_FOUND_OUT}
            sentinel failover-timeout {SERVICE} 3000
        """
        self.sentinels = tuple(
            Node(folder / f"sentinel-{number}", self._port(), "--sentinel", settings=settings) for number in (1, 2, 3)
        )
        self.members = [*self.data, *self.sentinels]
        hosts = ",".join(f"127.0.0.1:{each.port}" for each in self.sentinels)
        self.url = f"redis+sentinel://{hosts}/{SERVICE}"

    def start(self) -> None:
        super().start()
        for each in self.sentinels:
            # They are made for many machines, and find each other and the replica in tens of seconds.
            each.say("SENTINEL", "DEBUG", "info-period", 200, "publish-period", 200, "ping-period", 200)
        _wait(self.is_whole, "the sentinels know each other and the replica")

    @property
    def master(self) -> Node:
        """Who is it by the first sentinel's word."""
        _, port = self.sentinels[0].say("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)
        return next(each for each in self.data if each.port == int(port))

    def is_whole(self) -> bool:
        """A failover would succeed now, and lose nothing that was written before."""
        known = [each.say("SENTINEL MASTER", SERVICE) for each in self.sentinels]
        agree = all(int(each["num-other-sentinels"]) == 2 and int(each["num-slaves"]) == 1 for each in known)
        return agree and self.master.role == "master" and self.master.replicas == 1


class Cluster(Group):
    """Three masters; with `replica` also a server that follows the first and takes its place."""

    def __init__(self, folder: Path, *, replica: bool = False) -> None:
        super().__init__()
        self._buses: dict[int, int] = {}
        self.masters = tuple(self._node(folder / f"master-{number}") for number in (1, 2, 3))
        self.replica = self._node(folder / "replica") if replica else None
        self.members = [*self.masters, *([self.replica] if self.replica else [])]
        hosts = ",".join(f"127.0.0.1:{each.port}" for each in self.masters)
        self.url = f"redis+cluster://{hosts}"

    def start(self) -> None:
        super().start()
        for number, each in enumerate(self.masters):
            each.say("CLUSTER", "ADDSLOTSRANGE", number * SHARE, min((number + 1) * SHARE, SLOTS) - 1)
            each.say("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        first, *others = self.members
        for each in others:
            first.say("CLUSTER", "MEET", "127.0.0.1", each.port, self._buses[each.port])
        _wait(self.is_whole, "the masters know each other")
        if self.replica is not None:
            self.replica.say("CLUSTER", "REPLICATE", first.say("CLUSTER", "MYID"))
            _wait(lambda: first.replicas == 1, "the replica has all that its master has")

    def is_whole(self) -> bool:
        """By each member's word, there are all of them, and they serve."""
        return all(self._sees_all(each) for each in self.members)

    def owner(self, key: str) -> Node:
        """The master that was given this key at the start."""
        slot = int(self.masters[0].say("CLUSTER", "KEYSLOT", key))
        return self.masters[slot // SHARE]

    def _sees_all(self, member: Node) -> bool:
        said = str(member.say("CLUSTER", "INFO")).split()
        return {"cluster_state:ok", f"cluster_known_nodes:{len(self.members)}"} <= set(said)

    def _node(self, directory: Path) -> Node:
        port, bus = self._port(), self._port()
        self._buses[port] = bus
        its_own = ("--cluster-enabled", "yes", "--cluster-port", str(bus), "--cluster-node-timeout", str(_FOUND_OUT))
        return Node(directory, port, *_DURABLE, *_PROMPT, *its_own)


def _wait(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {PATIENCE:g} s: {what}")
        time.sleep(0.005)  # noqa: TID251  # nothing tells when a fresh server is ready
