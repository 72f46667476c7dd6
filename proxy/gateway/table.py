"""A snapshot made ready for the hot path: everything that can be computed before a request comes, is.

A `Table` is replaced as a whole when a new snapshot comes; a request keeps the one it started with. What must outlive a
snapshot goes over into the new one: pools of upstreams that did not change, and breakers of the same rollout's epoch.
"""

from collections.abc import Callable
from time import monotonic
from typing import Any, Final

import structlog

from proxy.analysis.breaker import Breaker
from proxy.gateway import context
from proxy.gateway.counters import Counters
from proxy.gateway.evidence import Repeats, Tally
from proxy.gateway.forwarded import Proxies
from proxy.gateway.headers import Names, answer_names, request_names
from proxy.gateway.tls import client_context
from proxy.gateway.turn import Turn
from proxy.gateway.upstream import Upstream
from proxy.model.errors import ConfigError
from proxy.model.snapshot import BUCKETS, CREDENTIALS, MatchSpec, RolloutSpec, RouteSpec, Snapshot, UpstreamSpec
from proxy.model.words import Arm, Fate, Mode, Phase, Reason
from proxy.outcomes.decision import compile_path
from proxy.routing.bucket import bucketer, key_hasher
from proxy.routing.identity import Source, noted_names, sources
from proxy.routing.match import Matcher

_log = structlog.get_logger()

_REPEAT: Final = ("x-crossfade-repeat", "true")
"""The agent is told that it has answered this before: it may answer anew, and must not act."""


class Way:
    """One arm in one mode on one route: where a request goes, what is said to it on top, where it is counted.

    `members` are ours of the headers that tracing carries on, by their name, behind which those of a client go on;
    `fixed` are the lines of those behind which none does. `context` is how all look without a client's. `more` are
    headers of this mode alone, in place of the upstream's own; `word` is what tracing calls the mode."""

    __slots__ = ("agent", "arm", "context", "drops", "fixed", "host", "members", "mode", "says", "tally", "upstream")

    def __init__(
        self,
        route: str,
        arm: Arm,
        mode: Mode,
        upstream: Upstream,
        tally: Tally,
        more: tuple[tuple[str, str], ...] = (),
        word: str = "",
    ) -> None:
        spec = upstream.spec
        self.arm = arm
        self.agent = arm is Arm.AGENT
        self.mode = mode
        self.upstream = upstream
        self.tally = tally
        own = {**dict(spec.set_headers), **dict(more)}
        self.host = own.pop("host", "").encode("latin-1")
        removed = spec.remove_headers
        if removed is None:
            removed = CREDENTIALS if self.agent else ()
        dropped = frozenset(name.encode() for name in (*own, *removed))
        ours = context.own(word or mode.value, route) if self.agent else {}
        self.context = context.lines(ours)
        self.members = {name: member for name, member in ours.items() if name not in dropped}
        self.fixed = context.lines({name: member for name, member in ours.items() if name in dropped})
        self.drops = dropped | frozenset(self.members)
        lines = [f"x-crossfade-mode: {mode.value}\r\nx-crossfade-route: {route}\r\n"]
        lines += [f"{name}: {value}\r\n" for name, value in own.items()]
        self.says = "".join(lines).encode("latin-1")


class Pending:
    """The shadow copies under way on one route, and the bytes of their bodies. `gone`: so is its rollout, and no other
    copy is begun."""

    __slots__ = ("bytes", "copies", "gone")

    def __init__(self) -> None:
        self.copies: set[Any] = set()
        self.bytes = 0
        self.gone = False


