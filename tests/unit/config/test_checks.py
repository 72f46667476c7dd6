"""What only shows when sections are seen together."""

import pytest

from tests.unit.config.texts import SMALL, loaded, problems, spoiled

SECOND = SMALL + "  - name: claims\n    match: {path_prefix: /claims}\n    legacy: human\n"


def test_two_routes_may_stand_side_by_side() -> None:
    assert [route.name for route in loaded(SECOND).routes] == ["refunds", "claims"]


def test_an_upstream_that_is_close_is_suggested() -> None:
    assert spoiled("legacy: human", "legacy: humen") == [
        'c.yaml:8: routes[0].legacy: "humen" is no upstream; did you mean human?'
    ]


def test_where_none_is_close_the_upstreams_are_listed() -> None:
    assert spoiled("agent: agent", "agent: robot") == [
        'c.yaml:10: routes[0].rollout.agent: "robot" is no upstream; known are agent, human'
    ]


def test_the_two_arms_need_two_upstreams() -> None:
    assert spoiled("agent: agent", "agent: human") == [
        'c.yaml:10: routes[0].rollout.agent: "human" is the route\'s legacy too; the two arms need two upstreams'
    ]


def test_names_of_routes_differ() -> None:
    assert spoiled("name: claims", "name: refunds", SECOND) == [
        'c.yaml:13: routes[1].name: "refunds" is the name of routes[0] too'
    ]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("{path_prefix: /refunds}", "{path_prefix: /refunds/}"),
        ("{}", "{path_prefix: /}"),
        ("{host: a.example}", "{host: A.EXAMPLE}"),
        ("{methods: [GET, POST]}", "{methods: [POST, GET]}"),
        ("{headers: {x-a: '1', x-b: '2'}}", "{headers: {X-B: '2', X-A: '1'}}"),
    ],
)
def test_two_routes_cannot_match_the_same(first: str, second: str) -> None:
    text = SECOND.replace("{path_prefix: /refunds}", first).replace("{path_prefix: /claims}", second)
    assert problems(text) == [
        "c.yaml:14: routes[1].match: is the same as that of routes[0], so this route would never be reached"
    ]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("{path_prefix: /refunds}", "{path_prefix: /refunds-old}"),
        ("{methods: [GET]}", "{methods: [GET, POST]}"),
        ("{headers: {x-a: '1'}}", "{headers: {x-a: '2'}}"),
    ],
)
def test_overlapping_routes_are_allowed(first: str, second: str) -> None:
    text = SECOND.replace("{path_prefix: /refunds}", first).replace("{path_prefix: /claims}", second)
    assert len(loaded(text).routes) == 2


def test_two_routes_without_a_match_are_the_same_too() -> None:
    text = SECOND.replace("    match: {path_prefix: /refunds}\n", "").replace("    match: {path_prefix: /claims}\n", "")
    assert problems(text) == [
        "c.yaml:12: routes[1].match: is the same as that of routes[0], so this route would never be reached"
    ]


@pytest.mark.parametrize("address", ["0.0.0.0:9900", ":9900", "10.1.2.3:9900", "[::]:9900", "crossfade.internal:9900"])
def test_the_admin_side_is_not_opened_without_tokens(address: str) -> None:
    (said,) = spoiled("127.0.0.1:9900", address)
    assert said == (
        f'c.yaml:1: admin.address: "{address}" can be reached from other machines;'
        " set admin.tokens_file, or listen on 127.0.0.1"
    )


@pytest.mark.parametrize("address", ["127.0.0.1:9900", "127.8.9.1:9900", "[::1]:9900", "localhost:9900", "127.0.0.1:0"])
def test_the_admin_side_may_be_on_loopback(address: str) -> None:
    assert str(loaded(SMALL.replace("127.0.0.1:9900", address)).admin.address) == address


def test_with_tokens_the_admin_side_may_be_anywhere() -> None:
    text = SMALL.replace('{address: "127.0.0.1:9900"}', '{address: "0.0.0.0:9900", tokens_file: /etc/tokens}')
    assert loaded(text).admin.tokens_file == "/etc/tokens"


def test_listen_and_admin_need_two_ports() -> None:
    assert spoiled("127.0.0.1:9900", "127.0.0.1:8080") == [
        'c.yaml:1: admin.address: "127.0.0.1:8080" has the port of listen.address; give it another one'
    ]


def test_both_ports_may_be_left_to_the_system() -> None:
    text = 'listen: {address: ":0"}\n' + SMALL.replace("127.0.0.1:9900", "127.0.0.1:0")
    assert loaded(text).listen.address.port == loaded(text).admin.address.port == 0


# TLS and trust


def test_asking_clients_for_certificates_needs_their_cas() -> None:
    """Whoever writes `required` must not end with a door that is open to all."""
    tls = "listen: {tls: {cert_file: a, key_file: b, client_auth: required}}\n"
    (said,) = problems(tls + SMALL)
    assert said == (
        'c.yaml:1: listen.tls.client_auth: "required" needs client_ca_file, the CAs of the certificates that are'
        " accepted; give it, or leave this out"
    )
    found = loaded(tls.replace("client_auth: required", "client_auth: optional, client_ca_file: c") + SMALL).listen.tls
    assert found is not None
    assert found.client_auth == "optional"


