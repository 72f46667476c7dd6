"""The users: a stream of refund requests at a bounded rate, each answer checked.

Arrivals are a Poisson process (people do not come in step), the users come in shuffled rounds so that each of them asks
about equally often. Every answer must be a decision for the id that was asked; anything else is a failed answer.
"""

import asyncio
import time
from collections import Counter
from random import Random
from typing import Any, Final

import aiohttp
from pydantic import ValidationError

from proxy.demo.census import Answer
from proxy.demo.refunds import Customer, Decision
from proxy.telemetry.tasks import spawn, stop

_TIMEOUT: Final = 15.0
_MAX_IN_FLIGHT: Final = 256
_MAX_FAILURES_KEPT: Final = 20


class Users:
    """`population` users who together ask `rate` times a second, `limit` times in all.

    `answers` are the good ones, in the order they came (at most `limit`); `failures` the first 20 that were not, in
    words. Nothing is sent while `_MAX_IN_FLIGHT` requests are under way: those arrivals are skipped and counted.
    """

    def __init__(self, url: str, *, rate: float, seed: int, population: int = 300, limit: int = 30_000) -> None:
        self._url, self._rate, self._limit = url, rate, limit
        self._random = Random(seed)
        self._customers = [Customer.draw(number, self._random) for number in range(population)]
        self._in_flight: set[asyncio.Task[None]] = set()
        self._tally: Counter[int] = Counter()
        self.sent = self.failed = self.skipped = 0
        self.answers: list[Answer] = []
        self.failures: list[str] = []

    @property
    def population(self) -> int:
        return len(self._customers)

    @property
    def statuses(self) -> dict[int, int]:
        """Answers by status; 0 stands for no answer at all."""
        return dict(self._tally)

    async def run(self) -> None:
        """Ask until the limit is reached or the task is cancelled. `drain` then waits for what is under way."""
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT)
        connector = aiohttp.TCPConnector(limit=_MAX_IN_FLIGHT)
        async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
            try:
                await self._arrive(session)
            finally:
                await self._drain()

    async def _arrive(self, session: aiohttp.ClientSession) -> None:
        due = time.monotonic()
        while self.sent < self._limit:
            for customer in self._random.sample(self._customers, len(self._customers)):
                due += self._random.expovariate(self._rate)
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                if len(self._in_flight) >= _MAX_IN_FLIGHT:
                    self.skipped += 1
                    continue
                self._ask(session, customer)
                if self.sent >= self._limit:
                    return

    def _ask(self, session: aiohttp.ClientSession, customer: Customer) -> None:
        number = self.sent
        self.sent += 1
        body = customer.ask(number, self._random)
        task = spawn(self._exchange(session, body.id, body.user, body.model_dump()), f"user request {number}")
        self._in_flight.add(task)
        task.add_done_callback(self._in_flight.discard)

    async def _exchange(self, session: aiohttp.ClientSession, asked: str, user: str, body: dict[str, Any]) -> None:
        started, begun = time.time(), time.perf_counter()
        status = 0
        try:
            async with session.post(self._url, json=body, headers={"x-user-id": user}) as response:
                status = response.status
                text = await response.text()
                arm = response.headers.get("x-crossfade-arm", "")
        except (aiohttp.ClientError, TimeoutError) as error:
            self._fail(asked, f"no answer: {type(error).__name__} {error}")
        else:
            try:
                decision = read_decision(asked, status, arm, text)
            except ValueError as error:
                self._fail(asked, str(error))
            else:
                duration = time.perf_counter() - begun
                self.answers.append(Answer(started, duration, user, arm, decision.handed_over))
        finally:
            self._tally[status] += 1

    def _fail(self, asked: str, problem: str) -> None:
        self.failed += 1
        if len(self.failures) < _MAX_FAILURES_KEPT:
            self.failures.append(f"{asked}: {problem}")

    async def _drain(self) -> None:
        if self._in_flight:
            _, late = await asyncio.wait(self._in_flight, timeout=_TIMEOUT + 1)
            await stop(*late)


def read_decision(asked: str, status: int, arm: str, text: str) -> Decision:
    """The decision in an answer to the request `asked`. Raises ValueError with what is wrong with it."""
    if status != 200:
        raise ValueError(f"status {status}: {text[:200]}")
    if arm not in {"legacy", "agent"}:
        raise ValueError(f"x-crossfade-arm is {arm!r}")
    try:
        decision = Decision.model_validate_json(text)
    except ValidationError as error:
        raise ValueError(f"no decision: {error.errors()[0]['msg']}: {text[:200]}") from error
    if decision.id != asked:
        raise ValueError(f"a decision for {decision.id}")
    if decision.decision == "needs_review":
        raise ValueError("an escalation reached the user")
    return decision
