"""The Protocols through which the I/O packages meet: each as narrow as its one caller needs.

The store's methods raise StoreUnavailableError when the server cannot be reached and StoreFormatError when a key holds
what is not ours.
"""

from typing import Any, Protocol

from proxy.model.rollouts import Batch, Event, Evidence, RolloutState
from proxy.model.words import Verb


class PairWriter(Protocol):
    """What the recorder needs."""

    async def write(self, batches: list[Batch]) -> list[bool]:
        """Keep the batches in their order. For each: True if it was new, False if it had been kept before."""
        ...


class PairReader(Protocol):
    """What the admin API needs. Pairs are as `proxy.outcomes.pairing` makes them, newest first."""

    async def pairs(
        self, route: str, *, verdict: str | None = None, before: str | None = None, limit: int = 50
    ) -> tuple[list[dict[str, Any]], str | None]:
        """At most `limit` pairs older than the cursor `before`, and the next cursor or None at the end.

        A page also ends early, with a cursor, where its pairs are large. ValueError on a cursor or verdict that is
        none.
        """
        ...

    async def pair(self, pair_id: str) -> dict[str, Any] | None: ...


class RolloutStore(Protocol):
    """What the controller needs."""

    async def load(self, route: str) -> RolloutState | None: ...

    async def save(self, state: RolloutState, event: Event | None) -> None:
        """Store `state` and append `event` to the history in one step, if the stored revision is `state.revision - 1`
        (or nothing is stored and it is 1). Raises ConflictError otherwise."""
        ...

    async def evidence(self, route: str, version: str, epoch: int, stage: str) -> Evidence: ...

    async def history(self, route: str, limit: int = 100) -> list[Event]:
        """Newest first."""
        ...


class HistoryReader(Protocol):
    """What the admin API needs of a `RolloutStore`."""

    async def history(self, route: str, limit: int = 100) -> list[Event]:
        """Newest first."""
        ...


class Operations(Protocol):
    """What the admin API asks of the control process. Documents have the shapes that `proxy.admin.api` lists."""

    def routes(self) -> list[dict[str, Any]]: ...

    def route(self, name: str) -> dict[str, Any] | None: ...

    async def command(self, route: str, verb: Verb, *, actor: str, reason: str, full: bool = False) -> dict[str, Any]:
        """Carry out an operator's verb; answers the route. KeyError where the route has no rollout, CommandError where
        its phase does not allow the verb, ConflictError where someone else was faster. `full` goes with promote."""
        ...

    async def reload(self, *, actor: str) -> dict[str, Any]:
        """Read the configuration again: `{result: applied | unchanged, snapshot: number}`. Raises ConfigError."""
        ...

    def config(self) -> dict[str, Any]:
        """The configuration that runs, secrets masked."""
        ...

    def unready(self) -> list[str]:
        """Why this replica should get no traffic; empty when it is ready."""
        ...
