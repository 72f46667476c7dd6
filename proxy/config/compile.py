"""From a checked Config and the rollouts' placements to the Snapshot that workers decide by."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from proxy.config.compare_schema import HeaderDecision
from proxy.config.listen_schema import Listen, ListenTls
from proxy.config.rollout_schema import CookieKey, HeaderKey, Key, QueryKey, Rollout
from proxy.config.schema import Config, Route
from proxy.config.sharing_schema import Escalations
from proxy.config.upstream_schema import Upstream, UpstreamTls
from proxy.model import snapshot as made
from proxy.model.snapshot import Placement, Snapshot


def compile_snapshot(
    config: Config, placements: Mapping[str, Placement], number: int, digests: Mapping[str, str]
) -> Snapshot:
    """`placements` has one entry for each route with a rollout, `digests` one (of its content, in hex) for each of
    `tls_files`, by its name; KeyError where one is missing."""
    return Snapshot(
        number=number,
        routes=tuple(_route(route, placements) for route in config.routes),
        upstreams=tuple(_upstream(name, upstream, digests) for name, upstream in config.upstreams.items()),
        limits=made.LimitsSpec(**config.limits.model_dump()),
        listen=_listen(config.listen, digests),
        access_log=config.listen.access_log,
        override_secret=config.override.secret if config.override else "",
        callbacks=tuple(_callbacks(config)),
        link=_link(config.escalations),
        sealing=sealing_keys(config),
    )


def sealing_keys(config: Config) -> tuple[made.SealingKey, ...]:
    """The first one seals."""
    keys = config.encryption.keys if config.encryption else ()
    return tuple(made.SealingKey(key.id, key.key) for key in keys)


def _callbacks(config: Config) -> Iterator[made.CallbackSpec]:
    for route in config.routes:
        pending = route.rollout.pending if route.rollout else None
        if pending is not None and (callback := pending.callback) is not None:
            yield made.CallbackSpec(route.name, callback.path_prefix, route.match.host, callback.max_body)


def _link(escalations: Escalations) -> made.LinkSpec:
    if escalations.url is None or escalations.secret is None:
        return made.LinkSpec()
    return made.LinkSpec(escalations.url.rstrip("/"), escalations.secret, escalations.valid)


def tls_files(config: Config) -> dict[str, str]:
    """The certificates and keys that the configuration names, each by the path of its key, as in
    `listen.tls.cert_file`."""
    sections: dict[str, ListenTls | UpstreamTls | None] = {"listen.tls": config.listen.tls}
    sections |= {f"upstreams.{name}.tls": upstream.tls for name, upstream in config.upstreams.items()}
    return {
        f"{path}.{key}": file
        for path, section in sections.items()
        if section is not None
        for key, file in _files(section).items()
    }


def listen_tls(tls: ListenTls, digests: Mapping[str, str]) -> made.ListenTls:
    spec = made.ListenTls(**_tls(tls, digests))
    return replace(spec, client_auth=tls.client_auth or "required") if tls.client_ca_file else spec


def upstream_tls(upstream: Upstream, digests: Mapping[str, str]) -> made.UpstreamTls | None:
    """None where its url is http."""
    if urlsplit(upstream.url).scheme != "https":
        return None
    return made.UpstreamTls(**_tls(upstream.tls or UpstreamTls(), digests))


def _files(section: ListenTls | UpstreamTls) -> dict[str, str]:
    names = (name for name in type(section).model_fields if name.endswith("_file"))
    return {name: file for name in names if (file := getattr(section, name)) is not None}


def _tls(section: ListenTls | UpstreamTls, digests: Mapping[str, str]) -> dict[str, Any]:
    given = section.model_dump(exclude_none=True)
    return given | {"digest": " ".join(digests[file] for file in _files(section).values())}


def _listen(listen: Listen, digests: Mapping[str, str]) -> made.ListenSpec:
    return made.ListenSpec(
        tls=listen_tls(listen.tls, digests) if listen.tls else None,
        proxy_protocol=listen.proxy_protocol,
        trusted_proxies=listen.trusted_proxies,
        underscore_headers=listen.underscore_headers,
    )


def _upstream(name: str, upstream: Upstream, digests: Mapping[str, str]) -> made.UpstreamSpec:
    parts = urlsplit(upstream.url)
    check = upstream.health_check
    tls = upstream_tls(upstream, digests)
    return made.UpstreamSpec(
        name=name,
        host=parts.hostname or "",
        port=parts.port or (443 if tls else 80),
        tls=tls,
        base_path=parts.path.rstrip("/"),
        timeouts=made.Timeouts(**upstream.timeouts.model_dump()),
        retry=made.Retry(**upstream.retry.model_dump()),
        set_headers=tuple((header.lower(), value) for header, value in upstream.set_headers.items()),
        remove_headers=(
            None
            if upstream.remove_headers is None
            else tuple(sorted(header.lower() for header in upstream.remove_headers))
        ),
        max_idle=upstream.max_idle,
        max_inflight=upstream.max_inflight,
        max_queue=upstream.max_queue,
        queue_timeout=upstream.queue_timeout,
        health_check=made.HealthCheck(**check.model_dump()) if check else None,
    )


def _route(route: Route, placements: Mapping[str, Placement]) -> made.RouteSpec:
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
        upgrades=route.upgrades,
    )


def _rollout(rollout: Rollout, placement: Placement) -> made.RolloutSpec:
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
            repeat=shadow.repeat,
            set_headers=tuple((header.lower(), value) for header, value in shadow.set_headers.items()),
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
            headers=_recorded(rollout),
        ),
        breaker=made.BreakerSpec(reference=placement.reference),
        slower_than=rollout.guard.latency.slower_than if rollout.guard.latency else 0.0,
        audit=rollout.audit,
    )


def _recorded(rollout: Rollout) -> tuple[str, ...]:
    """With the header that is compared."""
    decision = rollout.compare.decision
    headers = [header.lower() for header in rollout.record.headers]
    if isinstance(decision, HeaderDecision):
        headers.append(decision.header.lower())
    return tuple(dict.fromkeys(headers))


def _key(key: Key) -> made.KeySource:
    match key:
        case HeaderKey():
            return made.KeySource("header", key.header.lower())
        case CookieKey():
            return made.KeySource("cookie", key.cookie)
        case QueryKey():
            return made.KeySource("query", key.query)
        case _:
            return made.KeySource("client_ip")
