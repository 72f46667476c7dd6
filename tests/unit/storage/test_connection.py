import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import pytest
from redis import asyncio as aredis

from proxy.model.errors import StoreError, StoreFormatError, StoreUnavailableError
from proxy.storage.connection import ask, connect, wait_ready
from proxy.storage.probe import check
from tests.valkey import Valkey

CERTIFICATE = Path(__file__).with_name("localhost.pem")


@pytest.fixture
async def redis(valkey: Valkey) -> AsyncIterator[aredis.Redis]:
    client = connect(valkey.url, timeout=1.0)
    assert isinstance(client, aredis.Redis)
    yield client
    await client.aclose()


def test_what_is_no_address_is_refused_without_its_password() -> None:
    with pytest.raises(StoreError, match=r"'http://\*\*\*@store' must be") as caught:
        connect("http://:hunter2@store")
    assert "hunter2" not in str(caught.value)


async def test_no_password_is_in_the_errors_of_an_unreachable_store() -> None:
    client = connect("redis://app:hunter2@127.0.0.1:1/0")
    with pytest.raises(StoreUnavailableError) as caught:
        await ask(client, "PING")
    with pytest.raises(StoreUnavailableError) as waited:
        await wait_ready("redis://app:hunter2@127.0.0.1:1/0", 0.0)
    assert "hunter2" not in str(caught.value) + str(waited.value)
    await client.aclose()


async def test_a_wrong_type_names_the_key(redis: aredis.Redis) -> None:
    await redis.lpush("some:key", "x")
    with pytest.raises(StoreFormatError, match="some:key: holds another type of value"):
        await ask(redis, "GET", "some:key", key="some:key")


async def test_a_full_store_is_unavailable_not_foreign(redis: aredis.Redis) -> None:
    await redis.config_set("maxmemory", 1)
    with pytest.raises(StoreUnavailableError, match=r"the store refused a command: .*maxmemory"):
        await ask(redis, "SET", "a", "b")


async def test_a_hanging_store_is_unavailable_within_the_timeout(redis: aredis.Redis, valkey: Valkey) -> None:
    await ask(redis, "PING")
    valkey.freeze()
    begun = asyncio.get_running_loop().time()
    with pytest.raises(StoreUnavailableError, match="does not answer"):
        await ask(redis, "PING")
    # The timeout of one second, and not twice that: only a connection that was lost is tried again.
    assert asyncio.get_running_loop().time() - begun < 1.9
    valkey.thaw()


async def test_a_restarted_store_is_reached_again_without_an_error(redis: aredis.Redis, valkey: Valkey) -> None:
    await ask(redis, "SET", "a", "1")
    valkey.stop()
    with pytest.raises(StoreUnavailableError):
        await ask(redis, "GET", "a")
    valkey.start()
    assert await ask(redis, "GET", "a") == b"1"


PASSWORD = "h@nter:2/x"


@pytest.mark.parametrize("form", ["unix://:{}@{}?db=0", "unix://{1}?password={0}"])
async def test_a_password_is_given(redis: aredis.Redis, valkey: Valkey, form: str) -> None:
    await ask(redis, "CONFIG SET", "requirepass", PASSWORD)
    path = valkey.url.removeprefix("unix://")
    client = connect(form.format(quote(PASSWORD, safe=""), path))
    assert (await check(client)).name == "valkey"
    await client.aclose()
    for secret in ("", "hunter2"):
        client = connect(form.format(secret, path))
        with pytest.raises(
            StoreUnavailableError, match=r"Authentication required|invalid username-password pair"
        ) as caught:
            await check(client)
        assert "hunter2" not in str(caught.value)
        await client.aclose()


@pytest.fixture
async def tls_port(valkey: Valkey) -> AsyncIterator[int]:
    """TLS with a certificate for localhost, and the real server behind it, which is built without."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back_reader, back_writer = await asyncio.open_unix_connection(valkey.url.removeprefix("unix://"))
        await asyncio.gather(_pass_on(reader, back_writer), _pass_on(back_reader, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    yield server.sockets[0].getsockname()[1]
    server.close()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    writer.close()


async def test_over_tls_a_store_that_is_trusted_is_used(tls_port: int) -> None:
    client = connect(f"rediss://localhost:{tls_port}/0?ssl_ca_certs={CERTIFICATE}")
    assert (await check(client)).name == "valkey"
    await client.aclose()


@pytest.mark.parametrize(
    "url", ["rediss://localhost:{}/0", f"rediss://127.0.0.1:{{}}/0?ssl_ca_certs={CERTIFICATE}"], ids=["issuer", "name"]
)
async def test_over_tls_a_store_that_is_not_the_one_meant_is_refused(tls_port: int, url: str) -> None:
    client = connect(url.format(tls_port))
    with pytest.raises(StoreUnavailableError, match=r"does not answer: .*certificate verify failed"):
        await check(client)
    await client.aclose()


async def test_connections_are_bounded(valkey: Valkey) -> None:
    client = connect(valkey.url, max_connections=2)
    assert isinstance(client, aredis.Redis)
    await asyncio.gather(*(ask(client, "PING") for _ in range(20)))
    lines = await client.client_list()
    await client.aclose()
    assert len(lines) == 2


async def test_waits_until_the_server_is_ready(valkey: Valkey) -> None:
    valkey.stop()
    waiting = asyncio.ensure_future(wait_ready(valkey.url, 20))  # noqa: TID251  # awaited below
    await asyncio.sleep(0)
    assert not waiting.done()
    await asyncio.to_thread(valkey.start)
    await waiting


async def test_waiting_for_no_server_ends(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailableError, match=r"no answer from unix://.*/none within 0\.1 s"):
        await wait_ready(f"unix://{tmp_path}/none", 0.1)