class RolloutEntry:
    """A rollout ready for decisions. `requests` numbers them for sampling, `copied` the copies that were answered;
    `recorded` is how a header's line begins in a record, by the header's name, for those that may be recorded.
    `splits`: both arms serve, so that it is worth noting which users each gets. `looked`: when it was last found that
    failures are not the agent's fault (the slot, and whether it let us connect), `accused` why the breaker would trip
    if they were."""

    __slots__ = ("_capped", "_route", "accused", "agents_users", "audit", "audit_share", "breaker", "bucket", "canary",
                 "confidence", "copied", "due", "escalate", "fallback", "fates", "key_hash", "legacy", "legacys_users",
                 "looked", "pending", "record_share", "recorded", "repeat", "repeat_share", "repeats", "requests",
                 "shadow", "shadow_share", "slower_than", "sources", "spec", "splits", "tripped",
                 "weight")  # fmt: skip

    def __init__(self, name: str, spec: RolloutSpec, legacy: Upstream, agent: Upstream, counters: Counters) -> None:
        self.spec = spec
        self.weight = spec.weight
        self.record_share = spec.record.share
        self.due = counters.due(name)
        names = [name.encode("latin-1") for name in spec.record.headers]
        self.recorded = {name: b"%b: " % name for name in names}
        self.shadow_share = spec.shadow.share
        self.slower_than = spec.slower_than
        evidence = (name, spec.version, spec.stage, str(spec.epoch))
        self.splits = 0 < spec.weight < BUCKETS
        self.legacys_users = counters.users((*evidence, str(spec.weight), Arm.LEGACY.value))
        self.agents_users = counters.users((*evidence, str(spec.weight), Arm.AGENT.value))

        def way(arm: Arm, mode: Mode, upstream: Upstream, more: tuple[tuple[str, str], ...] = ()) -> Way:
            return Way(name, arm, mode, upstream, counters.tally(name, arm, mode, evidence), more)

        def beside(arm: Arm, upstream: Upstream, more: tuple[tuple[str, str], ...] = (), word: str = "") -> Way:
            """A copy that is no evidence of what the arm does by itself."""
            return Way(name, arm, Mode.SHADOW, upstream, counters.tally(name, arm, Mode.SHADOW, None), more, word)

        self.legacy = way(Arm.LEGACY, Mode.LEGACY, legacy)
        self.fallback = way(Arm.LEGACY, Mode.FALLBACK, legacy)
        self.canary = way(Arm.AGENT, Mode.CANARY, agent)
        self.shadow = way(Arm.AGENT, Mode.SHADOW, agent, spec.shadow.set_headers)
        self.repeat = beside(Arm.AGENT, agent, (*spec.shadow.set_headers, _REPEAT), "repeat")
        self.audit = beside(Arm.LEGACY, legacy)
        self.audit_share = spec.audit
        self.repeat_share = spec.shadow.repeat
        self.copied = 0
        self.sources: tuple[Source, ...] = sources(spec.key)
        self.bucket = bucketer(spec.salt)
        self.key_hash = key_hasher(spec.salt)
        self._route = name
        self._capped = counters.capped
        self.repeats = {arm: Repeats() for arm in (Arm.LEGACY.value, Arm.AGENT.value)}
        self.breaker = Breaker(spec.breaker.reference, connect_failures=spec.breaker.connect_failures)
        self.tripped = False
        self.looked = (-1, False)
        self.accused = ""
        self.requests = 0
        self.pending = Pending()
        self.escalate = spec.escalate.header.encode()
        path = spec.escalate.confidence_path
        self.confidence: Callable[[Any], Any] | None = compile_path(path) if path else None
        self.fates = {fate.value: (name, fate.value) for fate in Fate}

    def caps(self, bucket: int | None, agent: bool, *, connect: bool) -> bool:
        """Whether a bad outcome is one too many of its user's. A failure to connect says nothing of the user, and of a
        request without a key nobody knows whose it is."""
        if connect or bucket is None:
            return False
        arm = Arm.AGENT.value if agent else Arm.LEGACY.value
        if not self.repeats[arm].too_often(bucket, monotonic()):
            return False
        self._capped[(self._route, arm)] += 1
        return True

    def inherit(self, old: "RolloutEntry") -> None:
        """Go on where the same rollout stood in the last snapshot."""
        self.requests, self.pending, self.repeats = old.requests, old.pending, old.repeats
        self.copied = old.copied
        if (old.spec.version, old.spec.epoch) == (self.spec.version, self.spec.epoch):
            self.breaker, self.tripped, self.accused = old.breaker, old.tripped, old.accused
            self.breaker.refer(self.spec.breaker.reference)


class RouteEntry:
    __slots__ = ("legacy", "name", "reasons", "rollout", "upgrades")

    def __init__(self, spec: RouteSpec, upstreams: dict[str, Upstream], counters: Counters) -> None:
        self.name = spec.name
        self.upgrades = frozenset(protocol.encode() for protocol in spec.upgrades)
        legacy = upstreams[spec.legacy]
        self.rollout: RolloutEntry | None = None
        if spec.rollout is None:
            tally = counters.tally(spec.name, Arm.LEGACY, Mode.LEGACY, None)
            self.legacy = Way(spec.name, Arm.LEGACY, Mode.LEGACY, legacy, tally)
        else:
            agent = upstreams[spec.rollout.agent]
            self.rollout = RolloutEntry(spec.name, spec.rollout, legacy, agent, counters)
            self.legacy = self.rollout.legacy
        self.reasons = {reason.value: (spec.name, reason.value) for reason in Reason}


