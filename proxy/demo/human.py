"""The human workflow: a service that decides refund requests by the house's rules, at a person's (accelerated) pace.

Run it alone with `python -m proxy.demo.human --port 9001`.
"""

from typing import Final

import click
from aiohttp import web

from proxy.demo.refunds import Decision, Opinion, RefundRequest
from proxy.demo.service import LOOPBACK, Latency, application, run

DAYS: Final = {"damaged": 60, "wrong_item": 30, "late": 30, "changed_mind": 14, "other": 30}
"""How old an order may be, by reason."""

_MAX_REFUNDS: Final = 4
_CHANGED_MIND_LIMIT: Final = 400.0
_OTHER_LIMIT: Final = 100.0


def opinion(asked: RefundRequest) -> tuple[Opinion, str]:
    """The decision and the rule behind it."""
    if asked.order_age_days > DAYS[asked.reason]:
        return "denied", f"older than {DAYS[asked.reason]} days"
    if asked.refunds_last_year >= _MAX_REFUNDS:
        return "denied", f"{asked.refunds_last_year} refunds in a year"
    if asked.reason == "changed_mind" and asked.amount > _CHANGED_MIND_LIMIT:
        return "denied", f"over {_CHANGED_MIND_LIMIT:.0f} euros the goods come back first"
    if asked.reason == "other" and asked.amount > _OTHER_LIMIT:
        return "denied", f"over {_OTHER_LIMIT:.0f} euros a reason is needed"
    return "approved", "within the rules"


def human(seed: int) -> web.Application:
    """The application. What an agent handed over is answered like anything else, and says so."""
    latency = Latency(0.020, 0.060, seed)

    async def answer(request: web.Request, asked: RefundRequest) -> web.Response:
        await latency.pass_by()
        decision, why = opinion(asked)
        made = Decision(
            id=asked.id,
            decision=decision,
            amount=asked.amount if decision == "approved" else 0.0,
            why=why,
            decided_by="human",
            handed_over=request.headers.get("x-crossfade-escalation-reason", ""),
        )
        return web.json_response(text=made.model_dump_json())

    return application(answer)


@click.command()
@click.option("--host", default=LOOPBACK, show_default=True)
@click.option("--port", default=9001, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free one.")
@click.option("--seed", default=1, show_default=True, help="Of the latencies.")
def main(host: str, port: int, seed: int) -> None:
    """The demonstration's human workflow: POST /refunds."""
    run(human(seed), host, port)


if __name__ == "__main__":
    main()
