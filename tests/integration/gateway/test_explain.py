"""What is explained of a key is what the gateway does with a request that bears it, byte by byte."""

from dataclasses import replace

import pytest

from proxy.model.snapshot import BUCKETS, KeySource, RecordSpec
from proxy.routing.explain import explain
from tests.integration.gateway.conftest import World

HEADER, COOKIE = KeySource("header", "x-user-id"), KeySource("cookie", "sid")
QUERY, CLIENT = KeySource("query", "user"), KeySource("client_ip")

WRITTEN = [
    (HEADER, "/refunds", b"X-User-ID: u1", b"u1"),
    (HEADER, "/refunds", b"x-user-id: \t U1 \t", b"U1"),
    (HEADER, "/refunds", b"x-user-id: caf\xe9", b"caf\xe9"),
    (HEADER, "/refunds", b"x-user-id: caf\xc3\xa9", "café".encode()),
    (HEADER, "/refunds", b"x-user-id: a%20b", b"a%20b"),
    (COOKIE, "/refunds", b'cookie: a=1; sid="s 7" ; b=2', b"s 7"),
    (COOKIE, "/refunds", b"cookie: sid=a%20b", b"a%20b"),
    (QUERY, "/refunds?user=bob%40x+y", b"a: 1", b"bob@x y"),
    (QUERY, "/refunds?x=1&%75ser=caf%C3%A9", b"a: 1", "café".encode()),
    (QUERY, "/refunds?user=caf%e9", b"a: 1", b"caf\xe9"),
    (CLIENT, "/refunds", b"a: 1", b"127.0.0.1"),
    (HEADER, "/refunds", b"a: 1", b""),
    (QUERY, "/refunds?user=", b"a: 1", b""),
]


@pytest.mark.parametrize(("source", "target", "line", "key"), WRITTEN)
async def test_the_explanation_is_what_happens(
    world: World, source: KeySource, target: str, line: bytes, key: bytes
) -> None:
    told = explain(replace(world.rollout, key=(source,)), key, [], 0)
    edge = told.bucket if told.bucket is not None else 0
    async with world.client() as client:
        for number, weight in enumerate((0, edge, min(edge + 1, BUCKETS), BUCKETS), 1):
            world.use(key=(source,), weight=weight, record=RecordSpec())
            expected = explain(world.rollout, key, [], 0).now.decision
            client.send(b"GET %b HTTP/1.1\r\nHost: a\r\n%b\r\n\r\n" % (target.encode(), line))
            assert (await client.read())["x-crossfade-arm"] == expected.arm
            record = (await world.records(number))[-1]
            assert (record.reason, record.mode) == (expected.reason, expected.mode)
            assert (record.bucket, record.key_hash) == (-1 if told.bucket is None else told.bucket, told.key_hash)
