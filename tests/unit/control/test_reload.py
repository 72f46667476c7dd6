"""Hot reload on real files: every way in is the same way, and a bad file changes nothing."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from proxy.control import configuration, reload
from proxy.control.configuration import Loaded
from proxy.control.reload import RESTART, Reloader
from proxy.model.errors import ConfigError, StoreFormatError
from proxy.telemetry.families import RELOAD_OK, RELOADS
from proxy.telemetry.metrics import Metrics
from tests.certificates import Authority
from tests.unit.control.world import CONFIG

CHANGED = CONFIG.replace(":9001", ":9005")
BAD = CONFIG.replace("weight: 5,", "weight: 500,")


class Scene:
    """A reloader on `file`; `applied` is what it put to work."""

    def __init__(self, file: Path) -> None:
        self.file, self.metrics = file, Metrics()
        self.applied: list[Loaded] = []
        self.refuse: Exception | None = None
        self.reloader = Reloader(file, configuration.read(file), self._apply, self.metrics)

    async def _apply(self, loaded: Loaded) -> None:
        if self.refuse is not None:
            raise self.refuse
        self.applied.append(loaded)

    @property
    def ports(self) -> list[str]:
        """The human workflow's URL in each configuration that was put to work."""
        return [loaded.config.upstreams["human"].url[-4:] for loaded in self.applied]

    @property
    def counted(self) -> tuple[float, float, float | None]:
        """Reloads that succeeded, that failed, and the gauge."""
        table = self.metrics._counters[RELOADS.name]
        return table["success",], table["failure",], self.metrics._gauges[RELOAD_OK.name].get(())

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                await asyncio.sleep(0.01)


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    file = tmp_path / "crossfade.yaml"
    file.write_text(CONFIG)
    scene = Scene(file)
    yield scene
    await scene.reloader.close()


