"""The PROXY protocol: a proxy in front of us says who connected to it, before the first byte of the client's.

HAProxy's specification 2.x: version 1 is a line of text (section 2.1), version 2 binary (section 2.2). The rules of
this file: only who is trusted is asked; nothing is guessed, a header is right or the connection is closed; what a
header does not say, or says of something that is no TCP, leaves the proxy's own address standing.
"""

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final, NamedTuple

from proxy.model.errors import ClientError

MAX_HEADER: Final = 16 + (8 << 10)
"""Bytes of a header. Version 2 could say 64 KiB; what it says beside the addresses (TLVs) is skipped, so this much is
borne of it and no more."""

_SIGNATURE: Final = b"\r\n\r\n\x00\r\nQUIT\n"
_PREFIX: Final = len(_SIGNATURE) + 4
"""Version 2: the signature, version and command, family, and two bytes of length."""
_FIRST: Final = b"PROXY "
_MAX_LINE: Final = 107
"""Version 1: its longest line, CRLF included."""
_PORT: Final = rb"(?:0|[1-9][0-9]{0,4})"
_LINE: Final = re.compile(rb"PROXY TCP([46]) ([0-9A-Fa-f:.]{2,45}) ([0-9A-Fa-f:.]{2,45}) (%b) (%b)" % (_PORT, _PORT))
_UNKNOWN: Final = b"PROXY UNKNOWN"

_LOCAL: Final = 0x20
_PROXY: Final = 0x21
_TCP4: Final = 0x11
_TCP6: Final = 0x21
_OTHERS: Final = frozenset({0x00, 0x01, 0x02, 0x10, 0x12, 0x20, 0x22, 0x30, 0x31, 0x32})
"""Families that mean something, none of them TCP over IP: unspecified, datagrams, UNIX sockets."""


class Header(NamedTuple):
    """`address` is the client's, empty where the peer speaks for itself. `length` bytes are not the client's."""

    address: bytes
    length: int


def parse(data: bytes) -> Header | None:
    """The header that `data` starts with; None where more of it has to come. Raises ClientError where it can be none.

    None says also that all of `data` belongs to the header: whoever takes it off the socket takes nothing else.
    """
    if data.startswith(_SIGNATURE[: len(data)]):
        return _version_2(data) if len(data) >= _PREFIX else None
    if data.startswith(_FIRST[: len(data)]):
        return _version_1(data)
    raise ClientError("the connection does not start with a PROXY header")


def _version_1(data: bytes) -> Header | None:
    line, end, _ = data[:_MAX_LINE].partition(b"\r\n")
    if b"\n" in line or b"\r" in (line if end else line[:-1]) or (not end and len(data) >= _MAX_LINE):
        raise ClientError(f"the PROXY line does not end in CRLF within {_MAX_LINE} bytes")
    if not end:
        return None
    length = len(line) + 2
    if line == _UNKNOWN or line.startswith(_UNKNOWN + b" "):
        return Header(b"", length)  # whatever follows is to be ignored
    found = _LINE.fullmatch(line)
    if found is None:
        raise ClientError("the PROXY line is malformed")
    kind, source, destination, *ports = found.groups()
    if any(int(port) > 65535 for port in ports):
        raise ClientError("the PROXY line holds a port that is none")
    address = _address(kind, source)
    _address(kind, destination)
    return Header(address, length)


def _address(kind: bytes, text: bytes) -> bytes:
    """An address in its usual form."""
    try:
        address = IPv4Address(text.decode()) if kind == b"4" else IPv6Address(text.decode())
    except AddressValueError:
        raise ClientError("the PROXY line holds an address that is none") from None
    return _said(address)


def _said(address: IPv4Address | IPv6Address) -> bytes:
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address).encode()


def _version_2(data: bytes) -> Header | None:
    command, family = data[12], data[13]
    length = _PREFIX + int.from_bytes(data[14:16])
    if command not in (_LOCAL, _PROXY):
        raise ClientError("the PROXY header has an unknown version or command")
    if length > MAX_HEADER:
        raise ClientError(f"the PROXY header is over {MAX_HEADER} bytes")
    size = {_TCP4: 12, _TCP6: 36}.get(family, 0) if command == _PROXY else 0
    if command == _PROXY and not size and family not in _OTHERS:
        raise ClientError("the PROXY header has an unknown address family")
    if length - _PREFIX < size:
        raise ClientError("the PROXY header is too short for its addresses")
    if len(data) < length:
        return None
    if not size:
        return Header(b"", length)
    if family == _TCP4:
        return Header(_said(IPv4Address(data[16:20])), length)
    return Header(_said(IPv6Address(data[16:32])), length)
