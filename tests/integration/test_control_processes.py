"""The processes under the supervisor, real ones: how they start, what happens when one dies, and how they end."""

import asyncio
import os
import signal
import socket
from contextlib import closing

import aiohttp
import pytest

from proxy.storage import keys
from proxy.storage.connection import connect
from proxy.telemetry.tasks import spawn
from tests.e2e.processes import alive_below
from tests.integration.control_world import PATIENCE, Crossfade, Stage, all_seen, slowly
from tests.valkey import Valkey


class Users:
    """Who asks all the time; `answers` are what they got."""

    def __init__(self, crossfade: Crossfade) -> None:
        self.answers: list[tuple[int, str]] = []
        self._crossfade, self._enough = crossfade, False
        self._asking = spawn(self._ask(), "users")

    async def _ask(self) -> None:
        while not self._enough:
            self.answers.append(await self._crossfade.ask(f"u{len(self.answers)}"))
            await asyncio.sleep(0.002)

    async def more(self, count: int = 50) -> None:
        enough = len(self.answers) + count
        async with asyncio.timeout(PATIENCE):
            while len(self.answers) < enough:
                if self._asking.done():
                    await self._asking
                await asyncio.sleep(0.01)

    async def stop(self) -> None:
        self._enough = True
        await self._asking

    @property
    def failed(self) -> list[tuple[int, str]]:
        return [each for each in self.answers if each[0] != 200]


# Start and end


async def test_it_serves_names_its_processes_and_ends_cleanly(scene: Stage, crossfade: Crossfade) -> None:
    scene.write(("listen:", "workers: 2\nlisten:"))
    await crossfade.start()
    assert await crossfade.ask() == (200, "legacy")
    titles = sorted(command for command in alive_below(crossfade.pid).values())
    assert [title.split(".")[0].strip() for title in titles] == [
        "crossfade: control",
        "crossfade: valkey",
        "crossfade: worker 1",
        "crossfade: worker 2",
    ]
    assert await crossfade.stop() == 0
    assert crossfade.noise == []
    assert alive_below() == {}
    assert crossfade.log[-1]["event"] == "stopped"


async def test_it_starts_again_where_it_was(crossfade: Crossfade) -> None:
    await crossfade.start()
    before = await crossfade.verb("promote")
    assert (before["stage"], before["weight"]) == ("canary", 50.0)
    await crossfade.restart()
    after = await crossfade.route()
    assert {name: after[name] for name in ("stage", "weight", "phase", "since", "reason")} == {
        name: before[name] for name in ("stage", "weight", "phase", "since", "reason")
    }


async def refused(crossfade: Crossfade) -> str:
    """The one line that a start gets that cannot be; nothing may be left of it."""
    before = alive_below().keys()
    crossfade.launch()
    assert await crossfade.ended() == 1
    assert alive_below().keys() == before
    assert [line for line in crossfade.log if line["level"] == "error"] == []
    (line,) = crossfade.noise
    return line.removeprefix("crossfade: ")


async def test_a_bad_configuration_is_one_line(scene: Stage, crossfade: Crossfade) -> None:
    scene.write(("weight: 50", "weight: 500"))
    line = await refused(crossfade)
    number = scene.file.read_text().split("weight: 500")[0].count("\n") + 1
    assert line.startswith(f"{scene.file}:{number}: routes[0].rollout.stages[1].weight: ")


@pytest.mark.parametrize(("key", "line"), [("listen", 1), ("admin", 2)])
async def test_an_address_in_use_is_one_line(scene: Stage, crossfade: Crossfade, key: str, line: int) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        first, second = scene.text.splitlines()[:2]
        old = first if key == "listen" else second
        scene.write((old, f'{key}: {{address: "{address}"}}'))
        said = await refused(crossfade)
    assert said.startswith(f"{scene.file}:{line}: {key}.address: ")
    assert address in said
    assert "in use" in said


async def test_another_crossfade_on_the_port_is_noticed_although_it_shares_ports(
    scene: Stage, crossfade: Crossfade
) -> None:
    with closing(socket.socket()) as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        scene.write(('"127.0.0.1:0"', f'"127.0.0.1:{other.getsockname()[1]}"'))
        assert "in use" in await refused(crossfade)


async def test_a_store_that_nobody_answers_at_is_one_line(scene: Stage, crossfade: Crossfade) -> None:
    with closing(socket.socket()) as nobody:
        nobody.bind(("127.0.0.1", 0))
        scene.write(("listen:", f"store: redis://:secret@127.0.0.1:{nobody.getsockname()[1]}\nlisten:"))
        line = await refused(crossfade)
    assert line.startswith(f"{scene.file}:1: store: ")
    assert "secret" not in line


async def test_garbage_in_the_store_is_one_line_and_stays(scene: Stage, crossfade: Crossfade, valkey: Valkey) -> None:
    scene.write(("listen:", f"store: {valkey.url}\nlisten:"))
    async with connect(valkey.url) as redis:
        await redis.set(keys.state("refunds"), b'{"format": 99}')
        line = await refused(crossfade)
        assert line.startswith(f"{scene.file}:1: store: crossfade:{{refunds}}:state: ")
        assert await redis.get(keys.state("refunds")) == b'{"format": 99}'


