"""The client of a Cluster: redis-py's, which follows MOVED and ASK and looks anew at the nodes when one is lost.

What it lacks, and has here: an end of every wait, whatever number of nodes it tries one after another, and callers that
wait for a connection instead of failing where all are busy.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from redis import asyncio as aredis
from redis.asyncio.cluster import ClusterPipeline
from redis.asyncio.retry import Retry
from redis.backoff import ConstantBackoff
from redis.exceptions import TimeoutError as SlowError

_RETRIES = 2
"""Each looks at the nodes anew. Enough for a connection that went stale and a master that was replaced."""
_PAUSE = 0.05


class Cluster(aredis.RedisCluster):
    """`patience` is how many seconds one command or pipeline may take in all, its waiting for a connection included;
    each node gets at most `max_connections`."""

    def __init__(self, *, patience: float, max_connections: int, **options: Any) -> None:
        retry = Retry(ConstantBackoff(_PAUSE), _RETRIES)
        super().__init__(max_connections=max_connections, retry=retry, **options)
        self._patience = patience
        # A pipeline that was led elsewhere sends commands of their own, so the two must not wait for each other.
        self._commands = asyncio.Semaphore(max_connections // 2)
        self._pipelines = asyncio.Semaphore(max_connections // 2)

    async def execute_command(self, *words: Any, **options: Any) -> Any:
        async with self._turn(self._commands):
            await self.initialize()  # before the nodes are known, redis-py sends a command anywhere
            return await super().execute_command(*words, **options)

    def pipeline(self, transaction: Any | None = None, shard_hint: Any | None = None) -> ClusterPipeline:  # noqa: ARG002  # redis-py's own signature
        return _Pipeline(self, transaction)  # type: ignore[abstract]  # redis-py's own class, too, lacks what its Protocol has

    @asynccontextmanager
    async def _turn(self, turns: asyncio.Semaphore) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._patience), turns:
                yield
        except TimeoutError:
            raise SlowError(f"no answer of the Cluster within {self._patience:g} s") from None


class _Pipeline(ClusterPipeline):
    cluster_client: Cluster

    async def execute(self, raise_on_error: bool = True, allow_redirections: bool = True) -> list[Any]:
        client = self.cluster_client
        async with client._turn(client._pipelines):  # noqa: SLF001  # it is the client's other half
            return await super().execute(raise_on_error, allow_redirections)
