"""Several workers, and what each of them is given: one that dies, too few descriptors, settings that change."""

import asyncio
import errno
import os
import resource
import signal
import ssl
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from proxy.telemetry.tasks import spawn, stop
from tests.certificates import NAME, Authority
from tests.integration.control_world import PATIENCE, Crossfade, Stage
from tests.integration.gateway.conftest import until
from tests.integration.gateway.peers import connect, read_message, request

ASK = request("POST", "/refunds/1", x_user="u")
TICK = 0.2
"""Seconds between two reports of a worker."""


# A crash


@dataclass(slots=True)
class Answer:
    port: int
    at: float


class Crowd:
    """Clients, each on a connection of its own, asking all the time; who loses it connects again. Ports are theirs."""

    def __init__(self, crossfade: Crossfade, size: int) -> None:
        self.answers: list[Answer] = []
        self.lost: list[int] = []
        self._crossfade = crossfade
        self._members = [spawn(self._ask(), f"client {number}") for number in range(size)]

    async def _ask(self) -> None:
        while True:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._crossfade.port)
            port = writer.get_extra_info("sockname")[1]
            try:
                while True:
                    writer.write(ASK)
                    said = await read_message(reader)
                    if said is None:
                        raise ConnectionError
                    assert said.status == 200
                    self.answers.append(Answer(port, now()))
                    await asyncio.sleep(0.01)
            except (OSError, AssertionError):  # half an answer too
                self.lost.append(port)
            finally:
                writer.close()

    async def more(self, count: int) -> None:
        enough = len(self.answers) + count
        async with asyncio.timeout(PATIENCE):
            while len(self.answers) < enough:
                await asyncio.sleep(0.005)

    async def stop(self) -> None:
        await stop(*self._members)


def now() -> float:
    return asyncio.get_running_loop().time()


def client_ports(pid: int, listening: int) -> set[int]:
    """The other ends of a process's connections on the port that it listens on (proc_net_tcp(5))."""
    mine: set[str] = set()
    for file in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            mine.add(str(file.readlink()).removeprefix("socket:[").removesuffix("]"))
    rows = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    ends = {int(row[2][9:], 16) for row in rows if row[9] in mine and int(row[1][9:], 16) == listening}
    return ends - {0}  # the listening socket's own


async def test_a_killed_worker_costs_its_own_connections_and_no_more_than_a_tick_of_counts(
    scene: Stage, crossfade: Crossfade
) -> None:
    scene.write(("listen:", "workers: 2\nlisten:"))
    await crossfade.start()
    crowd = Crowd(crossfade, 40)
    await crowd.more(400)
    victim = crossfade.child("worker 1")
    os.kill(victim, signal.SIGSTOP)  # so that its connections are those that it dies with
    its_own = client_ports(victim, crossfade.port)
    assert 0 < len(its_own) < 40
    await crowd.more(100)  # those of the other one do not notice
    killed = now()
    os.kill(victim, signal.SIGKILL)
    await crossfade.line("child_started", child="worker 1")
    after = len(crowd.answers)
    await crowd.more(800)
    await crowd.stop()

    assert set(crowd.lost) <= its_own
    assert len(crowd.lost) == len(set(crowd.lost))
    assert {each.port for each in crowd.answers[after:]}.isdisjoint(its_own)
    await until(lambda: not client_ports(crossfade.child("worker 1"), crossfade.port))  # all have left

    last = max(each.at for each in crowd.answers if each.port in its_own)
    assert last < killed
    at_risk = sum(each.port in its_own and each.at > last - 2 * TICK for each in crowd.answers)
    assert await crossfade.stop() == 0
    await crossfade.start()
    answered = len(crowd.answers)
    route = await crossfade.until(lambda route: route["totals"]["legacy"]["requests"] >= answered - at_risk)
    assert route["totals"]["legacy"]["requests"] <= answered + len(crowd.lost) + 40  # the members that were stopped


async def test_who_connects_while_a_worker_is_away_waits_for_it(scene: Stage, crossfade: Crossfade) -> None:
    scene.write(("listen:", "workers: 2\nlisten:"))
    await crossfade.start()
    crossfade.kill("worker 1")
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connect(crossfade.port)) for _ in range(30)]
        for client in clients:
            client.send(ASK)
        assert [(await client.read()).status for client in clients] == [200] * 30


# Descriptors


