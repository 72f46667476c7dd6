"""One POST to the human queue."""

import hmac

import orjson
import pytest

from proxy.config.sharing_schema import Escalations, Webhook
from proxy.control.webhook import LONGEST_WAIT, MAX_STEPS, body, headers, retry_after, signature
from proxy.outcomes.escalation import summary
from proxy.storage.escalations import Entry
from tests.integration.escalation_world import pair

ENTRY = Entry("1795000000500-0", "e1", "1-0", "timeout")


def test_the_signature_is_over_time_and_body() -> None:
    expected = hmac.new(b"0123456789abcdef", b'1795000000.{"id":1}', "sha256").hexdigest()
    assert signature("0123456789abcdef", b'{"id":1}', 1_795_000_000) == f"t=1795000000,v1={expected}"


def test_our_headers_go_before_the_operator_s() -> None:
    webhook = Webhook.model_validate(
        {"url": "https://q.example", "headers": {"Content-Type": "text/plain", "X-Team": "a"}}
    )
    sent = headers(webhook, "", "e1", b"{}", 1.0)
    assert sent["content-type"] == "application/json"
    assert (sent["x-team"], sent["idempotency-key"]) == ("a", "e1")
    assert "x-crossfade-signature" not in sent


def test_steps_are_bounded_and_without_their_content() -> None:
    steps = [{"name": f"s{number}", "arguments": "secret", "result": "secret"} for number in range(MAX_STEPS + 1)]
    document = {"id": "refunds.1-0", **pair(steps=steps)}
    told = orjson.loads(body("refunds", ENTRY, {**summary("refunds", "e1", document), "pair": document}, Escalations()))
    assert len(told["steps"]) == MAX_STEPS
    assert told["steps"][0] == {"name": "s0"}


def test_of_what_is_gone_its_time_is_known() -> None:
    told = orjson.loads(body("refunds", ENTRY, None, Escalations()))
    assert told["at"].startswith("2026-11-18T")
    assert (told["reason"], told["pair_id"], told["steps"]) == ("timeout", "refunds.1-0", [])


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("", 0.0),
        ("120", 120.0),
        ("soon", 0.0),
        ("-5", 0.0),
        ("999999999999", LONGEST_WAIT),
        ("9" * 5_000, 0.0),
        ("Sun, 22 Nov 2026 08:01:00 GMT", 60.0),
        ("Sun, 22 Nov 2026 07:00:00 GMT", 0.0),
        ("Sun, 99 Nov 2026 07:00:00 GMT", 0.0),
    ],
)
def test_retry_after(text: str, seconds: float) -> None:
    assert retry_after(text, 1_795_334_400.0) == seconds
