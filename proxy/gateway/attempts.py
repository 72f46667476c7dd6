"""Asking an arm, and what is done when it cannot: once more, or the other arm.

A base class of the exchange, as the accounts are of this: one more object for each request would cost too much. The
rules of this file: nothing is done twice that may not be; once a byte of an answer has left for the client, no other
arm can serve; legacy never falls back.
"""

import asyncio
import random
from time import monotonic, time

from proxy.gateway.accounts import Accounts
from proxy.gateway.connection import Connection
from proxy.gateway.fallback import PartialAnswer, too_unsure, why_not
from proxy.gateway.recording import Notes
from proxy.gateway.reply import Client, Reply
from proxy.gateway.request import Request
from proxy.gateway.shared import Shared
from proxy.gateway.table import RolloutEntry, Way
from proxy.model.errors import NotAskedError, UpstreamError
from proxy.model.words import Failure, Fate
from proxy.routing.link import link


class Attempts(Accounts):
    """`_tries` are those after the first one at this arm, `_stale` says that one was made for a connection that had
    gone stale, `_escalation` are the lines by which legacy hears of the attempt before it. `_over`: the client has its
    answer, or has left."""

    __slots__ = (
        "_client", "_connection", "_escalation", "_over", "_reply", "_stale", "_status", "_tries",
    )  # fmt: skip

    def __init__(self, client: Client, shared: Shared, request: Request) -> None:
        super().__init__(shared, request)
        self._client = client
        self._reply = Reply(client)
        self._connection: Connection | None = None
        self._escalation = b""
        self._status = self._tries = 0
        self._over = self._stale = False

    def _serve(self, way: Way) -> None:
        self._way = way
        self._slot = way.tally.begin()
        upstream = way.upstream
        if upstream.retries:
            upstream.earn_retry()
        self._ask(fresh=False)

    def _ask(self, *, fresh: bool) -> None:
        if not self.request.complete:
            self._client.hold_request(True)  # until there is a connection that the body can go to
        self._way.upstream.ask(self, fresh=fresh)

    @property
    def silent(self) -> bool:
        """Whether nothing of an answer has gone to the client."""
        return not self._reply.left

    # --- once more

    def _may_send_again(self, error: UpstreamError) -> bool:
        """Whether it is not in vain, and nothing is done twice by it: all of the request is there still, and none of it
        has been sent, or it may be repeated."""
        if isinstance(error, NotAskedError) or not self.request.whole:
            return False
        return not error.sent or self.request.repeatable

    def _may_try_again(self, what: str) -> bool:
        upstream = self._way.upstream
        retry = upstream.spec.retry
        return self._tries < retry.attempts and what in retry.on and self.request.whole and upstream.may_retry()

    def _again(self, what: str) -> None:
        """Once more, after a random part of a pause that doubles ("full jitter", M. Brooker, AWS, 2015): those who
        failed together must not come back together."""
        longest = self._way.upstream.spec.retry.backoff * 2**self._tries
        self._tries += 1
        self._count_retry(what)
        if not self.request.complete:
            self._client.hold_request(True)
        asyncio.get_running_loop().call_later(random.uniform(0, longest), self._ask_again)  # noqa: S311  # no secret

    def _ask_again(self) -> None:
        if not self._over:
            self._ask(fresh=True)

    # --- the agent cannot

    def _agent_cannot(self, connection: Connection, rollout: RolloutEntry) -> bool:
        """Whether the answer's head says that the agent could not, and legacy has taken over."""
        told = why_not(rollout, connection)
        if told is None:
            return False
        failure, reason = told
        if not self._can_fall_back(failure):
            return False
        self._connection = None
        if not self.request.complete:
            connection.spoil()
        notes = self._notes
        if notes is None:
            notes = self._begin_notes(rollout)
            notes.answer(connection.noted)
        notes.parts += 1
        connection.taker = PartialAnswer(rollout, connection, self._attempted, failure.value, self._sent_at)
        self._fall_back(failure, reason)
        return True

    def _begin_notes(self, rollout: RolloutEntry) -> Notes:
        """What is handed over to the human is always recorded, with what the agent tried."""
        self._notes = notes = Notes(rollout, time())
        notes.fate = Fate.SAMPLED_OUT.value  # no copy was made where the agent served
        return notes

    def _too_unsure(self, body: bytes) -> bool:
        """Whether the agent's whole answer tells too little confidence, and legacy has taken over."""
        rollout = self._rollout
        if rollout is None or (reason := too_unsure(rollout, body)) is None:
            return False
        if not self._can_fall_back(Failure.ESCALATION):
            return False
        self._reply.forget()
        if self._notes is None:
            notes = self._begin_notes(rollout)
            notes.answer([])  # its headers are gone by now
            notes.body(body)
        self._fall_back(Failure.ESCALATION, reason)
        return True

    def _can_fall_back(self, failure: Failure) -> bool:
        """Whether legacy can take over after this failure. Where it should but cannot, that is counted."""
        rollout = self._rollout
        if rollout is None or failure not in rollout.spec.fallback.on:
            return False
        if self.request.whole:
            return True
        self._count_missed("body_too_large")
        return False

    def _fall_back(self, failure: Failure, reason: str) -> None:
        """The same request goes to legacy, with the reason of the attempt's end."""
        rollout, shared = self._rollout, self._shared
        assert rollout is not None  # only a rollout has an agent
        shared.counters.fallbacks[(self._route.name, failure.value)] += 1
        duration = monotonic() - self._sent_at
        self._count_outcome(self._way, duration, failed=failure is not Failure.ESCALATION, error=failure)
        escalation = shared.new_request_id()
        self._escalation = b"x-crossfade-escalation: %b\r\nx-crossfade-escalation-reason: %b\r\n" % (
            escalation, reason.encode("latin-1", "replace"),
        )  # fmt: skip
        told = shared.table.link
        if told.url and told.secret:
            expires = int(time() + told.valid)
            where = link(told.url, told.secret, self._route.name, escalation.decode("latin-1"), expires)
            self._escalation += b"x-crossfade-escalation-link: %b\r\n" % where.encode("latin-1")
        notes = self._notes
        if notes is None:
            notes = self._begin_notes(rollout)
        notes.agent = notes.outcome(self._status, duration, failure.value, self._first_byte)
        notes.forget()
        notes.escalation, notes.why = escalation, reason
        shared.handed.add(self)
        self._tries = 0
        self._stale = False
        self._sent_at = monotonic()
        self._first_byte = 0.0
        self._serve(rollout.fallback)
