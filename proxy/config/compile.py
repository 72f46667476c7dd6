"""From a checked Config and the rollouts' placements to the Snapshot that workers decide by."""

from collections.abc import Mapping
from urllib.parse import urlsplit

from proxy.config import rollout_schema, schema
from proxy.model import snapshot as made
from proxy.model.snapshot import Placement, Snapshot


def compile_snapshot(config: schema.Config, placements: Mapping[str, Placement], number: int) -> Snapshot:
    """`placements` has one entry for each route with a rollout; KeyError where one is missing."""
    return Snapshot(
        number=number,
        routes=tuple(_route(route, placements) for route in config.routes),
        upstreams=tuple(_upstream(name, upstream) for name, upstream in config.upstreams.items()),
        limits=made.LimitsSpec(**config.limits.model_dump()),
        access_log=config.listen.access_log,
    )


def _upstream(name: str, upstream: schema.Upstream) -> made.UpstreamSpec:
    parts = urlsplit(upstream.url)
    return made.UpstreamSpec(
        name=name,
        host=parts.hostname or "",
        port=parts.port or 80,
        base_path=parts.path.rstrip("/"),
        timeouts=made.Timeouts(**upstream.timeouts.model_dump()),
        retry=made.Retry(**upstream.retry.model_dump()),
        set_headers=tuple((header.lower(), value) for header, value in upstream.set_headers.items()),
        remove_headers=tuple(sorted(header.lower() for header in upstream.remove_headers)),
        max_idle=upstream.max_idle,
    )


def _route(route: schema.Route, placements: Mapping[str, Placement]) -> made.RouteSpec:
    match = route.match
    return made.RouteSpec(
        name=route.name,
        match=made.MatchSpec(
            path_prefix=match.path_prefix,
            host=match.host,
            methods=match.methods,
            headers=tuple((header.lower(), value) for header, value in match.headers.items()),
        ),
        legacy=route.legacy,
        rollout=_rollout(route.rollout, placements[route.name]) if route.rollout else None,
    )


def _rollout(rollout: rollout_schema.Rollout, placement: Placement) -> made.RolloutSpec:
    shadow, record, confidence = rollout.shadow, rollout.record, rollout.escalate.confidence
    return made.RolloutSpec(
        agent=rollout.agent,
        version=placement.version,
        stage=placement.stage,
        phase=placement.phase,
        epoch=placement.epoch,
        weight=placement.weight,
        key=tuple(_key(key) for key in rollout.key),
        salt=rollout.salt,
        shadow=made.ShadowSpec(
            share=placement.shadow,
            max_body=shadow.max_body,
            max_pending=shadow.max_pending,
            max_pending_bytes=shadow.max_pending_bytes,
            timeout=shadow.timeout,
        ),
        fallback=made.FallbackSpec(on=rollout.fallback.on, max_body=rollout.fallback.max_body),
        escalate=made.EscalateSpec(
            header=rollout.escalate.header.lower(),
            confidence_path=confidence.path if confidence else "",
            confidence_below=confidence.below if confidence else 0.0,
        ),
        record=made.RecordSpec(
            share=record.percent,
            max_body=record.max_body,
            headers=tuple(header.lower() for header in record.headers),
        ),
        slower_than=rollout.guard.latency.slower_than if rollout.guard.latency else 0.0,
    )


def _key(key: rollout_schema.Key) -> made.KeySource:
    match key:
        case rollout_schema.HeaderKey():
            return made.KeySource("header", key.header.lower())
        case rollout_schema.CookieKey():
            return made.KeySource("cookie", key.cookie)
        case rollout_schema.QueryKey():
            return made.KeySource("query", key.query)
        case _:
            return made.KeySource("client_ip")
