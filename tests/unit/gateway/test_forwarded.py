"""Where a request came from: what is believed of the proxies in front, and what is sent on."""

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.gateway.forwarded import Given, Origin, Proxies, origin

PROXIES = Proxies(("10.0.0.0/8", "2001:db8:1::/48"))
PEER = b"10.0.0.1"


def ask(peer: bytes = PEER, *, secure: bool = False, **given: bytes) -> Origin:
    return origin(peer, secure, Given(**given), PROXIES)


# --- who is trusted


@pytest.mark.parametrize(
    ("address", "trusted"),
    [
        (b"10.0.0.0", True),
        (b"10.255.255.255", True),
        (b"11.0.0.0", False),
        (b"2001:db8:1::5", True),
        (b"2001:DB8:1:0::5", True),
        (b"2001:db8:2::5", False),
        (b"::ffff:10.1.2.3", True),  # IPv4 on a socket for both
        (b"::ffff:11.1.2.3", False),
        (b"10.0.0.01", False),  # octal to some
        (b"10.0.0", False),
        (b"proxy.example", False),
        (b"fe80::1%eth0", False),
        (b"", False),
        ("10.0.0.\N{ARABIC-INDIC DIGIT ONE}".encode(), False),
        (b"1" * 100_000, False),
    ],
)
def test_trusted_networks(address: bytes, trusted: bool) -> None:
    assert PROXIES.trusts(address) is trusted
    assert PROXIES.trusts(address) is trusted  # as it was remembered


def test_nobody_is_trusted_where_nobody_was_named() -> None:
    assert not Proxies(()).trusts(b"127.0.0.1")


def test_a_network_of_ipv4_written_as_ipv6_is_one_of_ipv4() -> None:
    assert Proxies(("::ffff:10.0.0.0/104",)).trusts(b"10.9.9.9")
    assert not Proxies(("::/0",)).trusts(b"::ffff:10.9.9.9")


def test_what_is_remembered_is_bounded() -> None:
    proxies = Proxies(("10.0.0.0/8",))
    for number in range(5000):
        assert proxies.trusts(f"10.0.{number // 256}.{number % 256}".encode())
    assert len(proxies._known) <= 4096


# --- the client's address


@pytest.mark.parametrize(
    ("chain", "client"),
    [
        (b"198.51.100.7", b"198.51.100.7"),
        (b"6.6.6.6, 198.51.100.7", b"198.51.100.7"),  # what the client made up is not reached
        (b"198.51.100.7, 10.0.0.3,10.0.0.2", b"198.51.100.7"),
        (b"10.0.0.4, 10.0.0.3", b"10.0.0.4"),  # all are trusted: the one furthest away
        (b"198.51.100.7:4711", b"198.51.100.7"),
        (b"2001:db8::7", b"2001:db8::7"),
        (b"[2001:DB8::7]", b"2001:db8::7"),
        (b"[2001:db8::7]:4711", b"2001:db8::7"),
        (b"::ffff:198.51.100.7", b"198.51.100.7"),
        (b"6.6.6.6, unknown, 10.0.0.2", b"10.0.0.2"),  # garbage hides what is left of it
        (b"6.6.6.6, [10.0.0.9], 10.0.0.2", b"10.0.0.2"),
        (b"6.6.6.6, 198.51.100.7:port", PEER),
        (b"garbage", PEER),
        (b"198.51.100.7, , ", b"198.51.100.7"),  # empty elements mean nothing
        (b" , ", PEER),
        (b"fe80::1%eth0", PEER),
        (b"6.6.6.6, \xff, 198.51.100.7", b"198.51.100.7"),
    ],
)
def test_of_x_forwarded_for(chain: bytes, client: bytes) -> None:
    assert ask(addresses=chain).client_ip == client


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        (b"for=198.51.100.7", b"198.51.100.7"),
        (b"For=198.51.100.7;proto=https;by=10.0.0.9", b"198.51.100.7"),
        (b'for="198.51.100.7:4711"', b"198.51.100.7"),
        (b'for="[2001:db8::7]"', b"2001:db8::7"),
        (b'for="[2001:db8::7]:4711"', b"2001:db8::7"),
        (b'for="[2001:db8::7]:_port"', b"2001:db8::7"),
        (b'for="198\\.51.100.7"', b"198.51.100.7"),
        (b"for=6.6.6.6, for=198.51.100.7, for=10.0.0.2", b"198.51.100.7"),
        (b"for=10.0.0.3, for=10.0.0.2", b"10.0.0.3"),
        (b"for=6.6.6.6, for=unknown, for=10.0.0.2", b"10.0.0.2"),
        (b"for=6.6.6.6, for=_hidden", PEER),
        (b"for=6.6.6.6, proto=http", PEER),
        (b"for=6.6.6.6;for=6.6.6.7", PEER),  # a parameter comes once
        (b"for=[2001:db8::7]", PEER),  # must be quoted
        (b"for=198.51.100.7:80", PEER),
        (b'for="6.6.6.6', PEER),
        (b"6.6.6.6", PEER),
    ],
)
def test_of_forwarded(forwarded: bytes, client: bytes) -> None:
    assert ask(forwarded=forwarded).client_ip == client


