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