def open_files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def test_a_worker_takes_all_descriptors_it_may_and_says_where_they_are_too_few(crossfade: Crossfade) -> None:
    crossfade.descriptors = 192
    await crossfade.start()
    worker = crossfade.child("worker 1")
    assert resource.prlimit(worker, resource.RLIMIT_NOFILE) == (192, 192)
    line = await crossfade.line("descriptors_too_few")
    assert (line["limit"], line["fit"], line["max_connections"]) == (192, 42, 10_000)
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connect(crossfade.port)) for _ in range(50)]
        for client in clients:
            client.send(ASK)
        statuses = [(await client.read()).status for client in clients]
        assert sorted(statuses) == [200] * 42 + [503] * 8
    await until(lambda: open_files(worker) < 100)
    async with connect(crossfade.port) as client:
        assert (await client.ask("POST", "/refunds/1", x_user="u")).status == 200
    assert "cannot_accept" not in [line["event"] for line in crossfade.log]


async def test_a_worker_without_descriptors_rests_lives_and_serves_who_waited(crossfade: Crossfade) -> None:
    await crossfade.start()
    assert await crossfade.ask() == (200, "legacy")
    worker = crossfade.child("worker 1")
    resource.prlimit(worker, resource.RLIMIT_NOFILE, (60, 60))  # behind its back: it believes that it has more
    async with AsyncExitStack() as stack:
        async with AsyncExitStack() as crowd:
            for _ in range(80):
                await crowd.enter_async_context(connect(crossfade.port))
            line = await crossfade.line("cannot_accept")
            assert line["problem"] == os.strerror(errno.EMFILE)
            waits = await stack.enter_async_context(connect(crossfade.port))
            waits.send(ASK)
            before, begun = cpu_seconds(worker), now()
            await asyncio.sleep(1.0)  # a time that is measured, not a condition
            assert (cpu_seconds(worker) - before) / (now() - begun) < 0.5
            assert len([each for each in crossfade.log if each["event"] == "cannot_accept"]) == 1
        assert (await waits.read()).status == 200
    assert crossfade.child("worker 1") == worker


# Reload


async def test_another_address_needs_a_restart_and_the_old_one_serves_on(scene: Stage, crossfade: Crossfade) -> None:
    await crossfade.start()
    scene.write(('listen: {address: "127.0.0.1:0"}', 'workers: 2\nlisten: {address: "127.0.0.1:1"}'))
    crossfade.tell(signal.SIGHUP)
    await crossfade.line("restart_needed", setting="listen.address")
    await crossfade.line("restart_needed", setting="workers")
    await crossfade.forget_connections()
    assert await crossfade.ask() == (200, "legacy")
    with pytest.raises(ValueError, match="not enough values"):
        crossfade.child("worker 2")


async def asked_by_tls(crossfade: Crossfade, trust: ssl.SSLContext) -> bool:
    """Whether TLS is on. Somebody listens either way; one who does not know TLS answers in plain HTTP."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", crossfade.port, ssl=trust, server_hostname=NAME)
    except ssl.SSLError as error:
        assert error.reason == "WRONG_VERSION_NUMBER"
        return False
    writer.write(ASK)
    said = await read_message(reader)
    writer.close()
    return said is not None and said.status == 200


async def test_tls_is_switched_on_by_a_reload_and_nobody_is_refused(scene: Stage, crossfade: Crossfade) -> None:
    authority = Authority(scene.folder)
    cert_file, key_file = authority.files(NAME)
    tls = f"tls: {{cert_file: {cert_file}, key_file: {key_file}}}"
    scene.write(("listen:", "workers: 2\nlisten:"))
    await crossfade.start()
    async with connect(crossfade.port) as before:
        assert (await before.ask("POST", "/refunds/1", x_user="u")).status == 200
        scene.write(("listen: {", f"workers: 2\nlisten: {{{tls}, "))
        crossfade.tell(signal.SIGHUP)
        asked: list[bool] = []
        async with asyncio.timeout(PATIENCE):
            while not all(asked[-20:]) or len(asked) < 20:
                asked.append(await asked_by_tls(crossfade, authority.client()))
        assert (await before.ask("POST", "/refunds/1", x_user="u")).status == 200  # what is open stays as it is
    assert "restart_needed" not in [line["event"] for line in crossfade.log]
    assert await crossfade.stop() == 0
