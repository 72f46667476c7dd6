"""The agent: quicker than the human workflow, with an opinion of its own that is nearly always the same.

It learned the rules from examples, so its limits lie a little beside the house's (about 98.5 % of its decisions agree),
and what it cannot judge it hands over with `x-crossfade-escalate`. `POST /_demo/mode {"mode": ...}` from loopback makes
it fail: `healthy`, `failing` (500 to everything) or `hanging` (never answers).

Run it alone with `python -m proxy.demo.agent --port 9002`.
"""

import asyncio
import ipaddress
import math
from enum import StrEnum
from typing import Final

import click
from aiohttp import web
from pydantic import BaseModel, ValidationError

from proxy.demo.refunds import Decision, Opinion, RefundRequest
from proxy.demo.service import LOOPBACK, Latency, application, run

DAYS: Final = {"damaged": 60, "wrong_item": 29, "late": 29, "changed_mind": 15}
"""How old the agent thinks an order may be. There is no entry for `other`: a free text is nothing it can judge."""

_MAX_REFUNDS: Final = 4
_CHANGED_MIND_LIMIT: Final = 320.0


def opinion(asked: RefundRequest) -> tuple[Opinion, str, float]:
    """The decision, the ground for it, and how sure the agent is (0.5 to 1: less near a limit)."""
    if asked.reason not in DAYS:
        return "needs_review", "unclear_reason", 0.5
    days_left = DAYS[asked.reason] - asked.order_age_days
    confidence = round(1 - 0.5 * math.exp(-abs(days_left + 0.5)), 3)
    if days_left < 0:
        return "denied", f"older than {DAYS[asked.reason]} days", confidence
    if asked.refunds_last_year >= _MAX_REFUNDS:
        return "denied", "too many refunds", confidence
    if asked.reason == "changed_mind" and asked.amount > _CHANGED_MIND_LIMIT:
        return "denied", "too much for a change of mind", confidence
    return "approved", "looks like what was approved before", confidence


class Health(StrEnum):
    HEALTHY = "healthy"
    FAILING = "failing"
    HANGING = "hanging"


class _Mode(BaseModel):
    mode: Health


class _Switch:
    """The agent's health. Whoever hangs is let go when it changes."""

    def __init__(self) -> None:
        self.health = Health.HEALTHY
        self.changed = asyncio.Event()

    def set(self, health: Health) -> None:
        self.health = health
        self.changed.set()
        self.changed = asyncio.Event()


def agent(seed: int) -> web.Application:
    """The application, with the switch that makes it fail."""
    latency = Latency(0.006, 0.020, seed)
    switch = _Switch()

    async def answer(_request: web.Request, asked: RefundRequest) -> web.Response:
        if switch.health is Health.HANGING:
            await switch.changed.wait()
        if switch.health is Health.FAILING:
            return web.json_response({"error": "model_unavailable"}, status=500)
        await latency.pass_by()
        decision, why, confidence = opinion(asked)
        made = Decision(
            id=asked.id,
            decision=decision,
            amount=asked.amount if decision == "approved" else 0.0,
            why=why,
            decided_by="agent",
            confidence=confidence,
        )
        headers = {"x-crossfade-escalate": why} if decision == "needs_review" else {}
        return web.json_response(text=made.model_dump_json(), headers=headers)

    async def set_mode(request: web.Request) -> web.Response:
        if not _is_loopback(request.remote):
            return web.json_response({"error": "forbidden", "detail": "from loopback only"}, status=403)
        try:
            switch.set(_Mode.model_validate_json(await request.read()).mode)
        except ValidationError:
            detail = f"mode is one of {', '.join(Health)}"
            return web.json_response({"error": "bad_request", "detail": detail}, status=400)
        return web.json_response({"mode": switch.health})

    async def let_go(_app: web.Application) -> None:
        switch.set(Health.HEALTHY)

    app = application(answer)
    app.router.add_post("/_demo/mode", set_mode)
    app.on_shutdown.append(let_go)
    return app


def _is_loopback(address: str | None) -> bool:
    return address is not None and ipaddress.ip_address(address).is_loopback


@click.command()
@click.option("--host", default=LOOPBACK, show_default=True)
@click.option("--port", default=9002, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free one.")
@click.option("--seed", default=2, show_default=True, help="Of the latencies.")
def main(host: str, port: int, seed: int) -> None:
    """The demonstration's agent: POST /refunds."""
    run(agent(seed), host, port)


if __name__ == "__main__":
    main()
