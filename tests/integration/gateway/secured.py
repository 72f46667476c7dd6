"""The World over TLS: what the TLS tests have in common."""

import asyncio
import ssl
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from proxy.model.snapshot import ListenTls
from tests.integration.gateway.conftest import World
from tests.integration.gateway.peers import Client, ScriptedUpstream, connect

BIG = 3 << 20


def listen(world: World, tls: ListenTls | None) -> None:
    world.listen = replace(world.listen, tls=tls)
    world.use()


async def speak_tls(upstream: ScriptedUpstream, context: ssl.SSLContext) -> None:
    await upstream.stop()
    upstream.context = context
    await upstream.start()


@asynccontextmanager
async def secure(world: World, context: ssl.SSLContext) -> AsyncIterator[Client]:
    async with connect(world.port, context=context) as client:
        yield client


def old(context: ssl.SSLContext) -> ssl.SSLContext:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    return context


async def still(world: World) -> None:
    """Wait until nothing moves any more."""
    last: list[int] = []

    def rests() -> bool:
        now = [client.transport.get_write_buffer_size() for client in world.worker.clients]
        same = last == now
        last[:] = now
        return same

    same = 0
    async with asyncio.timeout(5):
        while same < 20:
            same = same + 1 if rests() else 0
            await asyncio.sleep(0.005)