class Table:
    """What the worker decides by now. `retired` are upstreams of former tables with something under way yet, a list
    that goes from table to table; `orphans` the copies under way of rollouts that are gone."""

    def __init__(self, snapshot: Snapshot, counters: Counters, turn: Turn, last: "Table | None" = None) -> None:
        self.number = snapshot.number
        self.retired: list[Upstream] = last.retired if last is not None else []
        self.orphans: list[Pending] = []
        self.limits = snapshot.limits
        self.access_log = snapshot.access_log
        self.proxies = Proxies(snapshot.listen.trusted_proxies)
        self.override_secret = snapshot.override_secret.encode()
        self.matcher = Matcher(route.match for route in snapshot.routes)
        self.link = snapshot.link
        self.callbacks = snapshot.callbacks
        self.callback_matcher = Matcher(MatchSpec(each.path_prefix, each.host) for each in snapshot.callbacks)
        self.request_names = _request_names(snapshot, last)
        self.upstreams = _upstreams(snapshot, turn, last)
        self.routes = [RouteEntry(route, self.upstreams, counters) for route in snapshot.routes]
        if last is not None:
            _inherit(self.routes, last.routes)
        used = {id(way.tally) for way in self.ways()}
        for _, rollout in self.rollouts():
            used |= {id(rollout.legacys_users), id(rollout.agents_users)}
        counters.retain(used)

    def ways(self) -> list[Way]:
        found = []
        for route in self.routes:
            found.append(route.legacy)
            if (rollout := route.rollout) is not None:
                found += [rollout.fallback, rollout.canary, rollout.shadow, rollout.repeat, rollout.audit]
        return found

    def retire(self, successor: "Table") -> None:
        """Let go of what the next table does not use; it sees to the end of what is under way there."""
        kept = set(map(id, successor.upstreams.values()))
        for upstream in self.upstreams.values():
            if id(upstream) not in kept:
                upstream.retire(self.retired)
        successor.retired[:] = [upstream for upstream in self.retired if upstream.busy or upstream.durations]
        inherited = {id(rollout.pending) for _, rollout in successor.rollouts()}
        gone = [pending for pending in self.pendings() if id(pending) not in inherited]
        for pending in gone:
            pending.gone = True
        successor.orphans = [pending for pending in gone if pending.copies]

    def pendings(self) -> list[Pending]:
        """The copies under way of every rollout, also of those that are gone."""
        return [*(rollout.pending for _, rollout in self.rollouts()), *self.orphans]

    def rollouts(self) -> list[tuple[str, RolloutEntry]]:
        return [(route.name, route.rollout) for route in self.routes if route.rollout is not None]


def _inherit(routes: list[RouteEntry], old: list[RouteEntry]) -> None:
    before = {route.name: route.rollout for route in old}
    for route in routes:
        rollout, last = route.rollout, before.get(route.name)
        if rollout is not None and last is not None:
            rollout.inherit(last)
            if rollout.spec.phase is Phase.DEGRADED:
                rollout.tripped = False  # known to the control process: the weight says it now


def _request_names(snapshot: Snapshot, last: Table | None) -> Names:
    noted = {name.encode() for name in (*CREDENTIALS, "idempotency-key")} | {context.STATE, context.BAGGAGE}
    for upstream in snapshot.upstreams:
        noted.update(name.encode() for name, _ in upstream.set_headers if name != "host")
        noted.update(name.encode() for name in upstream.remove_headers or ())
    for route in snapshot.routes:
        noted.update(name.encode() for name, _ in route.match.headers)
        if route.rollout is not None:
            noted |= noted_names(route.rollout.key)
            noted.update(name.encode() for name, _ in route.rollout.shadow.set_headers if name != "host")
            noted.update(name.encode() for name in route.rollout.record.headers)
    names = request_names(frozenset(noted), underscores=snapshot.listen.underscore_headers)
    return last.request_names if last is not None and last.request_names.same(names) else names


def _answer_names(snapshot: Snapshot) -> Names:
    noted: set[bytes] = set()
    for route in snapshot.routes:
        if route.rollout is not None:
            noted.add(route.rollout.escalate.header.encode())
            if route.rollout.escalate.confidence_path:
                noted.add(b"content-type")
            noted.update(name.encode() for name in route.rollout.record.headers)
    return answer_names(frozenset(noted))


def _upstreams(snapshot: Snapshot, turn: Turn, last: Table | None) -> dict[str, Upstream]:
    names = _answer_names(snapshot)
    agents = {route.rollout.agent for route in snapshot.routes if route.rollout is not None}
    legacies = {route.legacy for route in snapshot.routes}
    made: dict[str, Upstream] = {}
    for spec in snapshot.upstreams:
        backs_off = spec.name in agents and spec.name not in legacies
        known = last.upstreams.get(spec.name) if last is not None else None
        if known is not None and _same(known, spec, names, backs_off=backs_off):
            made[spec.name] = known
        else:
            made[spec.name] = _upstream(spec, names, turn, known, backs_off=backs_off)
    return made


def _upstream(spec: UpstreamSpec, names: Names, turn: Turn, known: Upstream | None, *, backs_off: bool) -> Upstream:
    """A new one; or, where its TLS files cannot be used, the `known` one as it is."""
    try:
        context = client_context(spec.name, spec.tls) if spec.tls is not None else None
    except ConfigError as error:
        using = "its former settings" if known is not None else "nothing: it cannot be reached"
        _log.error("upstream_tls_unusable", reason=str(error), using=using)
        return known or Upstream(spec, names, turn, backs_off=backs_off)
    return Upstream(spec, names, turn, backs_off=backs_off, context=context)


def _same(known: Upstream, spec: UpstreamSpec, names: Names, *, backs_off: bool) -> bool:
    return known.spec == spec and known.backs_off == backs_off and known.names.noted == names.noted
