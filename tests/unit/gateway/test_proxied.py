"""The PROXY header, versions 1 and 2: examples of HAProxy's specification, what is wrong, and arbitrary splits."""

import ipaddress
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.gateway.proxied import MAX_HEADER, Header, parse
from proxy.model.errors import ClientError

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
V4 = bytes((192, 0, 2, 7, 198, 51, 100, 1)) + struct.pack("!HH", 40000, 443)
V6 = ipaddress.ip_address("2001:db8::7").packed + ipaddress.ip_address("2001:db8::1").packed + struct.pack("!HH", 1, 2)


def version_2(command: int = 0x21, family: int = 0x11, block: bytes = V4) -> bytes:
    return SIGNATURE + bytes((command, family)) + struct.pack("!H", len(block)) + block


@pytest.mark.parametrize(
    ("header", "address"),
    [
        (b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 443\r\n", b"192.0.2.7"),
        (b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", b"255.255.255.255"),
        (b"PROXY TCP6 2001:DB8:0::7 2001:db8::1 40000 443\r\n", b"2001:db8::7"),
        (b"PROXY TCP6 ::ffff:192.0.2.7 ::1 0 443\r\n", b"192.0.2.7"),
        (b"PROXY UNKNOWN\r\n", b""),
        (b"PROXY UNKNOWN " + b"f" * 91 + b"\r\n", b""),
        (version_2(), b"192.0.2.7"),
        (version_2(block=V4 + b"\x04\x00\x03abc"), b"192.0.2.7"),
        (version_2(family=0x21, block=V6), b"2001:db8::7"),
        (version_2(command=0x20, family=0x00, block=b""), b""),
        (version_2(command=0x20, family=0xFF, block=b"ignored"), b""),
        (version_2(family=0x00, block=b""), b""),
        (version_2(family=0x12), b""),
        (version_2(family=0x31, block=b"/run/x".ljust(216, b"\x00")), b""),
    ],
)
def test_what_the_header_says(header: bytes, address: bytes) -> None:
    assert parse(header + b"GET / HTTP/1.1\r\n") == Header(address, len(header))
    assert parse(header) == Header(address, len(header))


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        b"\x16\x03\x01",
        b"proxy TCP4 1.1.1.1 2.2.2.2 1 2\r\n",
        b"PROXY TCP4 1.1.1.1 2.2.2.2 1\r\n",
        b"PROXY TCP4 1.1.1.1 2.2.2.2 1 65536\r\n",
        b"PROXY TCP4 1.1.1.1 2.2.2.2 01 2\r\n",
        b"PROXY TCP4 1.1.1.1  2.2.2.2 1 2\r\n",
        b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2 \r\n",
        b"PROXY TCP4 1.1.1.01 2.2.2.2 1 2\r\n",
        b"PROXY TCP4 1.1.1.1 2.2.2 1 2\r\n",
        b"PROXY TCP4 ::1 ::1 1 2\r\n",
        b"PROXY TCP6 1.1.1.1 2.2.2.2 1 2\r\n",
        b"PROXY TCP6 ::1%eth0 ::1 1 2\r\n",
        b"PROXY UDP4 1.1.1.1 2.2.2.2 1 2\r\n",
        b"PROXY UNKNOWNS\r\n",
        b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\n",
        b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\rGET",
        b"PROXY UNKNOWN a\rb\r\n",
        b"PROXY UNKNOWN " + b"f" * 92 + b"\r\n",
        version_2(command=0x11),
        version_2(command=0x22),
        version_2(family=0x13),
        version_2(family=0x41),
        version_2(block=V4[:-1]),
        version_2(family=0x21, block=V4),
        version_2(block=V4 + bytes(MAX_HEADER)),
        SIGNATURE[:-1] + b"\r",
    ],
)
def test_a_header_that_is_none_is_refused(data: bytes) -> None:
    with pytest.raises(ClientError):
        parse(data)


def test_the_longest_headers_are_borne() -> None:
    line = b"PROXY UNKNOWN " + b"f" * 91 + b"\r\n"
    assert len(line) == 107
    assert parse(line) == Header(b"", 107)
    longest = version_2(block=V4 + bytes(MAX_HEADER - 16 - len(V4)))
    assert parse(longest) == Header(b"192.0.2.7", MAX_HEADER)


addresses = st.one_of(
    st.tuples(st.ip_addresses(v=4), st.ip_addresses(v=4)), st.tuples(st.ip_addresses(v=6), st.ip_addresses(v=6))
)


@st.composite
def headers(draw: st.DrawFn) -> bytes:
    source, destination = draw(addresses)
    port = draw(st.integers(0, 65535))
    if draw(st.booleans()):
        return f"PROXY TCP{source.version} {source} {destination} {port} 443\r\n".encode()
    family = 0x11 if source.version == 4 else 0x21
    more = draw(st.binary(max_size=64))
    return version_2(family=family, block=source.packed + destination.packed + struct.pack("!HH", port, 443) + more)


@given(headers(), st.binary(max_size=32))
def test_no_byte_less_than_the_header_is_enough_and_none_more_is_taken(header: bytes, rest: bytes) -> None:
    for end in range(len(header)):
        assert parse(header[:end]) is None
    found = parse(header + rest)
    assert found is not None
    assert found.length == len(header)
    assert found.address


@given(st.one_of(st.binary(max_size=200), headers(), st.builds(bytes.__add__, headers(), st.binary(max_size=9))))
def test_whatever_is_refused_or_found_in_a_part_is_so_in_the_whole(data: bytes) -> None:
    def outcome(part: bytes) -> Header | str | None:
        try:
            return parse(part)
        except ClientError:
            return "refused"

    whole = outcome(data)
    for end in range(len(data)):
        assert outcome(data[:end]) in (None, whole)


@given(headers(), st.integers(0, 200), st.integers(0, 255))
def test_a_changed_byte_never_makes_the_header_longer_than_its_bound(header: bytes, place: int, byte: int) -> None:
    place %= len(header)
    changed = header[:place] + bytes((byte,)) + header[place + 1 :]
    try:
        found = parse(changed)
    except ClientError:
        return
    assert found is None or found.length <= len(changed)
