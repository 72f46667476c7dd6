"""The client of a Cluster: redis-py's, which follows MOVED and ASK and looks anew at the nodes when one is lost.

What it lacks, and has here:
- every wait has an end, whatever number of nodes is tried one after another;
- where all connections are busy a caller waits for one, instead of failing;
- looking anew at the nodes closes no connection that others are using;
- in a pipeline each node is on its own: one that is lost costs the commands that were meant for it, and no other's.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from redis import asyncio as aredis
from redis.asyncio.cluster import ClusterNode, ClusterPipeline, PipelineCommand
from redis.asyncio.retry import Retry
from redis.backoff import ConstantBackoff
from redis.exceptions import AskError, ClusterDownError, RedisClusterException, RedisError, TryAgainError
from redis.exceptions import ConnectionError as ConnectionLostError
from redis.exceptions import TimeoutError as SlowError

_RETRIES: Final = 2
"""Each looks at the nodes anew. Enough for a connection that went stale and a master that was replaced."""
_PAUSE: Final = 0.05

_AGAIN: Final = (AskError, ClusterDownError, ConnectionLostError, TryAgainError)
"""After these (MOVED is a kind of ASK) a command is sent again, alone, for redis-py to find its node."""


class Cluster(aredis.RedisCluster):
    """`patience` is how many seconds a command may take in all, its waiting for a connection included; each node gets
    at most `max_connections`."""

    def __init__(self, *, patience: float, max_connections: int, **options: Any) -> None:
        retry = Retry(ConstantBackoff(_PAUSE), _RETRIES)
        super().__init__(max_connections=max_connections, retry=retry, **options)
        self._patience = patience
        self._looking = asyncio.Lock()
        self._inside = set[asyncio.Task[Any] | None]()
        # A pipeline's commands that are sent again are commands of their own, so the two must not wait for each other.
        self._commands = asyncio.Semaphore(max_connections // 2)
        self._pipelines = asyncio.Semaphore(max_connections // 2)

    async def execute_command(self, *words: Any, **options: Any) -> Any:
        async with self._turn(self._commands):
            await self.initialize()  # before the nodes are known, redis-py sends a command anywhere
            return await super().execute_command(*words, **options)

    def pipeline(self, transaction: Any | None = None, shard_hint: Any | None = None) -> ClusterPipeline:  # noqa: ARG002  # redis-py's own signature
        return _Pipeline(self)  # type: ignore[abstract]  # redis-py's own class, too, lacks what its Protocol has

    async def initialize(self, *_: Any, **options: Any) -> "Cluster":
        """Look at the nodes, if that is to be done. As redis-py's own, which closes all connections where it fails."""
        if self._initialize:
            async with self._looking:
                if self._initialize:
                    await self.nodes_manager.initialize(**options)
                    await self.commands_parser.initialize(self.nodes_manager.default_node)
                    self._initialize = False
        return self

    async def aclose(self) -> None:
        if asyncio.current_task() in self._inside:  # it is redis-py, which wants to look anew at the nodes
            self._initialize = True
            return
        await super().aclose()
        for nodes in ("nodes_cache", "startup_nodes"):
            await self.nodes_manager.aclose(nodes)

    async def owners(self, commands: list[PipelineCommand]) -> list[tuple[ClusterNode, list[PipelineCommand]]]:
        """The masters, each with the commands that are for it, in their order."""
        async with self._turn(self._commands):
            await self.initialize()
        groups: dict[str, tuple[ClusterNode, list[PipelineCommand]]] = {}
        for command in commands:
            node = self.nodes_manager.get_node_from_slot(await self._determine_slot(*command.args))
            groups.setdefault(node.name, (node, []))[1].append(command)
        return list(groups.values())

    async def send(self, node: ClusterNode, commands: list[PipelineCommand]) -> None:
        """The commands get their results, or errors."""
        try:
            async with self._turn(self._pipelines):
                await node.execute_pipeline(commands)
        except (RedisError, OSError) as error:
            for command in commands:
                command.result = error
        for number, command in enumerate(commands):
            if isinstance(command.result, SlowError):
                self._distrust(node)
                return
            if isinstance(command.result, _AGAIN):
                try:
                    command.result = await self.execute_command(*command.args, **command.kwargs)
                except (RedisError, RedisClusterException, OSError) as error:
                    for each in commands[number:]:  # in their order, or not at all
                        each.result = error
                    return

    def _distrust(self, node: ClusterNode) -> None:
        """The next command looks anew who is there, and finds out whether the connections are good."""
        for connection in node._connections:  # noqa: SLF001  # redis-py marks those in use, and closes the others
            connection.mark_for_reconnect()  # type: ignore[no-untyped-call]  # redis-py has no types here
        self.nodes_manager.move_node_to_end_of_cached_nodes(node.name)
        self._initialize = True

    @asynccontextmanager
    async def _turn(self, turns: asyncio.Semaphore) -> AsyncIterator[None]:
        task = asyncio.current_task()
        try:
            async with asyncio.timeout(self._patience), turns:
                self._inside.add(task)
                yield
        except TimeoutError:
            raise SlowError(f"no answer of the Cluster within {self._patience:g} s") from None
        except (RuntimeError, AttributeError) as error:
            # A connection that redis-py closed as a free one while somebody took it: said by uvloop, and by a None.
            if "is closed" not in str(error) and "'NoneType'" not in str(error):
                raise
            raise ConnectionLostError("the connection was closed, for its node did not answer others") from error
        finally:
            self._inside.discard(task)


class _Pipeline(ClusterPipeline):
    def __init__(self, client: Cluster) -> None:
        super().__init__(client)
        self._client = client
        self._queued: list[PipelineCommand] = []

    def execute_command(self, *words: Any, **options: Any) -> ClusterPipeline:
        self._queued.append(PipelineCommand(len(self._queued), *words, **options))
        return self

    async def execute(self, raise_on_error: bool = True, allow_redirections: bool = True) -> list[Any]:  # noqa: ARG002  # redis-py's own signature
        commands, self._queued = self._queued, []
        groups = await self._client.owners(commands)
        await asyncio.gather(*(self._client.send(node, group) for node, group in groups))
        results = [command.result for command in commands]
        if raise_on_error and (error := next((each for each in results if isinstance(each, Exception)), None)):
            raise error
        return results
