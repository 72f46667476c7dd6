"""What is wrong although each section by itself is right: names that lead nowhere, two of a kind, unsafe addresses, TLS
and trust that say one thing here and another there; within one rollout, see `rollout_checks`.

As with an UnfitError, a sentence has no subject.
"""

from collections.abc import Iterator
from ipaddress import ip_address
from urllib.parse import urlsplit

from proxy.config.explain import closest
from proxy.config.fields import Address
from proxy.config.interpolate import Problem
from proxy.config.listen_schema import Listen
from proxy.config.rollout_checks import check_rollout
from proxy.config.schema import Config, Match
from proxy.config.sharing_schema import Escalations
from proxy.config.source import Path
from proxy.config.upstream_schema import Upstream


def check(config: Config) -> list[Problem]:
    return [
        *_upstreams(config),
        *_names(config),
        *_matches(config),
        *_addresses(config),
        *_listen(config.listen),
        *_links(config.escalations),
        *_rollouts(config),
        *_callbacks(config),
        *(problem for name, upstream in config.upstreams.items() for problem in _upstream_tls(name, upstream)),
    ]


def _upstreams(config: Config) -> Iterator[Problem]:
    for index, route in enumerate(config.routes):
        named: list[tuple[Path, str]] = [(("routes", index, "legacy"), route.legacy)]
        if route.rollout is not None:
            named.append((("routes", index, "rollout", "agent"), route.rollout.agent))
        for path, name in named:
            if name not in config.upstreams:
                yield Problem(path, f"is no upstream{closest(name, config.upstreams)}")
        if route.rollout is not None and route.rollout.agent == route.legacy:
            yield Problem(named[1][0], "is the route's legacy too; the two arms need two upstreams")


def _rollouts(config: Config) -> Iterator[Problem]:
    for index, route in enumerate(config.routes):
        for path, sentence in check_rollout(route.rollout) if route.rollout is not None else ():
            yield Problem(("routes", index, "rollout", *path), sentence)


def _callbacks(config: Config) -> Iterator[Problem]:
    """Decisions that are read in passing go on by the route that they match: by one with a rollout they would reach its
    agent, as copies at first, and in place of legacy later."""
    for index, route in enumerate(config.routes):
        pending = route.rollout.pending if route.rollout is not None else None
        if pending is None or pending.callback is None:
            continue
        wanted = pending.callback.path_prefix.rstrip("/") + "/"
        serving = [each for each in config.routes if _may_serve(each.match, route.match.host, wanted)]
        longest = max((len(each.match.path_prefix.rstrip("/")) for each in serving), default=0)
        nearest = [each for each in serving if len(each.match.path_prefix.rstrip("/")) == longest]
        if nearest and all(each.rollout is not None for each in nearest):
            sentence = (
                f"is served by the route {nearest[0].name}, whose agent would get what humans decided; give these "
                "requests a route without a rollout"
            )
            yield Problem(("routes", index, "rollout", "pending", "callback", "path_prefix"), sentence)


def _may_serve(match: Match, host: str, path: str) -> bool:
    """A decision is told by a method that changes something; by which one is not known."""
    tells = not match.methods or not set(match.methods) <= {"GET", "HEAD", "OPTIONS"}
    return tells and match.host in ("", host) and path.startswith(match.path_prefix.rstrip("/") + "/")


def _names(config: Config) -> Iterator[Problem]:
    seen: dict[str, int] = {}
    for index, route in enumerate(config.routes):
        if route.name in seen:
            yield Problem(("routes", index, "name"), f"is the name of routes[{seen[route.name]}] too")
        seen.setdefault(route.name, index)


def _matches(config: Config) -> Iterator[Problem]:
    seen: dict[object, int] = {}
    for index, route in enumerate(config.routes):
        match = route.match
        headers = frozenset((name.lower(), value) for name, value in match.headers.items())
        same = (match.host, match.path_prefix.rstrip("/"), match.methods, headers)
        if same in seen:
            sentence = f"is the same as that of routes[{seen[same]}], so this route would never be reached"
            yield Problem(("routes", index, "match"), sentence)
        seen.setdefault(same, index)


def _addresses(config: Config) -> Iterator[Problem]:
    listen, admin = config.listen.address, config.admin.address
    path = ("admin", "address")
    if listen.port == admin.port != 0:
        yield Problem(path, "has the port of listen.address; give it another one")
    if not _on_loopback(admin) and config.admin.tokens_file is None:
        yield Problem(path, "can be reached from other machines; set admin.tokens_file, or listen on 127.0.0.1")


def _listen(listen: Listen) -> Iterator[Problem]:
    if listen.tls is not None and listen.tls.client_auth is not None and listen.tls.client_ca_file is None:
        sentence = "needs client_ca_file, the CAs of the certificates that are accepted; give it, or leave this out"
        yield Problem(("listen", "tls", "client_auth"), sentence)
    if listen.proxy_protocol and not listen.trusted_proxies:
        sentence = "needs listen.trusted_proxies; name the load balancers whose PROXY header is believed"
        yield Problem(("listen", "proxy_protocol"), sentence)


def _links(escalations: Escalations) -> Iterator[Problem]:
    """Links need both; half of them would leave the human without any, and nobody would notice."""
    if escalations.url is not None and escalations.secret is None:
        yield Problem(
            ("escalations", "url"), "needs escalations.secret, which signs the links; write at least 16 characters"
        )
    if escalations.url is not None and urlsplit(escalations.url)[3:] != ("", ""):
        yield Problem(
            ("escalations", "url"), "holds a query or a fragment, and a link's own comes behind it; leave it out"
        )
    if escalations.secret is not None and escalations.url is None and escalations.webhook is None:
        sentence = "has a secret that signs nothing; give url (for links) or webhook beside it, or leave it out"
        yield Problem(("escalations",), sentence)  # at the section: a problem shows the value that it is about


def _upstream_tls(name: str, upstream: Upstream) -> Iterator[Problem]:
    path, tls = ("upstreams", name), upstream.tls
    if tls is None:
        return
    if urlsplit(upstream.url).scheme != "https":
        yield Problem((*path, "tls"), "is of no use, since the url is http://; write https://, or leave tls out")
    for given, missing in (("cert_file", "key_file"), ("key_file", "cert_file")):
        if getattr(tls, given) is not None and getattr(tls, missing) is None:
            yield Problem((*path, "tls", given), f"needs {missing} beside it; a certificate and its key go together")
    if tls.insecure_skip_verify and tls.ca_file is not None:
        sentence = "contradicts ca_file, which says whose certificates to take; keep one of the two"
        yield Problem((*path, "tls", "insecure_skip_verify"), sentence)


def _on_loopback(address: Address) -> bool:
    if address.host == "localhost":
        return True
    try:
        return ip_address(address.host).is_loopback
    except ValueError:
        return False
