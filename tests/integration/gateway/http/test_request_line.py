"""HTTP.md, chapter Request line and headers: who is asked for what, and what a header may look like."""

from dataclasses import replace

import pytest

from proxy.model.snapshot import BUCKETS
from tests.integration.gateway.conftest import World
from tests.integration.gateway.http.cases import HEAD, Cases, is_refused
from tests.integration.gateway.peers import answer, request

END = b" HTTP/1.1\r\nHost: a\r\n\r\n"


def with_host(host: bytes) -> bytes:
    return b"GET /refunds HTTP/1.1\r\nHost: " + host + b"\r\n\r\n"


HOSTS: Cases = {
    "17-host-missing": (b"GET /refunds HTTP/1.1\r\n\r\n", 400),
    "17-host-twice": (b"GET /refunds HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    "17-same-host-twice": (b"GET /refunds HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n", 400),
    "17-host-twice-in-1.0": (b"GET /refunds HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    **{
        f"17-host-{name}": (with_host(host), 400)
        for name, host in {
            "userinfo": b"a@b",
            "userinfo-with-password": b"a:b@c",
            "path": b"a/b",
            "slash": b"a/",
            "comma": b"a,b",
            "list": b"a, b",
            "empty": b"",
            "blank": b" ",
            "space": b"a b",
            "tab": b"a\tb",
            "query": b"a?b",
            "fragment": b"a#b",
            "backslash": b"a\\b",
            "scheme": b"http://a",
            "not-ascii": b"\xe4",
            "utf-8": "\u00e4".encode(),
            "quoted": b'"a"',
            "angle": b"<a>",
            "bad-escape": b"a%2",
            "bad-escape-digits": b"a%zz",
            "port-alone": b":80",
            "port-no-number": b"a:x",
            "port-signed": b"a:-1",
            "port-with-space": b"a: 80",
            "port-past-65535": b"a:65536",
            "port-too-long": b"a:000080",
            "two-ports": b"a:80:80",
            "bare-ipv6": b"::1",
            "ipv6-not-closed": b"[::1",
            "ipv6-of-nothing": b"[]",
            "ipv6-of-letters": b"[zz::1]",
            "ipv6-too-long": b"[1:2:3:4:5:6:7:8:9]",
            "ipv6-with-zone": b"[fe80::1%25eth0]",
            "ipv6-and-more": b"[::1]x",
        }.items()
    },
}

TARGETS: Cases = {
    "18-another-host": (b"GET http://b/refunds" + END, 400),
    "18-another-port": (b"GET http://a:81/refunds" + END, 400),
    "18-userinfo": (b"GET http://u@a/refunds" + END, 400),
    "18-no-authority": (b"GET http:///refunds" + END, 400),
    "18-another-scheme": (b"GET ftp://a/refunds" + END, 400),
    "18-no-host-header": (b"GET http://a/refunds HTTP/1.1\r\n\r\n", 400),
    "18-bad-host-in-1.0": (b"GET http://u@a/refunds HTTP/1.0\r\n\r\n", 400),
    "19-get-star": (b"GET *" + END, 400),
    "19-post-star": (b"POST *" + END, 400),
    "20-connect": (b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", 405),
    "20-trace": (b"TRACE /refunds" + END, 405),
    "20-no-method": (b"BREW /refunds" + END, 400),
    "20-lower-case-method": (b"get /refunds" + END, 400),
    "21-space": (b"GET /refunds /x" + END, 400),
    "21-space-before": (b"GET  /refunds" + END, 400),
    "21-space-behind": (b"GET /refunds " + END, 400),
    "21-tab": (b"GET /refunds\t" + END, 400),
    "21-tab-before": (b"GET\t/refunds" + END, 400),
    "21-nul": (b"GET /refunds\x00" + END, 400),
    "21-control": (b"GET /refunds\x01" + END, 400),
    "21-delete": (b"GET /refunds\x7f" + END, 400),
    "21-form-feed": (b"GET /refunds\x0c" + END, 400),
    "21-not-ascii": (b"GET /refunds/\xff" + END, 400),
    "21-utf-8": ("GET /refunds/\u00e4".encode() + END, 400),
    "21-control-in-query": (b"GET /refunds?a=\x01" + END, 400),
    "21-fragment": (b"GET /refunds#a" + END, 400),
    "21-no-path": (b"GET refunds" + END, 400),
    "21-query-alone": (b"GET ?a" + END, 400),
}

VERSIONS: Cases = {
    **{
        f"22-version-{name}": (b"GET /refunds " + version + b"\r\nHost: a\r\n\r\n", status)
        for name, version, status in (
            ("no-minor", b"HTTP/1", 400),
            ("empty-minor", b"HTTP/1.", 400),
            ("two-digits-major", b"HTTP/11.1", 400),
            ("two-digits-minor", b"HTTP/1.10", 400),
            ("leading-zero", b"HTTP/01.1", 400),
            ("comma", b"HTTP/1,1", 400),
            ("lower-case", b"http/1.1", 400),
            ("misspelled", b"HTPP/1.1", 400),
            ("space-behind", b"HTTP/1.1 ", 400),
            ("space-inside", b"HTTP /1.1", 400),
            ("rtsp", b"RTSP/1.0", 400),
            ("rtsp-1.1", b"RTSP/1.1", 400),
            ("ice", b"ICE/1.0", 400),
            ("0.0", b"HTTP/0.0", 400),
            ("2.0", b"HTTP/2.0", 505),
            ("2.1", b"HTTP/2.1", 505),
            ("2", b"HTTP/2", 400),
            ("3.0", b"HTTP/3.0", 505),
            ("9.9", b"HTTP/9.9", 505),
        )
    },
    "22-preface-of-http-2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    "22-tls": (b"\x16\x03\x01\x02\x00\x01\x00", 400),
    "26-http-0.9": (b"GET /refunds\r\n\r\n", 400),
    "26-http-0.9-without-path": (b"GET\r\n\r\n", 400),
    "26-http-0.9-told": (b"GET /refunds HTTP/0.9\r\nHost: a\r\n\r\n", 400),
}

HEADERS: Cases = {
    "23-nul": (HEAD + b"X: a\x00b\r\n\r\n", 400),
    "23-control": (HEAD + b"X: a\x01b\r\n\r\n", 400),
    "23-vertical-tab": (HEAD + b"X: a\x0bb\r\n\r\n", 400),
    "23-escape": (HEAD + b"X: \x1b[0m\r\n\r\n", 400),
    "23-delete": (HEAD + b"X: a\x7fb\r\n\r\n", 400),
    "23-control-at-the-start": (HEAD + b"X:\x01a\r\n\r\n", 400),
    "23-nul-in-connection": (HEAD + b"Connection: clo\x00se\r\n\r\n", 400),
    "23-no-colon": (HEAD + b"X\r\n\r\n", 400),
    "23-no-name": (HEAD + b": a\r\n\r\n", 400),
    "23-blank-name": (HEAD + b" : a\r\n\r\n", 400),
    "23-space-in-name": (HEAD + b"X Y: a\r\n\r\n", 400),
    "23-nul-in-name": (HEAD + b"X\x00: a\r\n\r\n", 400),
    "23-not-ascii-in-name": (HEAD + b"X\xe4: a\r\n\r\n", 400),
    "23-parenthesis-in-name": (HEAD + b"X(: a\r\n\r\n", 400),
    "23-quote-in-name": (HEAD + b'"X": a\r\n\r\n', 400),
    "23-slash-in-name": (HEAD + b"X/Y: a\r\n\r\n", 400),
    "25-target-too-long": (b"GET /refunds/" + b"x" * 9000 + END, 414),
    "25-header-too-large": (HEAD + b"X: " + b"y" * 60_000 + b"\r\n\r\n", 431),
    "25-headers-too-large": (HEAD + b"".join(b"X-%d: %b\r\n" % (n, b"y" * 600) for n in range(60)) + b"\r\n", 431),
    "25-name-too-large": (HEAD + b"X" * 60_000 + b": y\r\n\r\n", 431),
    "25-head-without-end": (HEAD + b"X: " + b"y" * 60_000, 431),
    "25-too-many-headers": (HEAD + b"".join(b"X-%d: 1\r\n" % n for n in range(150)) + b"\r\n", 431),
    "25-too-many-of-what-is-dropped": (HEAD + b"Keep-Alive: 1\r\n" * 150 + b"\r\n", 431),
    "32-unknown-expectation": (HEAD + b"Content-Length: 1\r\nExpect: magic\r\n\r\na", 417),
    "32-two-expectations": (HEAD + b"Content-Length: 1\r\nExpect: 100-continue, magic\r\n\r\na", 417),
}

REFUSED = HOSTS | TARGETS | VERSIONS | HEADERS


@pytest.mark.parametrize(("sent", "status"), REFUSED.values(), ids=REFUSED)
async def test_refused(world: World, sent: bytes, status: int) -> None:
    await is_refused(world, sent, status)


async def test_26_http_0_9_waits_for_nothing(world: World) -> None:
    async with world.client() as client:
        client.send(b"GET /refunds\r\n")
        assert (await client.read()).status == 400
    assert world.human.connections == 0


HOST_VALUES = {
    "17-name": (b"shop.example", "shop.example"),
    "17-port": (b"shop.example:8080", "shop.example:8080"),
    "17-empty-port": (b"shop.example:", "shop.example"),
    "17-white-space-around": (b"\t a \t", "a"),
    "17-underscore": (b"my_service:80", "my_service:80"),
    "17-dot-at-the-end": (b"a.", "a."),
    "17-escape": (b"a%41", "a%41"),
    "17-ipv4": (b"127.0.0.1:80", "127.0.0.1:80"),
    "17-ipv6": (b"[::1]", "[::1]"),
    "17-ipv6-port": (b"[2001:db8::1]:443", "[2001:db8::1]:443"),
    "17-ipv6-with-ipv4": (b"[::ffff:127.0.0.1]", "[::ffff:127.0.0.1]"),
}


@pytest.mark.parametrize(("host", "told"), HOST_VALUES.values(), ids=HOST_VALUES)
async def test_hosts_that_are_well_formed(world: World, host: bytes, told: str) -> None:
    async with world.client() as client:
        for _ in range(2):
            client.send(with_host(host))
            assert (await client.read()).status == 200
    assert [seen["host"] for seen in world.human.seen] == [told, told]


LINES = {
    "18-absolute-form": (b"GET http://a/refunds?x HTTP/1.1\r\nHost: a\r\n\r\n", "/refunds?x", "a"),
    "18-https": (b"GET https://a/refunds HTTP/1.1\r\nHost: a\r\n\r\n", "/refunds", "a"),
    "18-another-case": (b"GET HTTP://A/refunds HTTP/1.1\r\nHost: a\r\n\r\n", "/refunds", "a"),
    "18-port": (b"GET http://a:80/refunds HTTP/1.1\r\nHost: a:80\r\n\r\n", "/refunds", "a:80"),
    "18-host-of-1.0": (b"GET http://a/refunds HTTP/1.0\r\n\r\n", "/refunds", "a"),
    "21-encoded-nul": (b"GET /refunds/%00" + END, "/refunds/%00", "a"),
    "21-encoded-line-end": (b"GET /refunds/%0d%0aX:%20y" + END, "/refunds/%0d%0aX:%20y", "a"),
    "21-encoded-slash-and-dots": (b"GET /refunds/%2e%2e/%2f?a=%23" + END, "/refunds/%2e%2e/%2f?a=%23", "a"),
    "22-1.2-is-1.1": (b"GET /refunds HTTP/1.2\r\nHost: a\r\n\r\n", "/refunds", "a"),
    "22-1.9-is-1.1": (b"GET /refunds HTTP/1.9\r\nHost: a\r\n\r\n", "/refunds", "a"),
    "22-1.0-without-host": (b"GET /refunds HTTP/1.0\r\n\r\n", "/refunds", "localhost"),
    "26-empty-line-before": (b"\r\nGET /refunds" + END, "/refunds", "a"),
}


@pytest.mark.parametrize(("sent", "target", "host"), LINES.values(), ids=LINES)
async def test_request_lines_that_are_served(world: World, sent: bytes, target: str, host: str) -> None:
    async with world.client() as client:
        client.send(sent)
        assert (await client.read()).status == 200
    seen = world.human.seen[0]
    assert (seen.start, seen["host"]) == (f"GET {target} HTTP/1.1", host)


async def test_22_1_2_is_kept_alive_and_needs_a_host(world: World) -> None:
    async with world.client() as client:
        client.send(b"GET /refunds HTTP/1.2\r\nHost: a\r\n\r\n" + b"GET /refunds HTTP/1.2\r\n\r\n")
        assert [(await client.read()).status for _ in range(2)] == [200, 400]


@pytest.mark.parametrize("target", [b"http://a", b"http://a?x"], ids=["18-no-path", "18-query-without-path"])
async def test_an_absolute_form_without_path_is_the_root(world: World, target: bytes) -> None:
    async with world.client() as client:
        client.send(b"GET " + target + END)
        said = await client.read()
    assert said.status == 404, "no route of these tests begins at the root"


@pytest.mark.parametrize("target", [b"*", b"http://a"], ids=["19-options-star", "19-options-host"])
async def test_options_about_us(world: World, target: bytes) -> None:
    async with world.client() as client:
        client.send(b"OPTIONS " + target + END)
        said = await client.read()
        assert (said.status, said["content-length"], said.body) == (204, None, b"")
        assert (await client.ask()).status == 200
    assert len(world.human.seen) == 1


# --- 24: underscores

UNDERSCORED = {
    "24-of-a-client": ("X_Any", False),
    "24-of-a-key": ("X_User_Id", False),
    "24-of-a-length": ("Content_Length", False),
    "24-of-a-coding": ("Transfer_Encoding", False),
    "24-of-a-credential": ("Proxy_Authorization", False),
    "24-of-ours": ("X_Crossfade_Mode", False),
    "24-half-of-ours": ("X-Crossfade_Mode", False),
    "24-of-an-address": ("X_Forwarded_For", False),
    "24-of-what-an-upstream-is-told": ("X_Api_Key", False),
}


@pytest.mark.parametrize("allowed", [False, True], ids=["dropped", "passed"])
@pytest.mark.parametrize("name", [name for name, _ in UNDERSCORED.values()], ids=UNDERSCORED)
async def test_names_with_an_underscore(world: World, name: str, allowed: bool) -> None:
    """Passed on only where that is configured, and never where it stands for a name with a meaning."""
    world.extra = {"set_headers": (("x-api-key", "ours"),)}
    world.listen = replace(world.listen, underscore_headers=allowed)
    world.use(weight=BUCKETS)
    async with world.client() as client:
        client.send(HEAD + f"{name}: evil\r\n\r\n".encode())
        assert (await client.read()).status == 200
    passed = b"evil" in world.agent.seen[0].raw
    assert passed == (allowed and name == "X_Any")


async def test_24_an_answers_underscores_pass_but_for_ours(world: World) -> None:
    world.human.answers = lambda _: answer(b"{}", 200, "X_Any: 1", "X_Crossfade_Arm: agent", "Content_Length: 9")
    said = await world.ask()
    assert (said["x_any"], said["x_crossfade_arm"], said["content_length"]) == ("1", None, None)
    assert said["x-crossfade-arm"] == "legacy"


# --- 25: limits that take more than one read


async def test_25_a_body_over_the_limit_is_413(world: World) -> None:
    world.limits = replace(world.limits, max_body=1000)
    world.use()
    async with world.client() as client:
        client.send(request(body=b"x" * 1001))
        assert (await client.read()).status == 413
        assert await client.reader.read() == b""
    assert world.human.seen == []
    async with world.client() as client:
        client.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"3e8\r\n" + b"x" * 1000 + b"\r\n")
        client.send(b"1\r\nx\r\n0\r\n\r\n")
        assert (await client.read()).status == 413
        assert await client.reader.read() == b""
    assert all(len(seen.body) <= 1000 for seen in world.human.seen)


@pytest.mark.parametrize("size", [999, 1000], ids=["25-below", "25-at-the-limit"])
async def test_a_body_within_the_limit(world: World, size: int) -> None:
    world.limits = replace(world.limits, max_body=1000)
    world.use()
    assert (await world.ask(body=b"x" * size)).status == 200


async def test_25_a_target_is_refused_before_its_end(world: World) -> None:
    async with world.client() as client:
        client.send(b"GET /refunds/" + b"x" * 9000)
        assert (await client.read()).status == 414
    assert world.human.connections == 0


async def test_25_a_head_that_comes_in_pieces_is_refused_before_its_end(world: World) -> None:
    async with world.client() as client:
        client.send(b"GET /refunds HTTP/1.1\r\nHost: a\r\n")
        for _ in range(60):
            client.send(b"X: " + b"y" * 1000 + b"\r\n")
            await client.writer.drain()
        assert (await client.read()).status == 431
    assert world.human.connections == 0
