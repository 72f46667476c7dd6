"""The calls that are timed, by name: first the way of a request through the worker, then that of a record to a pair."""

from collections import deque
from collections.abc import Callable
from typing import Any

import httptools
import orjson

from proxy.analysis.breaker import Breaker
from proxy.config.rollout_schema import Rollout
from proxy.gateway.headers import request_names
from proxy.gateway.parcels import Parcels
from proxy.model import link
from proxy.model.records import Parcel, split, unpack
from proxy.model.snapshot import KeySource, MatchSpec
from proxy.model.tick import Tick, to_wire
from proxy.outcomes.pairing import make_pair, rules
from proxy.routing.bucket import bucketer, key_hasher
from proxy.routing.decide import decide, sampled
from proxy.routing.identity import find_key, sources
from proxy.routing.match import Matcher

BODY = b'{"order":"A-1002","amount":129.90,"currency":"EUR","note":"%b"}' % (b"x" * 961)
HEADERS = (
    (b"host", b"shop.test"),
    (b"user-agent", b"bench/1"),
    (b"accept", b"application/json"),
    (b"x-user-id", b"user-01234"),
    (b"content-type", b"application/json"),
    (b"content-length", b"%d" % len(BODY)),
)
REQUEST = b"POST /refunds/7?full=1 HTTP/1.1\r\n%b\r\n%b" % (b"".join(b"%b: %b\r\n" % pair for pair in HEADERS), BODY)
NOTED = ((b"x-user-id", b"user-01234"), (b"cookie", b"theme=dark; session=8f14e45fceea467f; lang=en"))
ANSWER = {
    "id": "8f14e45f",
    "decision": "approve",
    "amount": 129.9,
    "currency": "EUR",
    "lines": [{"sku": f"S-{number}", "amount": number * 1.5, "reason": "unused"} for number in range(5)],
}


class _Ignore:
    """Callbacks for the parser that do nothing: the cost is that of calling them."""

    def on_url(self, url: bytes) -> None: ...
    def on_header(self, name: bytes, value: bytes) -> None: ...
    def on_headers_complete(self) -> None: ...
    def on_body(self, data: bytes) -> None: ...
    def on_message_complete(self) -> None: ...


def calls() -> dict[str, Callable[[], object]]:
    return {**_request_calls(), **_record_calls()}


def _request_calls() -> dict[str, Callable[[], object]]:
    parser = httptools.HttpRequestParser(_Ignore())
    names = request_names(frozenset({b"x-user-id"}))
    few = Matcher([MatchSpec("/refunds"), MatchSpec("/")])
    many = Matcher([MatchSpec(f"/service-{number}/refunds") for number in range(500)] + [MatchSpec("/")])
    header, cookie = sources([KeySource("header", "x-user-id")]), sources([KeySource("cookie", "session")])
    bucket, key_hash = bucketer("refunds-1"), key_hasher("refunds-1")
    breaker = Breaker(reference=0.05)
    return {
        "parse: a POST of 1 KiB by httptools alone": lambda: parser.feed_data(REQUEST),
        "headers: what is done with six of them": lambda: [names.classify(name) for name, _ in HEADERS],
        "match: 2 routes": lambda: few.find(b"POST", b"shop.test", b"/refunds/7", NOTED),
        "match: 500 routes": lambda: many.find(b"POST", b"shop.test", b"/service-250/refunds/7", NOTED),
        "key: a header": lambda: find_key(header, NOTED, b"", b"127.0.0.1"),
        "key: a cookie": lambda: find_key(cookie, NOTED, b"", b"127.0.0.1"),
        "bucket": lambda: bucket(b"user-01234"),
        "key hash": lambda: key_hash(b"user-01234"),
        "decide": lambda: decide(5000, 4321, tripped=False),
        "sampled": lambda: sampled(123_456, 50_000),
        "breaker: one outcome": lambda: breaker.record(False, False),
    }


def _record_calls() -> dict[str, Callable[[], object]]:
    compare = {"decision": "$.decision", "fields": {"ignore": ["$.id"]}}
    rollout = Rollout.model_validate({"agent": "agent", "version": "1", "salt": "s", "compare": compare})
    compiled = rules(rollout)
    packed = _packed(ANSWER, ANSWER)
    same, other = unpack(packed), unpack(_packed(ANSWER, {**ANSWER, "decision": "deny", "amount": 0}))
    parcels = Parcels()
    parcels.on_full = lambda: shipped.append(parcels.drain()[0])
    shipped: deque[Parcel] = deque(maxlen=1)
    while not shipped:
        parcels.add("refunds", packed, 1)
    records = shipped[0].records
    data = b"".join(records)
    tick = Tick("0" * 32, 1, 1_764_000_000.0)
    frame = link.encode(link.TICK, to_wire(tick), records)
    document = make_pair(other, compiled).document
    return {
        "record: pack one of 2 KiB": lambda: parcels.add("refunds", packed, 1),
        "link: encode a parcel of 128 KiB": lambda: link.encode(link.TICK, to_wire(tick), records),
        "link: decode it": lambda: list(link.Decoder().feed(frame)),
        "record: split that parcel": lambda: list(split(data)),
        "record: unpack one": lambda: unpack(packed),
        "pair: equal answers": lambda: make_pair(same, compiled),
        "pair: two differences": lambda: make_pair(other, compiled),
        "pair: its JSON": lambda: orjson.dumps(document),
    }


def _packed(legacy: dict[str, Any], agent: dict[str, Any]) -> tuple[Any, ...]:
    """A record's fields as the worker packs them."""
    headers = b"content-type: application/json\r\n"
    return (
        b"5f2b7c9a1d3e-0000002a", b"00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01", "refunds", "1", "shadow",
        1, 1_764_000_000.0, b"POST", b"/refunds/7", b"c" * 16, 4321, "legacy", "legacy", "bucket_out", "mirrored",
        headers, BODY, False, b"", "",
        200, 0.012, "", headers, orjson.dumps(legacy), False, 0.011,
        200, 0.034, "", headers, orjson.dumps(agent), False, 0.033, None,
    )  # fmt: skip
