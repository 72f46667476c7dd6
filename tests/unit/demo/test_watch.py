from collections import Counter
from datetime import UTC, datetime

from aiohttp import ClientSession, web
from pytest_aiohttp.plugin import AiohttpServer

from proxy.demo.watch import Agreement, Arm, Counters, RouteView, Watch
from proxy.telemetry.metrics import Metrics

DOCUMENT = {
    "name": "refunds",
    "phase": "progressing",
    "stage": "canary",
    "weight": 5.0,
    "since": "2026-11-24T08:30:00.500Z",
    "reason": "all gates of stage shadow passed",
    "totals": {"legacy": {"requests": 95, "failed": 1}, "agent": {"requests": 5, "failed": 0}},
    "agreement": {"matched": 90, "mismatched": 2, "incomparable": 1, "ratio": 0.978, "lower_bound": 0.91},
}


def test_the_routes_document_is_read() -> None:
    assert RouteView.read(DOCUMENT) == RouteView(
        "progressing",
        "canary",
        5.0,
        datetime(2026, 11, 24, 8, 30, 0, 500_000, UTC).timestamp(),
        "all gates of stage shadow passed",
        Arm(95, 1),
        Arm(5, 0),
        Agreement(90, 2, 1, 0.978, 0.91),
    )


def test_an_arm_without_requests_has_no_errors() -> None:
    assert Arm().error_rate == 0.0


def test_the_metrics_are_read_for_the_demos_route_alone() -> None:
    text = """\
# TYPE crossfade_requests counter
crossfade_requests_total{route="refunds",arm="legacy",mode="legacy",code="200"} 90.0
crossfade_requests_total{route="refunds",arm="legacy",mode="legacy",code="502"} 1.0
crossfade_requests_total{route="refunds",arm="agent",mode="canary",code="200"} 5.0
crossfade_requests_total{route="other",arm="agent",mode="canary",code="200"} 7.0
# TYPE crossfade_fallbacks counter
crossfade_fallbacks_total{route="refunds",reason="5xx"} 3.0
# TYPE crossfade_shadow counter
crossfade_shadow_total{route="refunds",fate="mirrored"} 91.0
"""

    assert Counters.read(text) == Counters(
        answers=Counter({("legacy", "legacy"): 91, ("agent", "canary"): 5}),
        fallbacks=Counter({"5xx": 3}),
        shadow=Counter({"mirrored": 91}),
    )


def test_what_crossfade_exposes_can_be_read() -> None:
    assert Counters.read(Metrics(process=False).expose()[0].decode()) == Counters()


async def test_ready_is_no_while_nobody_listens_and_while_it_says_so(
    aiohttp_server: AiohttpServer, unused_tcp_port: int
) -> None:
    statuses = iter([503, 200])

    async def readyz(_request: web.Request) -> web.Response:
        return web.Response(status=next(statuses))

    app = web.Application()
    app.router.add_get("/readyz", readyz)
    server = await aiohttp_server(app)

    async with ClientSession() as session:
        assert not await Watch(session, f"http://127.0.0.1:{unused_tcp_port}").ready()
        watch = Watch(session, f"http://127.0.0.1:{server.port}")
        assert [await watch.ready(), await watch.ready()] == [False, True]