@pytest.fixture
def only_the_poll(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a file system that tells nothing."""

    async def silent(_self: Reloader) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(Reloader, "_watch", silent)
    monkeypatch.setattr(reload, "POLL", 0.05)


@pytest.fixture
def only_the_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reload, "POLL", 3_600.0)


async def test_asked_to_reload_it_puts_the_file_to_work(scene: Scene) -> None:
    scene.file.write_text(CHANGED)
    assert await scene.reloader.reload("ana")
    assert scene.ports == ["9005"]
    assert scene.counted == (1, 0, 1.0)


async def test_a_file_that_says_the_same_changes_nothing(scene: Scene) -> None:
    scene.file.write_text(f"# with a comment\n{CONFIG}")
    assert not await scene.reloader.reload("ana")
    assert scene.applied == []
    assert scene.counted == (1, 0, 1.0)


async def test_a_bad_file_is_refused_with_file_line_and_path(scene: Scene) -> None:
    scene.file.write_text(BAD)
    with capture_logs() as logs, pytest.raises(ConfigError):
        await scene.reloader.reload("ana")
    assert scene.applied == []
    assert scene.counted == (0, 1, 0.0)
    (line,) = logs
    assert line["event"] == "configuration_refused"
    assert (line["file"], line["path"]) == (str(scene.file), "routes[0].rollout.stages[1].weight")
    assert line["line"] == BAD[: BAD.index("500")].count("\n") + 1


async def test_after_a_bad_file_the_good_one_that_runs_makes_the_gauge_good_again(scene: Scene) -> None:
    scene.file.write_text(BAD)
    with pytest.raises(ConfigError):
        await scene.reloader.reload("ana")
    scene.file.write_text(CONFIG)
    assert not await scene.reloader.reload("ana")
    assert scene.counted == (1, 1, 1.0)


async def test_what_cannot_be_put_to_work_counts_as_refused_and_can_be_tried_again(scene: Scene) -> None:
    scene.file.write_text(CHANGED)
    scene.refuse = StoreFormatError("crossfade:{refunds}:state", "holds garbage")
    with pytest.raises(StoreFormatError):
        await scene.reloader.reload("ana")
    assert scene.counted == (0, 1, 0.0)
    scene.refuse = None
    assert await scene.reloader.reload("ana")


async def test_a_file_that_is_gone_changes_nothing(scene: Scene) -> None:
    scene.file.unlink()
    with pytest.raises(ConfigError, match="cannot be read"):
        await scene.reloader.reload("ana")
    assert scene.applied == []


async def test_a_hint_reloads_and_a_bad_file_then_hurts_nobody(scene: Scene) -> None:
    scene.file.write_text(BAD)
    scene.reloader.hint()
    await scene.until(lambda: scene.counted[1] == 1)
    scene.file.write_text(CHANGED)
    scene.reloader.hint()
    await scene.until(lambda: scene.ports == ["9005"])


# Watching


def swap(folder: Path, name: str, text: str) -> None:
    """As Kubernetes updates a ConfigMap: a new directory, then one rename of the symlink to it."""
    (folder / name).mkdir()
    (folder / name / "crossfade.yaml").write_text(text)
    (folder / "..new").symlink_to(name)
    (folder / "..new").rename(folder / "..data")


def mounted(folder: Path) -> Path:
    """A ConfigMap's directory: the file is a symlink through a symlink."""
    swap(folder, "..first", CONFIG)
    (folder / "crossfade.yaml").symlink_to("..data/crossfade.yaml")
    return folder / "crossfade.yaml"


def replace_file(file: Path, text: str) -> None:
    """As editors do."""
    aside = file.with_name(".crossfade.yaml.swp")
    aside.write_text(text)
    aside.replace(file)


@pytest.mark.parametrize("how", ["only_the_poll", "only_the_watch"])
@pytest.mark.parametrize("write", [Path.write_text, replace_file])
async def test_a_changed_file_is_seen(
    scene: Scene, how: str, write: Callable[[Path, str], None], request: pytest.FixtureRequest
) -> None:
    request.getfixturevalue(how)
    scene.reloader.start()
    await asyncio.sleep(0.01)  # the watch is set when its task has run once
    write(scene.file, CHANGED)
    await scene.until(lambda: scene.ports == ["9005"])


@pytest.mark.parametrize("how", ["only_the_poll", "only_the_watch"])
async def test_a_swapped_symlink_is_seen(tmp_path: Path, how: str, request: pytest.FixtureRequest) -> None:
    request.getfixturevalue(how)
    scene = Scene(mounted(tmp_path))
    scene.reloader.start()
    await asyncio.sleep(0.01)
    swap(tmp_path, "..second", CHANGED)
    await scene.until(lambda: scene.ports == ["9005"])
    swap(tmp_path, "..third", CHANGED.replace(":9005", ":9006"))
    await scene.until(lambda: scene.ports == ["9005", "9006"])
    await scene.reloader.close()


async def test_a_changed_secret_is_seen(tmp_path: Path, only_the_poll: None) -> None:
    secret, file = tmp_path / "token", tmp_path / "crossfade.yaml"
    secret.write_text("one")
    header = f'{{url: "http://127.0.0.1:9001", set_headers: {{x-token: "${{file:{secret}}}"}}}}'
    file.write_text(CONFIG.replace('{url: "http://127.0.0.1:9001"}', header))
    scene = Scene(file)
    scene.reloader.start()
    secret.write_text("two")
    await scene.until(lambda: len(scene.applied) == 1)
    assert scene.applied[0].config.upstreams["human"].set_headers == {"x-token": "two"}
    await scene.reloader.close()


async def test_half_a_file_is_not_read(scene: Scene, only_the_poll: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """An editor that writes in place: what is there in between is neither used nor complained about."""
    monkeypatch.setattr(reload, "_SETTLE", 1.0)  # longer than all of the writing, also on a busy machine
    scene.reloader.start()
    for end in range(0, len(CHANGED), 40):
        scene.file.write_text(CHANGED[:end])
        await asyncio.sleep(0.01)
    scene.file.write_text(CHANGED)
    await scene.until(lambda: scene.ports == ["9005"])
    assert scene.counted == (1, 0, 1.0)


async def test_a_bad_file_is_complained_about_once(scene: Scene, only_the_poll: None) -> None:
    scene.reloader.start()
    scene.file.write_text(BAD)
    await scene.until(lambda: scene.counted[1] == 1)
    await asyncio.sleep(0.3)  # several polls
    assert scene.counted == (0, 1, 0.0)


# Certificates


@pytest.fixture
async def secure(tmp_path: Path) -> AsyncIterator[Scene]:
    """TLS towards clients, whose certificate is at tls.crt and tls.key."""
    Authority(tmp_path).write()
    file = tmp_path / "crossfade.yaml"
    file.write_text(f"listen: {{tls: {{cert_file: {tmp_path}/tls.crt, key_file: {tmp_path}/tls.key}}}}\n{CONFIG}")
    scene = Scene(file)
    yield scene
    await scene.reloader.close()


async def test_a_renewed_certificate_is_put_to_work_though_the_file_says_what_it_said(secure: Scene) -> None:
    before = configuration.read(secure.file)
    Authority(secure.file.parent).write()
    with capture_logs() as logs:
        assert await secure.reloader.reload("ana")
    assert secure.applied[0].config == before.config
    assert secure.applied[0].digests != before.digests
    folder = secure.file.parent
    assert [line["renewed"] for line in logs] == [[f"{folder}/tls.crt", f"{folder}/tls.key"]]
    assert not await secure.reloader.reload("ana"), "and once"


@pytest.mark.parametrize("how", ["only_the_poll", "only_the_watch"])
async def test_a_renewed_certificate_is_seen(secure: Scene, how: str, request: pytest.FixtureRequest) -> None:
    request.getfixturevalue(how)
    secure.reloader.start()
    await asyncio.sleep(0.01)
    Authority(secure.file.parent).write()
    await secure.until(lambda: secure.applied != [])
    assert secure.applied[-1].digests == configuration.read(secure.file).digests


async def test_a_swapped_symlink_to_a_certificate_is_seen(tmp_path: Path, only_the_watch: None) -> None:
    """A Kubernetes secret, or certbot: what changes is not beside the configuration."""
    mount = tmp_path / "mount"
    for name in ("..first", "..second"):
        (mount / name).mkdir(parents=True)
        Authority(mount / name).write()
    (mount / "..data").symlink_to("..first")
    for name in ("tls.crt", "tls.key"):
        (mount / name).symlink_to(f"..data/{name}")
    (tmp_path / "etc").mkdir()
    file = tmp_path / "etc" / "crossfade.yaml"
    file.write_text(f"listen: {{tls: {{cert_file: {mount}/tls.crt, key_file: {mount}/tls.key}}}}\n{CONFIG}")
    scene = Scene(file)
    scene.reloader.start()
    await asyncio.sleep(0.01)
    (mount / "..new").symlink_to("..second")
    (mount / "..new").rename(mount / "..data")
    await scene.until(lambda: scene.applied != [])
    assert scene.applied[0].digests == configuration.read(file).digests
    await scene.reloader.close()


async def test_a_certificate_before_its_key_changes_nothing_and_then_both_do(
    secure: Scene, only_the_poll: None
) -> None:
    folder, renewed = secure.file.parent, secure.file.parent / "renewed"
    renewed.mkdir()
    Authority(renewed).write()
    secure.reloader.start()
    (renewed / "tls.crt").replace(folder / "tls.crt")
    await secure.until(lambda: secure.counted[1] == 1)
    assert secure.applied == []
    (renewed / "tls.key").replace(folder / "tls.key")
    await secure.until(lambda: secure.applied != [])
    assert secure.counted == (1, 1, 1.0)


async def test_a_broken_certificate_is_refused_with_its_line_and_no_word_of_the_key(secure: Scene) -> None:
    (secure.file.parent / "tls.key").write_text("-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----\n")
    with capture_logs() as logs, pytest.raises(ConfigError) as caught:
        await secure.reloader.reload("ana")
    assert (caught.value.file, caught.value.line) == (str(secure.file), 1)
    assert caught.value.path == "listen.tls.key_file"
    assert logs[0]["event"] == "configuration_refused"
    assert "hunter2" not in f"{logs} {caught.value}"
    assert secure.applied == []


async def test_a_file_that_comes_after_the_configuration_that_names_it_mends_it(
    scene: Scene, only_the_poll: None
) -> None:
    folder = scene.file.parent
    scene.reloader.start()
    scene.file.write_text(f"listen: {{tls: {{cert_file: {folder}/tls.crt, key_file: {folder}/tls.key}}}}\n{CONFIG}")
    await scene.until(lambda: scene.counted[1] == 1)
    Authority(folder).write()
    await scene.until(lambda: scene.applied != [])


BLIND = CONFIG.replace('"http://127.0.0.1:9002"', '"https://127.0.0.1:9002", tls: {insecure_skip_verify: true}')


async def test_an_upstream_that_is_not_verified_is_warned_of_at_the_start_and_at_each_reload(tmp_path: Path) -> None:
    file = tmp_path / "crossfade.yaml"
    file.write_text(BLIND)
    scene = Scene(file)
    with capture_logs() as logs:
        scene.reloader.start()
        assert not await scene.reloader.reload("ana")
        file.write_text(BLIND.replace("true", "false"))
        assert await scene.reloader.reload("ana")
    warned = [line["upstream"] for line in logs if line["event"] == "upstream_not_verified"]
    assert warned == ["agent", "agent"]
    await scene.reloader.close()


# What a reload cannot do, and what it does to users


async def warned(scene: Scene, text: str) -> list[tuple[str, str]]:
    scene.file.write_text(text)
    with capture_logs() as logs:
        await scene.reloader.reload("ana")
    return [(line["event"], line.get("setting") or line["route"]) for line in logs if line["log_level"] == "warning"]


async def test_settings_that_need_a_restart_are_named_and_the_rest_is_put_to_work(scene: Scene) -> None:
    lines = """\
listen: {address: 127.0.0.1:8081}
admin: {address: 127.0.0.1:9901}
workers: 3
store: redis://elsewhere:6379
data_dir: /elsewhere
drain_delay: 1s
drain_timeout: 1s
"""
    assert await warned(scene, lines + CHANGED) == [("restart_needed", setting) for setting in RESTART]
    assert scene.ports == ["9005"]


async def test_the_rest_of_listen_needs_no_restart(scene: Scene) -> None:
    folder = scene.file.parent
    Authority(folder).write()
    lines = f"""\
listen:
  tls: {{cert_file: {folder}/tls.crt, key_file: {folder}/tls.key}}
  access_log: true
  trusted_proxies: [10.0.0.0/8]
  proxy_protocol: true
  underscore_headers: true
"""
    assert await warned(scene, lines + CONFIG) == []
    assert len(scene.applied) == 1


async def test_users_drawn_anew_and_rollouts_removed_are_named(scene: Scene) -> None:
    assert await warned(scene, CONFIG.replace("salt: s", "salt: t")) == [("users_drawn_anew", "salt")]
    without = CONFIG[: CONFIG.index("  - name: refunds")] + CONFIG[CONFIG.index("  - name: plain") :]
    assert await warned(scene, without) == [("rollout_removed", "refunds")]
