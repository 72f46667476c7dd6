"""The part of the schema that describes the way in: listening, TLS towards clients, and what clients may cost."""

from typing import Annotated, Literal

from pydantic import Field

from proxy.config.fields import Address, FilePath, ListenAddress, Network, Section, TlsVersion
from proxy.config.units import PositiveDuration, PositiveSize, Size, Whole


class ListenTls(Section):
    """TLS towards clients. The files are read again when they change; open connections stay."""

    cert_file: FilePath
    """The certificate, then its intermediates, in PEM."""
    key_file: FilePath
    client_ca_file: FilePath | None = None
    """The CAs of clients' certificates. Their subject is told to the arms as x-crossfade-client-subject."""
    client_auth: Literal["required", "optional"] | None = None
    """Whether a client must show a certificate, where client_ca_file is given. Left out, it must."""
    min_version: TlsVersion = "1.2"


class Listen(Section):
    """Where users' requests come in."""

    address: ListenAddress = Address(host="0.0.0.0", port=8080)
    tls: ListenTls | None = None
    access_log: bool = False
    """One log line per request."""
    trusted_proxies: Annotated[tuple[Network, ...], Field(max_length=1024)] = ()
    """Addresses whose X-Forwarded-* and Forwarded headers, and PROXY headers, are believed."""
    proxy_protocol: bool = False
    """Each connection starts with a PROXY header, version 1 or 2, and comes from one of trusted_proxies; others are
    closed."""
    underscore_headers: bool = False
    """Pass on headers whose name holds an underscore. Many servers read `a_b` and `a-b` as one."""


class Limits(Section):
    """What a worker bears of its clients."""

    max_target: PositiveSize = 8 << 10
    """Of the request line's target; beyond it 414."""
    max_header_bytes: PositiveSize = 32 << 10
    """Of a request's header section; beyond it 431."""
    max_headers: Whole = Field(default=100, ge=1, le=10_000)
    """Fields in a request's header section; beyond it 431."""
    max_body: Size = 0
    """Of a request's body; beyond it 413. 0: no limit."""
    header_timeout: PositiveDuration = 10.0
    """From a request's first byte to the end of its header section; beyond it 408."""
    body_timeout: PositiveDuration = 30.0
    """The longest silence within a request's body; beyond it 408."""
    min_body_rate: Size = 240
    """Bytes a second that a request's body must come with, on average, after its first `body_timeout`; below it 408."""
    idle_timeout: PositiveDuration = 75.0
    """How long a client's connection may rest between requests."""
    max_requests: Whole = Field(default=10_000, ge=0, le=1_000_000_000)
    """Requests on one connection; the last answer closes it. 0: no limit."""
    max_connections: Whole = Field(default=10_000, ge=1, le=1_000_000)
    """Client connections of one worker; beyond it 503."""
    max_connections_per_address: Whole = Field(default=2_000, ge=0, le=1_000_000)
    """Client connections of one worker from one address other than trusted proxies; beyond it 503. 0: no limit."""
