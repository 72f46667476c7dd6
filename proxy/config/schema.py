"""The configuration's schema: frozen pydantic models, unknown keys refused, each default a safe one.

The example with every key explained is `config/crossfade.yaml`.
"""

import re
from itertools import pairwise
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from proxy.config.units import Duration, Percent, PositiveDuration, Share, Size
from proxy.model.words import Failure

Name = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9_-]{0,62}[a-z0-9])?$")]
"""Names of routes, upstreams and stages: they become metric labels and parts of store keys."""

HeaderName = Annotated[str, Field(pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")]
HeaderValue = Annotated[str, Field(pattern=r"^[\t\x20-\x7e]*$")]
JsonPath = Annotated[str, Field(pattern=r"^\$")]


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Address(Section):
    """Host and port to listen on, written `0.0.0.0:8080`, `[::]:8080` or `:8080`."""

    host: str
    port: int

    @model_validator(mode="before")
    @classmethod
    def split(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        match = re.fullmatch(r"(?:\[(?P<v6>[0-9a-fA-F:.]+)\]|(?P<host>[^:\[\]]*)):(?P<port>\d{1,5})", value)
        if match is None or int(match["port"]) > 65535:
            raise ValueError(f"{value!r} is no address; write host:port, such as 127.0.0.1:8080 or [::1]:8080")
        return {"host": match["v6"] or match["host"] or "0.0.0.0", "port": int(match["port"])}

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Listen(Section):
    address: Address = Address(host="0.0.0.0", port=8080)
    access_log: bool = False


class Admin(Section):
    address: Address = Address(host="127.0.0.1", port=9900)
    tokens_file: str | None = None


class Limits(Section):
    max_target: Size = 8 << 10
    max_header_bytes: Size = 32 << 10
    max_headers: int = Field(default=100, ge=1, le=10_000)
    max_body: Size = 0
    header_timeout: PositiveDuration = 10.0
    body_timeout: PositiveDuration = 30.0
    idle_timeout: PositiveDuration = 75.0


class Timeouts(Section):
    connect: PositiveDuration = 1.0
    response: PositiveDuration = 60.0
    idle: PositiveDuration = 60.0


class Retry(Section):
    attempts: int = Field(default=0, ge=0, le=5)
    on: frozenset[Literal["connect_failure", "503"]] = frozenset({"connect_failure"})
    budget: Share = 0.2

    @field_validator("on", mode="before")
    @classmethod
    def words(cls, value: Any) -> Any:
        # 503 is a number in YAML; the other words are text.
        return [str(word) for word in value] if isinstance(value, list) else value


class Upstream(Section):
    """`url` is `http://host[:port][/base]`; the base path is put before the request's."""

    url: str
    timeouts: Timeouts = Timeouts()
    retry: Retry = Retry()
    set_headers: dict[HeaderName, HeaderValue] = Field(default_factory=dict, repr=False)
    remove_headers: frozenset[HeaderName] = frozenset()
    max_idle: int = Field(default=256, ge=0, le=65_536)

    @field_validator("url")
    @classmethod
    def check_url(cls, url: str) -> str:
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            parts, port = urlsplit(""), None
        if parts.scheme == "https":
            raise ValueError("TLS to upstreams is not built yet; write http:// and keep the hop on a trusted network")
        if parts.scheme != "http" or not parts.hostname or port == 0:
            raise ValueError("write it as http://host:port or http://host:port/base")
        if parts.username is not None or parts.query or parts.fragment:
            raise ValueError("no user, query or fragment belongs here; put credentials in set_headers")
        return url


class Match(Section):
    """All that is given must hold. `path_prefix` matches whole segments: `/a` matches `/a` and `/a/b`, not `/ab`."""

    path_prefix: str = Field(default="/", pattern=r"^/[\x21\x22\x24-\x3e\x40-\x7e]*$")
    host: str = Field(default="", pattern=r"^[a-z0-9.-]*$")
    methods: frozenset[Annotated[str, Field(pattern=r"^[A-Z]+$")]] = frozenset()
    headers: dict[HeaderName, HeaderValue] = Field(default_factory=dict)


class HeaderKey(Section):
    header: HeaderName


class CookieKey(Section):
    cookie: Annotated[str, Field(pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")]


class QueryKey(Section):
    query: Annotated[str, Field(min_length=1)]


Key = HeaderKey | CookieKey | QueryKey | Literal["client_ip"]


class Shadow(Section):
    percent: Percent = 100_000
    max_body: Size = 1 << 20
    max_pending: int = Field(default=256, ge=1, le=65_536)
    max_pending_bytes: Size = 64 << 20
    timeout: PositiveDuration = 30.0


class Fallback(Section):
    on: frozenset[Failure] = frozenset(Failure)
    max_body: Size = 1 << 20


class Confidence(Section):
    path: JsonPath
    below: float = Field(ge=0, le=1)


class Escalate(Section):
    header: HeaderName = "x-crossfade-escalate"
    confidence: Confidence | None = None


class Fields(Section):
    ignore: tuple[JsonPath, ...] = ()
    tolerance: dict[JsonPath, Share] = Field(default_factory=dict)


class Compare(Section):
    """`decision` is the value that both arms must agree on; without it the whole bodies are compared."""

    decision: JsonPath | None = None
    fields: Fields = Fields()


class Record(Section):
    """What is kept of each request: a share of them, bodies up to `max_body`, headers by allow-list, and JSON members
    whose values are replaced before anything is stored (by name, at any depth)."""

    percent: Percent = 100_000
    max_body: Size = 64 << 10
    headers: tuple[HeaderName, ...] = ("content-type",)
    redact: tuple[str, ...] = (
        "password", "passwd", "secret", "token", "access_token", "refresh_token", "id_token", "api_key", "apikey",
        "authorization", "cookie", "private_key", "client_secret", "card_number", "cvv",
    )  # fmt: skip
    max_pairs: int = Field(default=100_000, ge=100)


class ErrorRate(Section):
    margin: Share = 0.002


class Latency(Section):
    slower_than: PositiveDuration
    margin: Share = 0.01


class Guard(Section):
    """What rolls back: how much worse than legacy the agent may be at most."""

    error_rate: ErrorRate = ErrorRate()
    latency: Latency | None = None


class Gates(Section):
    """What must hold to leave a stage, beside its soak."""

    min_samples: int = Field(default=500, ge=1)
    agreement: Share = 0.95
    readiness: Literal["required", "off"] = "off"

    @field_validator("readiness")
    @classmethod
    def not_yet(cls, value: str) -> str:
        if value == "required":
            raise ValueError("the readiness checklist is not built yet; write off until it is")
        return value


class Stage(Section):
    name: Name
    weight: Percent
    soak: Duration = 0.0


class Split(Section):
    """A fixed split under the operator's hand, instead of stages."""

    shadow: Percent = 100_000
    weight: Percent = 0


def _default_stages() -> tuple[Stage, ...]:
    hour = 3600.0
    plan = (("shadow", 0, 24 * hour), ("canary", 5, hour), ("expand-10", 10, hour), ("expand-25", 25, hour),
            ("expand-50", 50, hour), ("full", 100, 0.0))  # fmt: skip
    return tuple(Stage.model_construct(name=name, weight=weight * 1000, soak=soak) for name, weight, soak in plan)


class Rollout(Section):
    agent: Name
    version: Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[\x21-\x7e]+$")]
    key: tuple[Key, ...] = Field(default=("client_ip",), min_length=1)
    salt: Annotated[str, Field(min_length=1, max_length=64)]
    shadow: Shadow = Shadow()
    fallback: Fallback = Fallback()
    escalate: Escalate = Escalate()
    compare: Compare = Compare()
    record: Record = Record()
    guard: Guard = Guard()
    gates: Gates = Gates()
    stages: tuple[Stage, ...] = Field(default_factory=_default_stages, min_length=1)
    split: Split | None = None

    @field_validator("stages")
    @classmethod
    def go_up(cls, stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
        for before, after in pairwise(stages):
            if after.weight < before.weight:
                raise ValueError(
                    f"stage {after.name!r} goes down to {after.weight / 1000:g} % after {before.weight / 1000:g} %;"
                    " weights must not fall from one stage to the next"
                )
        names = [stage.name for stage in stages]
        if len(set(names)) < len(names):
            raise ValueError("two stages bear the same name")
        return stages

    @model_validator(mode="after")
    def one_plan(self) -> Self:
        if self.split is not None and "stages" in self.model_fields_set:
            raise ValueError("stages and split exclude each other; keep one")
        return self


class Route(Section):
    name: Name
    match: Match = Match()
    legacy: Name
    rollout: Rollout | None = None


class Config(Section):
    listen: Listen = Listen()
    admin: Admin = Admin()
    workers: Annotated[int, Field(ge=1, le=256)] | Literal["auto"] = 1
    store: str = "embedded"
    data_dir: str = "./data"
    drain_timeout: PositiveDuration = 30.0
    limits: Limits = Limits()
    upstreams: dict[Name, Upstream] = Field(min_length=1)
    routes: tuple[Route, ...] = Field(min_length=1)

    @field_validator("store")
    @classmethod
    def check_store(cls, store: str) -> str:
        if store == "embedded" or re.match(r"(redis|rediss|unix)://.+", store):
            return store
        if re.match(r"redis\+(sentinel|cluster)://", store):
            raise ValueError(
                "Sentinel and Cluster are not built yet; write redis://host:port/db, unix:///path or embedded"
            )
        raise ValueError("write embedded, redis://host:port/db, rediss://… or unix:///path")
