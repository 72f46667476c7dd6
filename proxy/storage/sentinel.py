"""The client of a server that Sentinels watch: who is the master is asked of them before every new connection.

All Sentinels are asked at once, and the first who knows a living master is believed; the server must then say of itself
that it is one (https://redis.io/docs/latest/develop/reference/sentinel-clients/). A connection to a master that was
demoted is dropped when it refuses a write; one to a master that was only cut off from its Sentinels, within REASK.
"""

import asyncio
from contextlib import suppress
from typing import Any, Final

from redis import asyncio as aredis
from redis.asyncio.connection import BlockingConnectionPool
from redis.asyncio.sentinel import (
    MasterNotFoundError,
    Sentinel,
    SentinelConnectionPool,
    SentinelManagedConnection,
    SentinelManagedSSLConnection,
)
from redis.exceptions import ConnectionError as ConnectionLostError
from redis.exceptions import RedisError, ResponseError

REASK: Final = 5.0
"""Seconds after which the Sentinels are asked who is the master although no connection was lost."""

Address = tuple[str, int]
Problem = tuple[int, str]
"""Why a Sentinel names no master: the larger number says more."""


class Sentinels(Sentinel):
    """`options` are for the connections to the Sentinels."""

    def __init__(self, addresses: tuple[Address, ...], options: dict[str, Any]) -> None:
        super().__init__(addresses, sentinel_kwargs=options)  # type: ignore[no-untyped-call]  # redis-py has no types here
        self._asking: asyncio.Task[Address | str] | None = None

    async def discover_master(self, service_name: str) -> Address:
        """The address of the service's master. Raises MasterNotFoundError that says why there is none.

        All who want to know at the same time get the same answer.
        """
        if self._asking is None or self._asking.done():
            self._asking = asyncio.get_running_loop().create_task(self._discover(service_name))
        found = await asyncio.shield(self._asking)
        if isinstance(found, str):
            raise MasterNotFoundError(found)
        return found

    async def _discover(self, service_name: str) -> Address | str:
        """Or why there is none."""
        create = asyncio.get_running_loop().create_task
        pending = {create(self._ask(sentinel, service_name)) for sentinel in self.sentinels}
        problems: list[Problem] = []
        try:
            while pending:
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for answer in (task.result() for task in done):
                    if isinstance(answer[0], str):
                        return answer
                    problems.append(answer)
        finally:
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)
        return max(problems)[1]

    async def aclose(self) -> None:
        if self._asking is not None:
            self._asking.cancel()
        await super().aclose()

    async def _ask(self, sentinel: aredis.Redis, service: str) -> Address | Problem:
        where = sentinel.connection_pool.connection_kwargs
        name = f"{where['host']}:{where['port']}"
        try:
            state: dict[str, Any] = await sentinel.execute_command("SENTINEL MASTER", service)  # type: ignore[no-untyped-call]  # redis-py has no types here
        except ResponseError as error:
            if "No such master" in str(error):
                return 3, f"the Sentinels know no service {service!r}"
            return 1, f"{name} is no Sentinel, or lets us ask nothing: {error}"
        except (RedisError, OSError) as error:
            return 0, f"no Sentinel answers: {name}: {error}"
        if not self.check_master_state(state, service):
            return 2, f"the master of {service!r} is down, and its Sentinels have elected no other one yet"
        return str(state["ip"]), int(state["port"])


class _Checked(SentinelManagedConnection):
    """To a server that says of itself that it is a master."""

    async def connect_to(self, address: Address) -> None:
        await super().connect_to(address)  # type: ignore[no-untyped-call]  # redis-py has no types here
        with suppress(ResponseError):  # an access list may forbid to ask
            await self.send_command("ROLE")
            role: list[Any] = await self.read_response()
            if role[0] != b"master":
                await self.disconnect()
                raise ConnectionLostError(f"the Sentinels name {address[0]}:{address[1]}, which is no master")

    async def read_response(self, *words: Any, **options: Any) -> Any:
        try:
            return await super().read_response(*words, **options)
        except ResponseError as error:
            # Of a server's own commands redis-py takes note; from within a script, Redis 6 says it in other words.
            if "READONLY" not in str(error):
                raise
            await self.disconnect()
            raise ConnectionLostError("the master was demoted") from error


class _CheckedTls(_Checked, SentinelManagedSSLConnection):
    pass


class MasterPool(SentinelConnectionPool, BlockingConnectionPool):
    """Connections to the service's master; a caller waits for one as at any other pool of ours."""

    def __init__(self, service: str, sentinels: Sentinels, *, tls: bool, **options: Any) -> None:
        connection_class = _CheckedTls if tls else _Checked
        super().__init__(service, sentinels, connection_class=connection_class, **options)  # type: ignore[no-untyped-call]  # nor here
        self._asked: float | None = None

    async def get_connection(self, *_words: Any, **_options: Any) -> Any:
        if self._asked is not None and asyncio.get_running_loop().time() - self._asked >= REASK:
            with suppress(RedisError, OSError):  # what is connected may well go on without the Sentinels
                await self.get_master_address()
        return await super().get_connection()  # type: ignore[no-untyped-call]  # nor here

    async def get_master_address(self) -> Address:
        self._asked, known = asyncio.get_running_loop().time(), self.master_address
        address: Address = await super().get_master_address()  # type: ignore[no-untyped-call]  # nor here
        if known is not None and address != known:
            await self.update_active_connections_for_reconnect()  # type: ignore[no-untyped-call]  # nor here
        return address

    async def aclose(self) -> None:
        await super().aclose()
        await self.sentinel_manager.aclose()
