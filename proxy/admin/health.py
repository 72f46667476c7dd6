"""For probes and scrapers: alive, ready, metrics."""

from aiohttp import web

from proxy.admin.answers import ApiError, answer
from proxy.model.ports import Operations
from proxy.telemetry.metrics import Metrics


class Health:
    def __init__(self, operations: Operations, metrics: Metrics) -> None:
        self._operations, self._metrics = operations, metrics

    def add_to(self, router: web.UrlDispatcher) -> None:
        router.add_get("/livez", self.live)
        router.add_get("/readyz", self.ready)
        router.add_get("/metrics", self.metrics)

    async def live(self, _request: web.Request) -> web.Response:
        """That this answers is the answer."""
        return answer({"live": True})

    async def ready(self, _request: web.Request) -> web.Response:
        if reasons := self._operations.unready():
            raise ApiError(503, "not_ready", "; ".join(reasons), reasons=reasons)
        return answer({"ready": True})

    async def metrics(self, request: web.Request) -> web.Response:
        body, content_type = self._metrics.expose(request.headers.get("accept", ""))
        return web.Response(body=body, headers={"content-type": content_type})