@pytest.mark.parametrize(
    "made_up",
    [b'for="', b'for="6.6.6.6, for=6.6.6.7', b'x="\\', b'x="\\"', b'for=6.6.6.6;x="a, for=6.6.6.7"', b"\\", b'\\"'],
)
def test_what_a_client_made_up_cannot_hide_what_its_proxy_saw(made_up: bytes) -> None:
    assert ask(forwarded=made_up + b', for="[2001:db8::7]:4711"').client_ip == b"2001:db8::7"
    assert ask(forwarded=made_up + b", for=198.51.100.7").client_ip == b"198.51.100.7"


def test_a_host_that_a_client_made_up_cannot_speak_as_a_proxy() -> None:
    said = b'for=198.51.100.7;host="x\\", for=6.6.6.6;y=\\"", for=10.0.0.2'
    assert ask(forwarded=said).client_ip == b"198.51.100.7"


def test_x_forwarded_for_counts_where_both_are_given() -> None:
    assert ask(addresses=b"198.51.100.7", forwarded=b"for=6.6.6.6").client_ip == b"198.51.100.7"


def test_a_peer_that_gives_nothing_is_the_client() -> None:
    assert ask() == Origin(PEER, b"x-forwarded-for: 10.0.0.1\r\nx-forwarded-proto: http\r\n", b"")
    assert ask(b"::ffff:10.0.0.1").client_ip == PEER


# --- what is sent on


def test_the_peer_is_added_to_the_chain() -> None:
    said = ask(addresses=b"6.6.6.6,198.51.100.7:80 , 10.0.0.2", secure=True)
    assert said.lines == (
        b"x-forwarded-for: 6.6.6.6, 198.51.100.7:80, 10.0.0.2, 10.0.0.1\r\nx-forwarded-proto: https\r\n"
    )


def test_the_peer_is_added_to_forwarded() -> None:
    given = b'for=6.6.6.6, for="[2001:db8::7]";proto=https;host=shop.example, for=10.0.0.2'
    said = ask(forwarded=given.replace(b", ", b" ,"))
    assert said.lines.split(b"\r\n") == [
        b"x-forwarded-for: 2001:db8::7, 10.0.0.2, 10.0.0.1",
        b"x-forwarded-proto: https",
        b"forwarded: %b, for=10.0.0.1;proto=http" % given,
        b"",
    ]
    assert said.host == b"shop.example"


def test_a_peer_of_ipv6_is_quoted_in_forwarded() -> None:
    said = ask(b"2001:db8:1::1", forwarded=b"for=198.51.100.7", secure=True)
    assert said.lines.endswith(b'\r\nforwarded: for=198.51.100.7, for="[2001:db8:1::1]";proto=https\r\n')


