"""The human queue hears of each escalation: with a real store and a real server, each of which goes away."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
from aiohttp import web
from structlog.testing import capture_logs

from proxy.config.schema import Config
from proxy.control.notifying import AT_ONCE, Notifier
from proxy.control.webhook import signature
from proxy.routing.link import verify
from proxy.storage import keys
from proxy.storage.connection import Client, ask, connect
from proxy.storage.escalations import EscalationStore
from proxy.storage.pairs import PairStore
from proxy.storage.reading import PairArchive
from proxy.storage.untold import UntoldStore
from proxy.telemetry.clock import SystemClock
from proxy.telemetry.families import WEBHOOKS, WEBHOOKS_WAITING
from proxy.telemetry.metrics import Metrics
from proxy.telemetry.tasks import spawn, stop
from tests.integration.escalation_world import Escalating, HumanQueue, until
from tests.valkey import Valkey

SECRET = "0123456789abcdef"


class Clock(SystemClock):
    """The real one, which can be put forward."""

    ahead = 0.0

    def now(self) -> float:
        return super().now() + self.ahead


def config(hook: str, **escalations: Any) -> Config:
    webhook = {"url": hook, "timeout": "2s", **escalations.pop("webhook", {})}
    rollout = {"agent": "agent", "version": "1", "salt": "s"}
    return Config.model_validate(
        {
            "upstreams": {"human": {"url": "http://127.0.0.1:1"}, "agent": {"url": "http://127.0.0.1:2"}},
            "routes": [
                {"name": name, "match": {"path_prefix": f"/{name}"}, "legacy": "human", "rollout": rollout}
                for name in ("refunds", "claims")
            ],
            "escalations": {"webhook": webhook, **escalations},
        }
    )


class Desk:
    """A replica that leads, and tells."""

    def __init__(self, redis: Client, queue: HumanQueue) -> None:
        self.redis, self.queue = redis, queue
        self.pairs, self.metrics, self.clock = PairStore(redis), Metrics(process=False), Clock()
        self.escalating = Escalating(self.pairs)
        self.config, self.leads = config(queue.url), True
        self.notifier = Notifier(
            UntoldStore(redis),
            EscalationStore(redis, PairArchive(redis)),
            lambda: self.config,
            lambda: self.leads,
            self.metrics,
            self.clock,
            look=0.02,
            jitter=lambda most: most,
        )

    def counted(self, result: str) -> float:
        return self.metrics._counters[WEBHOOKS.name][(result,)]

    async def rest(self) -> None:
        """We lead no more."""
        self.leads = False
        await until(lambda: not self.notifier._routes)

    async def waiting(self, route: str = "refunds") -> int:
        return int(await ask(self.redis, "ZCARD", keys.untold(route)))

    async def all_told(self) -> bool:
        return await self.waiting() == 0


@asynccontextmanager
async def at_work(url: str, queue: HumanQueue) -> AsyncIterator[Desk]:
    redis = connect(url, connect_timeout=0.5, timeout=0.5)
    desk = Desk(redis, queue)
    work = spawn(desk.notifier.run(), "notifier")
    try:
        yield desk
    finally:
        await stop(work)
        await redis.aclose()


@pytest.fixture
async def queue() -> AsyncIterator[HumanQueue]:
    queue = HumanQueue()
    await queue.start()
    yield queue
    queue.hang.set()
    await queue.stop()


@pytest.fixture
async def desk(valkey: Valkey, queue: HumanQueue) -> AsyncIterator[Desk]:
    async with at_work(valkey.url, queue) as desk:
        yield desk


async def test_each_is_told_once(desk: Desk) -> None:
    await desk.escalating.write(1, 2)
    await desk.escalating.write(3, reason="confidence")
    await until(lambda: len(desk.queue.came) == 3)
    await until(desk.all_told)
    assert sorted(desk.queue.ids) == ["e1", "e2", "e3"]
    assert desk.counted("sent") == 3
    assert await ask(desk.redis, "GET", keys.told("refunds")) is not None


async def test_what_the_queue_hears(desk: Desk) -> None:
    await desk.rest()
    desk.config = config(
        desk.queue.url,
        url="https://crossfade.example.com/",
        secret=SECRET,
        webhook={"headers": {"authorization": "Bearer of-the-queue"}},
    )
    desk.leads = True
    await desk.escalating.write(1)
    await until(lambda: len(desk.queue.came) == 1)
    headers, body = desk.queue.came[0]
    told = orjson.loads(body)
    link, steps = told.pop("link"), told.pop("steps")
    assert told.pop("pair_id").startswith("refunds.")
    assert told == {
        "id": "e1",
        "route": "refunds",
        "at": "2026-11-22T08:00:01.000Z",
        "reason": "timeout",
        "detail": "no answer within 20 s",
        "request_id": "r1",
        "trace_id": f"{1:032x}",
        "version": "v1",
        "stage": "canary",
        "method": "POST",
        "target": "/refunds",
        "duration": 20.0,
    }
    assert [step["name"] for step in steps] == ["look_up"]
    assert "o1" not in body.decode(), "what went into a tool stays behind the link"
    where, _, query = link.partition("?")
    assert where == "https://crossfade.example.com/escalations/refunds/e1"
    expires, signed = (part.partition("=")[2] for part in query.split("&"))
    assert verify(SECRET, "refunds", "e1", int(expires), signed, desk.clock.now()) == ""
    assert headers["idempotency-key"] == "e1"
    assert headers["content-type"] == "application/json"
    assert headers["authorization"] == "Bearer of-the-queue"
    at = int(headers["x-crossfade-signature"].partition(",")[0].removeprefix("t="))
    assert headers["x-crossfade-signature"] == signature(SECRET, body, at)


async def test_without_a_secret_nothing_is_signed_and_there_is_no_link(desk: Desk) -> None:
    await desk.escalating.write(1)
    await until(lambda: len(desk.queue.came) == 1)
    headers, body = desk.queue.came[0]
    assert "x-crossfade-signature" not in headers
    assert orjson.loads(body)["link"] is None


async def test_of_a_pair_that_is_gone_it_is_told_that_there_was_one(desk: Desk) -> None:
    await desk.rest()
    await desk.escalating.write(1)
    await ask(desk.redis, "DEL", keys.pairs("refunds"))
    desk.leads = True
    await until(lambda: len(desk.queue.came) == 1)
    told = orjson.loads(desk.queue.came[0][1])
    assert (told["id"], told["reason"], told["request_id"]) == ("e1", "timeout", None)


@pytest.mark.parametrize("status", [500, 503, 408, 425, 429, 302])
async def test_what_may_pass_is_tried_again_with_the_same_key(desk: Desk, status: int) -> None:
    said = [web.Response(status=status), web.Response(status=status)]
    desk.queue.answers = lambda _: said.pop() if said else web.Response()
    await desk.escalating.write(1)
    await until(lambda: len(desk.queue.came) == 1)
    await until(lambda: desk.counted("retried") == 1)
    desk.clock.ahead = 2.5  # the first pause is 2 s here, the second 4
    await until(lambda: desk.counted("retried") == 2)
    desk.clock.ahead = 7.0
    await until(desk.all_told)
    assert {headers["idempotency-key"] for headers, _ in desk.queue.came} == {"e1"}
    assert (len(desk.queue.came), desk.counted("sent"), desk.counted("given_up")) == (3, 1, 0)


@pytest.mark.parametrize("status", [400, 401, 404, 410, 422])
async def test_what_the_queue_refuses_is_given_up(desk: Desk, status: int) -> None:
    desk.queue.answers = lambda _: web.Response(status=status, text="a secret of the queue's")
    with capture_logs() as logged:
        await desk.escalating.write(1)
        await until(lambda: desk.counted("given_up") == 1)
        await until(desk.all_told)
    (line,) = [line for line in logged if line["event"] == "escalation_not_told"]
    assert (line["id"], line["route"], line["problem"]) == ("e1", "refunds", f"status {status}")
    assert "secret" not in str(logged)
    assert len(desk.queue.came) == 1


async def test_after_give_up_it_is_tried_no_more(desk: Desk) -> None:
    await desk.rest()
    desk.config = config(desk.queue.url, webhook={"give_up": "10s"})
    desk.leads = True
    desk.queue.answers = lambda _: web.Response(status=500)
    await desk.escalating.write(1)
    await until(lambda: desk.counted("retried") == 1)
    desk.clock.ahead = 9.0
    await until(lambda: desk.counted("given_up") == 1)
    await until(desk.all_told)
    assert len(desk.queue.came) == 2


async def test_one_that_waited_for_longer_than_that_is_tried_once(desk: Desk) -> None:
    await desk.rest()
    desk.config = config(desk.queue.url, webhook={"give_up": "10s"})
    await desk.escalating.write(1)
    desk.clock.ahead = 60.0
    desk.leads = True
    await until(lambda: desk.counted("sent") == 1)


async def test_retry_after_is_waited_for(desk: Desk) -> None:
    said = [web.Response(status=429, headers={"retry-after": "100"})]
    desk.queue.answers = lambda _: said.pop() if said else web.Response()
    await desk.escalating.write(1)
    await until(lambda: desk.counted("retried") == 1)
    (member,) = await ask(desk.redis, "ZRANGE", keys.untold("refunds"), 0, -1)
    assert float(await ask(desk.redis, "ZSCORE", keys.untold("refunds"), member)) == pytest.approx(
        desk.clock.now() + 100, abs=5
    )
    desk.clock.ahead = 101.0
    await until(lambda: desk.counted("sent") == 1)


async def test_one_that_always_fails_holds_up_no_other(desk: Desk) -> None:
    desk.queue.answers = lambda told: web.Response(status=500 if told["id"] == "e1" else 200)
    await desk.escalating.write(1)
    await until(lambda: desk.counted("retried") == 1)
    await desk.escalating.write(*range(2, 30))
    await until(lambda: desk.counted("sent") == 28)
    assert await desk.waiting() == 1
    assert desk.metrics._gauges[WEBHOOKS_WAITING.name][("refunds",)] >= 1


async def test_a_queue_that_hangs_is_asked_for_a_few_at_a_time_and_hears_all_in_the_end(desk: Desk) -> None:
    await desk.rest()
    desk.config = config(desk.queue.url, webhook={"timeout": "300ms"})
    desk.leads = True
    desk.queue.hang.clear()
    await desk.escalating.write(*range(12))
    await until(lambda: len(desk.queue.came) == AT_ONCE)
    assert desk.counted("sent") == 0
    await until(lambda: desk.counted("retried") == 12)
    desk.queue.hang.set()
    desk.clock.ahead = 30.0
    await until(desk.all_told)
    assert set(desk.queue.ids) == {f"e{number}" for number in range(12)}


async def test_a_route_that_waits_holds_up_no_other(desk: Desk) -> None:
    desk.queue.answers = lambda told: web.Response(status=500 if told["route"] == "refunds" else 200)
    await desk.escalating.write(*range(20))
    await until(lambda: desk.counted("retried") >= AT_ONCE)
    await desk.escalating.write(100, 101, route="claims")
    await until(lambda: desk.counted("sent") == 2)
    assert await desk.waiting("claims") == 0


async def test_a_queue_that_is_away_hears_all_when_it_is_back(desk: Desk) -> None:
    await desk.queue.stop()
    await desk.escalating.write(1, 2)
    await until(lambda: desk.counted("retried") == 2)
    await desk.queue.start()
    desk.clock.ahead = 3.0
    await until(desk.all_told)
    assert sorted(desk.queue.ids) == ["e1", "e2"]


async def test_who_does_not_lead_tells_nobody(desk: Desk) -> None:
    await desk.rest()
    await desk.escalating.write(1)
    assert desk.queue.came == []
    assert desk.metrics._gauges[WEBHOOKS_WAITING.name] == {}
    desk.leads = True
    await until(lambda: desk.queue.ids == ["e1"])


async def test_a_leader_that_dies_after_the_post_makes_the_next_one_send_again(
    valkey: Valkey, queue: HumanQueue
) -> None:
    queue.hang.clear()
    async with at_work(valkey.url, queue) as first:
        await first.escalating.write(1)
        await until(lambda: len(queue.came) == 1)
    queue.hang.set()
    async with at_work(valkey.url, queue) as second:
        await until(second.all_told)
    assert queue.ids == ["e1", "e1"]
    assert {headers["idempotency-key"] for headers, _ in queue.came} == {"e1"}


async def test_with_the_store_killed_nothing_is_lost_or_sent_again(desk: Desk, valkey: Valkey) -> None:
    """It dies while the queue thinks; the same replica knows what it had sent."""
    desk.queue.hang.clear()
    await desk.escalating.write(1)
    await until(lambda: len(desk.queue.came) == 1)
    valkey.kill()
    desk.queue.hang.set()
    await until(lambda: desk.counted("sent") == 1)
    valkey.start()
    await until(desk.all_told)
    await desk.escalating.write(2)
    await until(lambda: desk.counted("sent") == 2)
    assert desk.queue.ids == ["e1", "e2"]


async def test_a_store_that_was_away_before_the_post_delays_it(desk: Desk, valkey: Valkey) -> None:
    await desk.queue.stop()
    await desk.escalating.write(1, 2)
    await until(lambda: desk.counted("retried") == 2)
    valkey.kill()
    await desk.queue.start()
    valkey.start()
    desk.clock.ahead = 3.0
    await until(desk.all_told)
    assert sorted(desk.queue.ids) == ["e1", "e2"]


async def test_a_new_configuration_is_followed(desk: Desk) -> None:
    desk.config = desk.config.model_copy(update={"escalations": type(desk.config.escalations)()})
    await until(lambda: not desk.notifier._routes)
    await desk.escalating.write(1)
    desk.config = config(desk.queue.url)
    await until(lambda: desk.queue.ids == ["e1"])
