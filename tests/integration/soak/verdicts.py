"""Whether what became of one request is what must become of it, judged by what both upstreams saw."""

from collections.abc import Callable

import orjson

from proxy.gateway.request import REPLAY
from proxy.model.words import Arm, Failure
from tests.integration.soak.acts import BODILESS, Act, answer_body
from tests.integration.soak.plan import Ask
from tests.integration.soak.upstream import FaultyUpstream, Seen
from tests.integration.soak.visits import Outcome

MOST_TRIES = 3
"""The first, one for a connection that was closed, and what the configuration allows."""


class Judge:
    """`bucket` is the bucket of a user; the weight has always been in `weights` (lowest, highest)."""

    def __init__(
        self, human: FaultyUpstream, agent: FaultyUpstream, bucket: Callable[[bytes], int], weights: tuple[int, int]
    ) -> None:
        self._human, self._agent, self._bucket, self._weights = human, agent, bucket, weights

    def wrong(self, outcome: Outcome) -> str:
        """What is wrong; empty where nothing is."""
        try:
            self._check(outcome)
        except AssertionError as error:
            ask = outcome.ask
            start = outcome.answer.start if outcome.answer else outcome.cut or "left"
            seen = [self._human.log.get(ask.number), self._agent.log.get(ask.number)]
            return f"{ask}: {outcome.interims} {start}: {error}; seen: {seen}"
        return ""

    def _check(self, outcome: Outcome) -> None:
        ask = outcome.ask
        legacy, canary = self._human.log.get(ask.number, []), self._agent.tries(ask.number, "canary")
        self._check_tries(ask, legacy, canary)
        answer = outcome.answer
        served = legacy or canary
        if outcome.cut:
            assert served, "cut, and nobody has seen it"
            assert served[-1].act.left or served[-1].act.open_end, "cut for no reason"
        elif answer is not None and answer["x-number"] is not None:
            self._check_answer(outcome, legacy, canary)
        elif answer is not None and answer.status != 408:
            _check_error(ask, answer.status, _word(answer.body), served)
        allowed = {100} if ask.expects or outcome.answer is None or not ask.size else set()
        allowed |= {100, 103} if any(seen.act.name == "interim" for seen in legacy) else {100}
        assert set(outcome.interims) <= allowed, f"interim answers {outcome.interims}"

    def _check_tries(self, ask: Ask, legacy: list[Seen], canary: list[Seen]) -> None:
        """Nothing is done twice that must not be, and each arm sees only what is for it."""
        most = MOST_TRIES if ask.repeatable else 1
        assert len(legacy) <= most, f"legacy was asked {len(legacy)} times"
        assert len(canary) <= most, f"the agent was asked {len(canary)} times"
        copies = len(self._agent.tries(ask.number, "shadow"))
        assert copies <= most, f"it was copied {copies} times"
        assert not copies or not canary, "the agent was asked, and had a copy"
        assert not copies or not ask.upgrade, "the copy of a tunnel"
        assert len({seen.mode for seen in legacy}) <= 1, "legacy was asked in two modes"
        if ask.route == "plain":
            assert not copies, "a copy where there is no rollout"
            assert not canary, "the agent was asked where there is no rollout"
            return
        bucket, (low, high) = self._bucket(ask.user.encode()), self._weights
        if bucket < low:
            assert not copies, "the agent serves this user"
            assert all(seen.mode == "fallback" for seen in legacy), "the agent serves this user"
        if bucket >= high:
            assert not canary, "the agent does not serve this user"
            assert all(seen.mode == "legacy" for seen in legacy), "the agent does not serve this user"

    def _check_answer(self, outcome: Outcome, legacy: list[Seen], canary: list[Seen]) -> None:
        ask, answer = outcome.ask, outcome.answer
        assert answer is not None
        arm, number = answer["x-crossfade-arm"] or "", ask.number
        assert (answer["x-number"], answer["x-by"]) == (str(number), arm), "another's answer"
        assert answer["x-request-id"] == f"n{number}"
        tries = legacy if arm == Arm.LEGACY.value else canary
        assert tries, "that arm has not seen it"
        assert arm == Arm.LEGACY.value or not legacy, "legacy was asked, and the agent answered"
        last = tries[-1]
        assert (answer["x-mode"], answer["x-try"]) == (last.mode, str(len(tries))), "an answer of another try"
        if answer.status == 101:
            assert ask.upgrade
            assert last.act.name == "length"
            return
        assert last.act.whole or last.act.open_end, "an answer that was never whole"
        assert answer.status == last.act.status
        if ask.method != "HEAD":
            assert answer.body == answer_body(number, arm, last.act), "another body"
            assert (last.act.name in BODILESS) == (answer.body == b"")
        if last.mode == "fallback":
            assert not canary or not _good(canary[-1].act), "the agent had served it"
            assert canary or last.reason, "legacy was not told why"
        elif arm == Arm.AGENT.value and last.act.failure is not None:
            assert len(ask.body) > REPLAY, "legacy could have taken over"


def _good(act: Act) -> bool:
    return act.failure is None and not act.open_end


def _hands_on(act: Act) -> bool:
    """Whether the gateway turns from such an answer of the agent to legacy."""
    return act.failure in (Failure.SERVER_ERROR, Failure.ESCALATION, Failure.TIMEOUT)


def _check_error(ask: Ask, status: int, word: str, served: list[Seen]) -> None:
    """An answer of the gateway's own."""
    last = served[-1].act if served else None
    if status == 504:
        assert last is not None, "it was never asked"
        assert last.failure is Failure.TIMEOUT, "no upstream was silent"
        assert word in ("upstream_timeout", "")
    elif status == 502:
        assert word in ("upstream_reset", ""), word
        if last is None or _hands_on(last):  # it went out on a connection that was just being closed
            assert not ask.repeatable or len(ask.body) > REPLAY, "it could have been sent once more"
        else:
            assert last.failure is Failure.RESET or last.open_end, "no upstream broke off"
    else:
        assert (status, word) in ((503, "overloaded"), (503, "")), f"{status} {word}"
        assert last is None or not _good(last), "it was answered"


def _word(body: bytes) -> str:
    return str(orjson.loads(body)["error"]) if body else ""
