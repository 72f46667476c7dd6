"""The copies of a request: to the agent while legacy serves, to the agent once more, to legacy after the agent served.

A base class of the exchange, as `attempts` is of this. The rules of this file: a copy delays, fails and changes no
answer; each request on a rollout's route counts one fate; a human is asked once, so what legacy had to take over, or
will have to, is not copied to it.
"""

from proxy.gateway.attempts import Attempts
from proxy.gateway.recording import Draft
from proxy.gateway.reply import Client
from proxy.gateway.request import Request
from proxy.gateway.shadow import ShadowCopy
from proxy.gateway.shared import Shared
from proxy.gateway.table import RolloutEntry, Way
from proxy.model.words import Fate
from proxy.routing.decide import sampled


class Copies(Attempts):
    """`_wants_copy`: the agent gets one as soon as the request is whole. `_audits`: legacy gets one when the agent has
    served."""

    __slots__ = ("_audits", "_wants_copy")

    def __init__(self, client: Client, shared: Shared, request: Request) -> None:
        super().__init__(client, shared, request)
        self._wants_copy = self._audits = False

    def _copy(self, rollout: RolloutEntry, way: Way) -> None:
        """Send the arm that does not serve its copy, within the bounds."""
        self._wants_copy = False
        if self.request.size > rollout.spec.shadow.max_body:
            self._count_fate(rollout, Fate.OVERSIZED)
        elif not self._room(rollout, way):
            self._count_fate(rollout, Fate.DROPPED)
        else:
            if self._notes is not None:
                self._notes.parts += 1
            way.upstream.ask(
                ShadowCopy(self.request, rollout, way, self._bucket, self._copied, recording=self._notes is not None)
            )

    def _room(self, rollout: RolloutEntry, way: Way) -> bool:
        spec, pending = rollout.spec.shadow, rollout.pending
        return not (
            pending.gone
            or len(pending.copies) >= spec.max_pending
            or pending.bytes + self.request.size > spec.max_pending_bytes
            or way.upstream.full
            or way.upstream.waiting
        )

    def _no_copy(self, fate: Fate) -> None:
        """It will not come to a copy."""
        if (self._wants_copy or self._audits) and self._rollout is not None:
            self._wants_copy = self._audits = False
            self._count_fate(self._rollout, fate)

    def _audit(self, *, served: bool) -> None:
        """The agent has served, or could not: now a human may judge it, who does not have the request already."""
        rollout = self._rollout
        if not self._audits or rollout is None:
            return
        if not served:
            self._no_copy(Fate.SAMPLED_OUT)
        elif not self.request.whole:
            self._no_copy(Fate.OVERSIZED)
        else:
            self._audits = False
            self._copy(rollout, rollout.audit)

    def _copied(self, fate: Fate, draft: Draft | None) -> None:
        """The copy has met its fate."""
        rollout, notes = self._rollout, self._notes
        assert rollout is not None  # only a rollout's request is copied
        self._count_fate(rollout, fate)
        if notes is None:
            return
        if draft is not None:
            if self._way.agent:
                notes.legacy = draft
            else:
                notes.agent = draft
                if fate is Fate.MIRRORED and draft.status < 500:
                    self._repeat(rollout)
        self._part_done(notes)

    def _repeat(self, rollout: RolloutEntry) -> None:
        """Ask the agent the same once more, of some: how far it differs from itself is its own noise."""
        count, way = rollout.copied, rollout.repeat
        rollout.copied = count + 1
        if not sampled(count, rollout.repeat_share) or not self._room(rollout, way):
            return
        assert self._notes is not None  # only what is recorded is repeated
        self._notes.parts += 1
        way.upstream.ask(ShadowCopy(self.request, rollout, way, self._bucket, self._repeated, recording=True))

    def _repeated(self, fate: Fate, draft: Draft | None) -> None:
        notes = self._notes
        if notes is None:
            return
        if draft is not None and fate is Fate.MIRRORED:
            notes.repeat = draft
        self._part_done(notes)