async def test_a_data_dir_in_use_is_one_line(scene: Stage, crossfade: Crossfade) -> None:
    await crossfade.start()
    second = Crossfade(scene.file)
    second.launch()
    assert await second.ended() == 1
    assert second.noise[0].startswith(f"crossfade: {scene.file}:4: data_dir: ")
    assert str(crossfade.pid) in second.noise[0]
    await second.close()
    assert await crossfade.ask() == (200, "legacy")


async def test_told_to_stop_while_it_starts_it_stops(crossfade: Crossfade) -> None:
    crossfade.launch()
    await crossfade.line("store_found")
    assert await crossfade.stop() == 0
    assert alive_below() == {}


# Draining


async def test_a_request_under_way_is_finished(scene: Stage, crossfade: Crossfade) -> None:
    await crossfade.start()
    done = slowly(scene)
    asking = asyncio.get_running_loop().create_task(crossfade.ask())
    await scene.human.wait_for(1)
    crossfade.tell(signal.SIGTERM)
    await crossfade.line("stopping")
    done.set()
    assert await asking == (200, "legacy")
    assert await crossfade.ended() == 0
    assert crossfade.log[-1]["clean"] is True


async def test_ctrl_c_reaches_the_supervisor_alone(scene: Stage, crossfade: Crossfade) -> None:
    await crossfade.start()
    done = slowly(scene)
    asking = asyncio.get_running_loop().create_task(crossfade.ask())
    await scene.human.wait_for(1)
    os.killpg(crossfade.pid, signal.SIGINT)
    await crossfade.line("stopping")
    done.set()
    assert await asking == (200, "legacy")
    assert await crossfade.ended() == 0


async def test_told_twice_it_does_not_wait(scene: Stage, crossfade: Crossfade) -> None:
    scene.write(("drain_timeout: 5s", "drain_timeout: 1h"))
    await crossfade.start()
    slowly(scene)
    asking = asyncio.get_running_loop().create_task(crossfade.ask())
    await scene.human.wait_for(1)
    crossfade.tell(signal.SIGTERM)
    await crossfade.line("stopping")
    assert await crossfade.stop() == 1
    with pytest.raises(aiohttp.ClientError):
        await asking
    assert alive_below() == {}


# Deaths


async def test_a_killed_control_process_costs_no_request_and_no_count(crossfade: Crossfade) -> None:
    await crossfade.start()
    users = Users(crossfade)
    await users.more()
    for _ in range(2):
        before = len(crossfade.log)
        crossfade.kill("control")
        await crossfade.line("child_ended", after=before, child="control", signal="SIGKILL")
        await users.more()
        await crossfade.line("child_started", after=before, child="control")
        await users.more()
    await users.stop()
    assert users.failed == []
    await crossfade.until(lambda route: all_seen(len(users.answers), route))
    assert await crossfade.stop() == 0


async def test_a_killed_store_costs_no_request_and_no_count(crossfade: Crossfade) -> None:
    await crossfade.start()
    users = Users(crossfade)
    await users.more()
    crossfade.kill("valkey")
    await crossfade.line("child_started", child="valkey")
    await users.more()
    await users.stop()
    assert users.failed == []
    await crossfade.until(lambda route: all_seen(len(users.answers), route))


async def test_a_store_that_hangs_is_noticed_soon_and_costs_no_request_and_no_count(crossfade: Crossfade) -> None:
    await crossfade.start()
    users = Users(crossfade)
    await users.more()
    crossfade.kill("valkey", signal.SIGSTOP)
    begun = asyncio.get_running_loop().time()
    while await crossfade.metric("crossfade_store_up") != 0.0:
        assert asyncio.get_running_loop().time() - begun < 7
        await users.more(10)
    await crossfade.line("store_away")  # the metric tells it as soon as anybody notices; this is the recorder
    crossfade.kill("valkey", signal.SIGCONT)
    await crossfade.line("store_back")
    await users.stop()
    assert users.failed == []
    await crossfade.until(lambda route: all_seen(len(users.answers), route))
    assert "link_silent" not in [line["event"] for line in crossfade.log]  # ticks went on being taken


async def test_what_is_kept_is_for_its_owner_alone(scene: Stage, crossfade: Crossfade) -> None:
    await crossfade.start()
    await crossfade.ask()
    await crossfade.until(lambda route: all_seen(1, route))
    modes = {path: path.stat().st_mode & 0o077 for path in (scene.folder / "data").rglob("*")}
    assert any(path.suffix == ".aof" for path in modes)
    assert [path for path, mode in modes.items() if mode] == []


async def test_a_killed_worker_leaves_nobody_refused_who_connects_afterwards(crossfade: Crossfade) -> None:
    await crossfade.start()
    await crossfade.ask()
    first = crossfade.child("worker 1")
    await crossfade.forget_connections()
    crossfade.kill("worker 1")
    assert await crossfade.ask() == (200, "legacy")  # waited in the queue of the socket
    assert crossfade.child("worker 1") != first


