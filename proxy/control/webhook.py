"""One POST that tells the human queue of one escalation: what it says, and what the answer to it means.

The body is JSON: what `proxy.outcomes.escalation.summary` has, without the pair's inside, and

    link    the signed page that shows it all; null without escalations.url
    steps   what the agent did, as far as it told, without what went in and out; at most MAX_STEPS

Where the pair is not kept any more, `id`, `route`, `reason`, `at` and `link` alone are known; the others are null.

It may come more than once, always with the same `idempotency-key`: the escalation's id. With escalations.secret it is
signed as Stripe's are: `x-crossfade-signature: t=<unix seconds>,v1=<hex>`, HMAC-SHA256 over `<t>.<body>`.
"""

import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Any, Final, NamedTuple

import aiohttp
import orjson

from proxy import __version__
from proxy.config.sharing_schema import Escalations, Webhook
from proxy.outcomes.escalation import summary
from proxy.routing.link import link
from proxy.storage.escalations import Entry
from proxy.telemetry.clock import rfc3339

MAX_STEPS: Final = 50
LONGEST_WAIT: Final = 3_600.0
"""Seconds: a longer Retry-After is not honoured in full."""

_TRY_AGAIN: Final = frozenset({408, 425, 429})
_INSIDE: Final = frozenset({"arguments", "result"})


class Result(Enum):
    SENT = "sent"
    RETRY = "retried"
    REFUSED = "given_up"


class Answer(NamedTuple):
    """`why` says it for the log; `wait` are the seconds that the queue asked for."""

    result: Result
    why: str = ""
    wait: float = 0.0


def body(route: str, entry: Entry, found: Mapping[str, Any] | None, settings: Escalations) -> bytes:
    """`found` is the escalation as an `EscalationReader` gives it."""
    if found is None:
        empty = summary(route, entry.id, {"id": f"{route}.{entry.pair}"})
        found = {**empty, "at": rfc3339(entry.at), "pair": {}}
    told = {name: value for name, value in found.items() if name != "pair"}
    steps = found["pair"].get("steps", [])[:MAX_STEPS]
    return orjson.dumps(
        {
            **told,
            "reason": entry.reason,
            "link": _link(route, entry, settings),
            "steps": [{name: value for name, value in step.items() if name not in _INSIDE} for step in steps],
        }
    )


def headers(webhook: Webhook, secret: str, escalation_id: str, data: bytes, now: float) -> dict[str, str]:
    sent = {name.lower(): value for name, value in webhook.headers.items()}
    sent |= {
        "content-type": "application/json",
        "user-agent": f"crossfade/{__version__}",
        "idempotency-key": escalation_id,
    }
    if secret:
        sent["x-crossfade-signature"] = signature(secret, data, int(now))
    return sent


def signature(secret: str, data: bytes, at: int) -> str:
    digest = hmac.digest(secret.encode(), b"%d.%b" % (at, data), "sha256")
    return f"t={at},v1={digest.hex()}"


async def post(
    session: aiohttp.ClientSession, webhook: Webhook, headers: Mapping[str, str], data: bytes, now: float
) -> Answer:
    """Redirects are not followed: what was meant for one address is told to no other. Raises nothing that the network
    can cause; no text of the queue's is passed on, and no part of its URL."""
    timeout = aiohttp.ClientTimeout(total=webhook.timeout)
    try:
        async with session.post(
            webhook.url, data=data, headers=headers, timeout=timeout, allow_redirects=False
        ) as answer:
            status, asked = answer.status, answer.headers.get("retry-after", "")
    except TimeoutError:
        return Answer(Result.RETRY, f"no answer within {webhook.timeout:g} s")
    except (aiohttp.ClientError, OSError) as error:
        return Answer(Result.RETRY, f"it cannot be reached ({type(error).__name__})")
    if 200 <= status < 300:
        return Answer(Result.SENT)
    why = f"status {status}"
    if 400 <= status < 500 and status not in _TRY_AGAIN:
        return Answer(Result.REFUSED, why)
    return Answer(Result.RETRY, why, retry_after(asked, now))


def retry_after(text: str, now: float) -> float:
    """Seconds or a date (RFC 9110, 10.2.3), cut to LONGEST_WAIT; 0 where it is neither."""
    try:
        seconds = float(int(text)) if text.isdecimal() else _date(text) - now
    except (ValueError, TypeError, OverflowError):
        return 0.0
    return max(0.0, min(seconds, LONGEST_WAIT))


def _date(text: str) -> float:
    at: datetime = parsedate_to_datetime(text)
    return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()


def _link(route: str, entry: Entry, settings: Escalations) -> str | None:
    if settings.url is None or not settings.secret:
        return None
    return link(settings.url.rstrip("/"), settings.secret, route, entry.id, int(entry.at + settings.valid))
