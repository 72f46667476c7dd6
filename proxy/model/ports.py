"""The Protocols through which the I/O packages meet: each as narrow as its one caller needs.

The store's methods raise StoreUnavailableError when the server cannot be reached and StoreFormatError when a key holds
what is not ours.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from proxy.model.errors import StoreError
from proxy.model.records import Decided
from proxy.model.rollouts import Batch, Event, Evidence, Report, RolloutState, Users
from proxy.model.spans import Span
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

    async def span(self, route: str, since: float) -> tuple[str, str] | None:
        """The places of the first and the last pair that were kept since then (Unix seconds); None where none was."""
        ...

    async def following(
        self, route: str, *, after: str, until: str, verdict: str | None = None
    ) -> tuple[list[dict[str, Any]], str | None]:
        """Some pairs in the order in which they were kept, from behind one place up to another, and the place to go on
        from, or None at the end."""
        ...


class StepReader(Protocol):
    """What the admin API needs of what agents told of their work."""

    async def read(self, route: str, trace: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """All steps of one trace, and what they come to; no step where nothing is known."""
        ...


class EscalationReader(Protocol):
    """What the admin API needs of what was handed over to the human."""

    async def escalations(
        self, route: str, *, reason: str | None = None, before: str | None = None, limit: int = 50
    ) -> tuple[list[dict[str, Any]], str | None]:
        """At most `limit` of them in short (`proxy.outcomes.escalation.summary`), newest first, and the next cursor or
        None at the end. A page may end early, with a cursor. ValueError on a cursor or reason that is none."""
        ...

    async def escalation(self, route: str, escalation_id: str) -> dict[str, Any] | None:
        """The same of one, with its whole `pair`, in which `steps` and `step_totals` are what the agent told of its
        work. While legacy is at it the pair has no id yet. None where its record is not there: it has not come yet, or
        is not kept any more."""
        ...


class DecisionTaker(Protocol):
    """What the admin API needs to take late decisions."""

    async def take(self, decisions: Sequence[Decided]) -> list[str]:
        """Keep them, to be joined to their pairs. Of each why it was not kept, empty where it is durable now. Raises
        StoreUnavailableError where none is known to be."""
        ...


class RolloutStore(Protocol):
    """What the controller needs."""

    async def load(self, route: str) -> RolloutState | None: ...

    async def load_all(self, routes: Sequence[str]) -> list[RolloutState | StoreError | None]:
        """As `load` for each of the routes, in their order, in one round trip; what is wrong with one of them (a key
        that holds what is not ours, a Cluster's node that is lost) is that route's trouble alone."""
        ...

    async def save(self, state: RolloutState, event: Event | None) -> None:
        """Store `state` and append `event` to the history in one step, if the stored revision is `state.revision - 1`
        (or nothing is stored and it is 1). Raises ConflictError otherwise."""
        ...

    async def evidence(self, route: str, version: str, epoch: int, stage: str) -> Evidence: ...

    async def users(self, route: str, version: str, epoch: int, stage: str, weight: int) -> Users:
        """How many different users each arm served at this stage and weight."""
        ...

    async def load_guard(self, route: str) -> bytes | None:
        """What `save_guard` kept last."""
        ...

    async def save_guard(self, route: str, data: bytes) -> None:
        """Keep the guard's memory (`proxy.control.guard`), so that whoever decides next goes on from there."""
        ...


class Replicas(Protocol):
    """What the controller needs to share the work with other replicas."""

    async def lead(self) -> int:
        """Say that we are alive, and take or renew the lease. How many replicas live, ourselves included.

        Afterwards `leads` tells who decides.
        """
        ...

    @property
    def leads(self) -> bool:
        """Whether we hold the lease, by the monotonic clock: never longer than the store would say."""
        ...

    async def release(self) -> None:
        """Let another replica decide at once; for our end."""
        ...

    async def tell(self, reports: Sequence[Report]) -> None:
        """Tell the other replicas what arrived here."""
        ...

    async def hear(self, routes: Sequence[str]) -> list[Report]:
        """What the other replicas told since we last asked; at the first time nothing."""
        ...


class HistoryReader(Protocol):
    """What the admin API needs of a `RolloutStore`."""

    async def history(self, route: str, limit: int = 100) -> list[Event]:
        """Newest first."""
        ...

    async def stages(self, route: str, limit: int = 100) -> list[tuple[str, int, str]]:
        """(version, epoch, stage) of all evidence that is kept, that of earlier versions too; newest first."""
        ...

    async def evidence(self, route: str, version: str, epoch: int, stage: str) -> Evidence: ...


class Operations(Protocol):
    """What the admin API asks of the control process. Documents have the shapes that `proxy.admin.api` lists."""

    def routes(self) -> list[dict[str, Any]]: ...

    def route(self, name: str) -> dict[str, Any] | None: ...

    async def command(self, route: str, verb: Verb, *, actor: str, reason: str, full: bool = False) -> dict[str, Any]:
        """Carry out an operator's verb; answers the route. KeyError where the route has no rollout, CommandError where
        its phase does not allow the verb, ConflictError where someone else was faster. `full` goes with promote."""
        ...

    def explain(self, route: str, key: bytes) -> dict[str, Any] | None:
        """Which arm a user's key goes to, now and at each stage, and why. None where the route has no rollout. The key
        is as `proxy.routing.explain` wants it; it is neither logged nor kept."""
        ...

    def costs(self, route: str) -> Mapping[tuple[str, str], float]:
        """What its misses cost, by (legacy's decision, the agent's), as far as it is not 1."""
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


class PersonEraser(Protocol):
    """What the admin API needs to forget one person."""

    async def erase(
        self, key: bytes, *, route: str | None, salts: Sequence[str], actor: str, reason: str
    ) -> dict[str, Any]:
        """Erase what is kept of requests that carried the key, on all routes with a rollout or on one. The answer is
        `proxy.admin.erasure`'s. KeyError where the route has none and no salt is given, CommandError while another
        erasure is under way."""
        ...


class SpanTaker(Protocol):
    """What the admin API does with agents' spans."""

    def forward(self, body: bytes, digest: bytes, headers: Mapping[str, str], spans: int) -> None:
        """Hand a request on, as it came, to the collector where there is one: later, and without waiting for it.
        `digest` is of the request unpacked: one that was handed on is not handed on again. `headers` say what the body
        is."""
        ...

    async def take(self, spans: Sequence[Span], malformed: int) -> int:
        """Keep what belongs to requests of ours, and count everything. How many spans there was no room for.

        After StoreUnavailableError all may be sent again; what was kept then is kept once.
        """
        ...