def test_of_a_malformed_forwarded_only_what_is_right_of_the_fault_is_sent_on() -> None:
    assert ask(forwarded=b'for="6.6.6.6, for=198.51.100.7').lines.endswith(
        b"\r\nforwarded: for=198.51.100.7, for=10.0.0.1;proto=http\r\n"
    )
    assert ask(forwarded=b"for=198.51.100.7, for=").lines.endswith(b"\r\nforwarded: for=10.0.0.1;proto=http\r\n")


@pytest.mark.parametrize(
    ("proto", "told"), [(b"https", b"https"), (b"HTTP", b"http"), (b"https, http", b"http"), (b"wss", b"http")]
)
def test_the_scheme_is_believed_where_it_is_one(proto: bytes, told: bytes) -> None:
    assert ask(proto=proto).lines.endswith(b"x-forwarded-proto: %b\r\n" % told)


@pytest.mark.parametrize(
    ("host", "told"),
    [
        (b"shop.example", b"shop.example"),
        (b"shop.example:8443", b"shop.example:8443"),
        (b"[2001:db8::1]:80", b"[2001:db8::1]:80"),
        (b"", b""),
        (b"a, b", b""),
        (b"user@shop.example", b""),
        (b"shop.example/path", b""),
        (b"shop.example\x00", b""),
        (b"shop.example\n", b""),
        (b"shop.example\r\nx: y", b""),
        (b"a" * 256, b""),
    ],
)
def test_the_host_is_believed_where_it_is_one(host: bytes, told: bytes) -> None:
    assert ask(host=host).host == told


def test_a_chain_over_its_bound_keeps_its_right_end() -> None:
    said = ask(addresses=b"6.6.6.6, " * 10_000 + b"198.51.100.7")
    assert said.client_ip == b"198.51.100.7"
    assert len(said.lines) < 2200
    assert said.lines.startswith(b"x-forwarded-for: 6.6.6.6, 6.6.6.6, ")
    assert ask(addresses=b"6" * 10_000).client_ip == PEER
    assert len(ask(forwarded=b"for=6.6.6.6, " * 10_000).lines) < 4400


def test_the_worst_to_read_is_garbage_like_any_other() -> None:
    for worst in (b'"\\' * 5000, b"\\" * 10_000, b"a=" * 5000, b"a=a;" * 2500, b'a="' * 3000, b" " * 10_000):
        assert ask(forwarded=worst).client_ip == PEER


WORDS = st.one_of(
    st.binary(max_size=20),
    st.sampled_from([b"10.0.0.2", b"198.51.100.7", b"[::1]:80", b"unknown", b"for=", b'"', b"\\", b";", b"=", b"\r\n"]),
    st.ip_addresses().map(lambda address: str(address).encode()),
)
VALUES = st.lists(WORDS, max_size=12).flatmap(
    lambda words: st.sampled_from([b"", b",", b", ", b", for="]).map(lambda glue: glue.join(words))
)


@given(VALUES, VALUES, VALUES, VALUES, st.booleans())
def test_whatever_comes_the_client_is_an_address_and_each_line_is_one(
    addresses: bytes, proto: bytes, host: bytes, forwarded: bytes, secure: bool
) -> None:
    said = origin(PEER, secure, Given(addresses, proto, host, forwarded), PROXIES)
    assert str(ip_address(said.client_ip.decode())).encode() == said.client_ip
    lines = said.lines.split(b"\r\n")
    assert [line.partition(b":")[0] for line in lines] == [
        b"x-forwarded-for", b"x-forwarded-proto", *([b"forwarded"] if forwarded else []), b"",
    ]  # fmt: skip
    assert all(byte == 0x09 or 0x20 <= byte < 0x7F for line in (*lines, said.host) for byte in line)


@given(VALUES, st.ip_addresses().filter(lambda address: not PROXIES.trusts(str(address).encode())))
def test_whatever_a_client_makes_up_it_is_known_by_what_its_proxy_saw(made_up: bytes, address: object) -> None:
    said = str(address).encode()
    known = PROXIES.node(said).address
    assert ask(addresses=b"%b, %b" % (made_up, said)).client_ip == known
    seen = b'for="[%b]"' % said if b":" in said else b"for=" + said
    assert ask(forwarded=b"%b, %b" % (made_up, seen)).client_ip == known