def test_the_proxy_protocol_is_believed_from_somebody() -> None:
    (said,) = problems(f"listen: {{proxy_protocol: true}}\n{SMALL}")
    assert said == (
        "c.yaml:1: listen.proxy_protocol: true needs listen.trusted_proxies; name the load balancers whose PROXY header"
        " is believed"
    )
    config = loaded(f"listen: {{proxy_protocol: true, trusted_proxies: [10.0.0.0/8]}}\n{SMALL}")
    assert config.listen.proxy_protocol


AGENT = 'agent: {url: "http://127.0.0.1:9002"}'
SECURE = "agent: {url: 'https://agent'}"


def agent_with(tls: str) -> str:
    return SMALL.replace(AGENT, f"agent: {{url: 'https://agent', tls: {tls}}}")


@pytest.mark.parametrize(("given", "missing"), [("cert_file", "key_file"), ("key_file", "cert_file")])
def test_a_certificate_and_its_key_go_together(given: str, missing: str) -> None:
    assert problems(agent_with(f"{{{given}: a}}")) == [
        f"c.yaml:4: upstreams.agent.tls.{given}: needs {missing} beside it; a certificate and its key go together"
    ]
    assert loaded(agent_with("{cert_file: a, key_file: b}")).upstreams["agent"].tls is not None


def test_tls_without_https_would_do_nothing() -> None:
    """Whoever writes `tls` means a hop that is encrypted."""
    assert problems(SMALL.replace(AGENT, "agent: {url: 'http://agent', tls: {min_version: 1.3}}")) == [
        "c.yaml:4: upstreams.agent.tls: is of no use, since the url is http://; write https://, or leave tls out"
    ]
    assert loaded(SMALL.replace(AGENT, SECURE)).upstreams["agent"].tls is None, "https:// alone is enough"


def test_taking_any_certificate_and_naming_cas_is_a_contradiction() -> None:
    (said,) = problems(agent_with("{insecure_skip_verify: true, ca_file: a}"))
    assert said == (
        "c.yaml:4: upstreams.agent.tls.insecure_skip_verify: true contradicts ca_file, which says whose certificates"
        " to take; keep one of the two"
    )
    assert loaded(agent_with("{insecure_skip_verify: false, ca_file: a}")).upstreams["agent"].tls is not None


def test_without_a_limit_in_flight_the_queue_may_be_left_as_it_is() -> None:
    text = SMALL.replace(AGENT, "agent: {url: 'http://agent', max_inflight: 0, max_queue: 16}")
    assert loaded(text).upstreams["agent"].max_inflight == 0


@pytest.mark.parametrize(
    ("section", "said"),
    [
        (
            "{url: 'https://x.example'}",
            "url: needs escalations.secret, which signs the links; write at least 16 characters",
        ),
        (
            "{url: 'https://x.example/?a=b', secret: 0123456789abcdef}",
            "url: holds a query or a fragment, and a link's own comes behind it; leave it out",
        ),
    ],
)
def test_links_to_escalations_need_url_and_secret(section: str, said: str) -> None:
    assert problems(SMALL + f"escalations: {section}\n") == [f"c.yaml:13: escalations.{said}"]


def test_a_secret_that_signs_nothing_is_refused_and_not_shown() -> None:
    (problem,) = problems(SMALL + "escalations: {secret: 0123456789abcdef}\n")
    assert "escalations: has a secret that signs nothing; give url (for links) or webhook beside it" in problem
    assert "0123456789abcdef" not in problem


@pytest.mark.parametrize(
    "section",
    [
        "{url: 'https://x.example', secret: 0123456789abcdef}",
        "{secret: 0123456789abcdef, webhook: {url: 'https://q.example'}}",
        "{webhook: {url: 'https://q.example'}}",
        "{valid: 1d}",
    ],
)
def test_links_webhook_both_or_none(section: str) -> None:
    loaded(SMALL + f"escalations: {section}\n")


LATE = (
    SMALL
    + """      compare: {decision: $.decision}
      pending: {callback: {path_prefix: /refunds/decisions}}
"""
)
OWN = "  - {name: decisions, match: {path_prefix: PREFIX}, legacy: human}\n"


@pytest.mark.parametrize(
    "others",
    [
        "",
        OWN.replace("PREFIX", "/"),
        OWN.replace("PREFIX", "/refunds/decisions, host: b.example"),
        OWN.replace("PREFIX", "/refunds/decisions/late"),
    ],
)
def test_decisions_that_pass_by_never_go_to_an_agent(others: str) -> None:
    """A callback on a route with a rollout would be copied to the agent, and later served by it."""
    (problem,) = problems(LATE + others)
    assert problem.partition(": ")[2] == (
        'routes[0].rollout.pending.callback.path_prefix: "/refunds/decisions" is served by the route refunds, whose '
        "agent would get what humans decided; give these requests a route without a rollout"
    )


@pytest.mark.parametrize("prefix", ["/refunds/decisions", "/refunds/decisions/", "/refunds/decisions, methods: [PUT]"])
def test_with_a_route_of_their_own_they_may_pass(prefix: str) -> None:
    assert len(loaded(LATE + OWN.replace("PREFIX", prefix)).routes) == 2


def test_where_only_another_method_has_a_rollout_they_may_pass_too() -> None:
    assert loaded(LATE.replace("{path_prefix: /refunds}", "{path_prefix: /refunds, methods: [GET]}", 1)).routes