async def test_a_killed_supervisor_takes_the_others_along(scene: Stage, crossfade: Crossfade) -> None:
    await crossfade.start()
    done = slowly(scene)
    asking = asyncio.get_running_loop().create_task(crossfade.ask())
    await scene.human.wait_for(1)
    crossfade.tell(signal.SIGKILL)
    await crossfade.line("supervisor_gone")
    done.set()
    assert await asking == (200, "legacy")
    async with asyncio.timeout(PATIENCE):
        while alive_below():
            await asyncio.sleep(0.05)
    await crossfade.ended()
    await crossfade.start()  # nothing is in its way
    assert await crossfade.ask() == (200, "legacy")


async def test_a_worker_that_starts_without_a_control_process_serves_by_the_last_good_configuration(
    crossfade: Crossfade,
) -> None:
    await crossfade.start()
    await crossfade.verb("promote")
    arms = await crossfade.ask_many(30)
    assert {arm for _, arm in arms} == {"legacy", "agent"}
    crossfade.kill("control", signal.SIGSTOP)
    await crossfade.forget_connections()
    crossfade.kill("worker 1")
    assert await crossfade.ask_many(30) == arms
    await crossfade.line("control_away")
    crossfade.kill("control", signal.SIGCONT)
    await crossfade.until(lambda route: route["totals"]["agent"]["requests"] > 0)


# The breaker


async def test_a_trip_swaps_everywhere_and_holds_over_a_restart_until_retry(scene: Stage, crossfade: Crossfade) -> None:
    scene.write(("listen:", "workers: 2\nlisten:"), ("weight: 50", "weight: 100"))
    await crossfade.start()
    await crossfade.verb("promote", full=True)
    assert await crossfade.ask() == (200, "agent")
    await scene.agent.stop()
    answers = await crossfade.ask_many(40)
    assert {status for status, _ in answers} == {200}
    route = await crossfade.until(lambda route: route["phase"] == "degraded")
    assert route["weight"] == 0.0
    assert "breaker" in route["reason"]
    assert await crossfade.metric('crossfade_rollbacks_total{reason="breaker",route="refunds"}') == 1.0

    await scene.agent.start()
    await crossfade.restart()
    assert (await crossfade.route())["phase"] == "degraded"
    assert {arm for _, arm in await crossfade.ask_many(10)} == {"legacy"}

    await crossfade.verb("retry")
    await crossfade.verb("promote", full=True)
    await crossfade.until(lambda route: route["weight"] == 100.0)
    assert await crossfade.ask() == (200, "agent")


# Reload


async def test_every_way_to_reload_works_on_the_running_whole(scene: Stage, crossfade: Crossfade) -> None:
    await crossfade.start()
    users = Users(crossfade)
    await users.more()

    agent = f"http://127.0.0.1:{scene.agent.port}"
    human = f"http://127.0.0.1:{scene.human.port}"
    swapped = ((human, "somewhere"), (agent, human), ("somewhere", agent))
    scene.write(*swapped)  # the file is watched
    await crossfade.line("configuration_reloaded", actor="file")
    before = len(scene.human.seen)
    assert await crossfade.ask(path="/other") == (200, "legacy")
    assert [each.target for each in scene.human.seen[before:] if each.target == "/other"] == []

    scene.write(("weight: 50", "weight: 500"))
    mark = len(crossfade.log)
    await crossfade.line("configuration_refused", after=mark)
    assert await crossfade.metric("crossfade_config_last_reload_successful") == 0.0
    crossfade.tell(signal.SIGHUP)
    mark = len(crossfade.log)
    assert (await crossfade.line("configuration_refused", after=mark))["actor"] == "SIGHUP"
    async with crossfade.session.post(crossfade.admin + "/api/v1/config/reload", json={"actor": "ana"}) as response:
        assert response.status == 422
        assert "routes[0].rollout.stages[1].weight" in await response.text()

    scene.write()
    async with crossfade.session.post(crossfade.admin + "/api/v1/config/reload", json={"actor": "ana"}) as response:
        assert (await response.json())["result"] in {"applied", "unchanged"}  # the watch may have been faster
    assert await crossfade.metric("crossfade_config_last_reload_successful") == 1.0
    await users.stop()
    assert users.failed == []


async def test_a_control_process_that_comes_back_to_a_bad_file_goes_on_with_the_last_good_one(
    scene: Stage, crossfade: Crossfade
) -> None:
    await crossfade.start()
    scene.write(("weight: 50", "weight: 500"))
    await crossfade.line("configuration_refused")
    crossfade.kill("control")
    await crossfade.line("child_started", child="control")
    assert await crossfade.ask() == (200, "legacy")
    assert await crossfade.metric("crossfade_config_last_reload_successful") == 0.0
    scene.write()
    await crossfade.line("configuration_unchanged")
    assert await crossfade.metric("crossfade_config_last_reload_successful") == 1.0
