"""Where a request came from, as the proxies in front of us tell it: X-Forwarded-* and Forwarded (RFC 7239).

The rules of this file: it is asked only where the peer itself is trusted, else nothing of this is believed; both
headers are read from the right, because each proxy adds at the right end what it saw, and what a client made up stands
left of all of it; the first thing that is no address ends the reading; and whatever is returned is bounded and holds
nothing but visible ASCII.
"""

import re
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final, NamedTuple

_MAX_CHAIN: Final = 2048
"""Bytes of a chain that are read and sent on, its right end: some forty addresses."""
_MAX_HOST: Final = 255
_MAX_ADDRESS: Final = 64
"""Bytes of an address with its brackets and port."""
_MAX_KNOWN: Final = 4096
"""Addresses remembered. Past it all are forgotten: clients that come with new ones cost time, not memory."""

_FIT: Final = bytes((0x09, *range(0x20, 0x7F)))
"""What a header's value may hold on its way to an arm."""

_NODE: Final = re.compile(
    rb"(?:\[(?P<boxed>[0-9A-Fa-f:.]+)\]|(?P<v4>[0-9.]+))(?::(?:[0-9]{1,5}|_[0-9A-Za-z._-]+))?|(?P<v6>[0-9A-Fa-f:.]+)"
)
"""An address, perhaps with a port (RFC 7239, section 6), which may be obfuscated; v6 also bare, as X-Forwarded-For has
it. A zone (`%eth0`) means nothing on another machine and is not taken."""

_TOKEN: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PAIR: Final = rb"[ \t]*(" + _TOKEN + rb")=(" + _TOKEN + rb'|"(?:[^"\\]|\\.)*")[ \t]*'
_ELEMENT: Final = re.compile(rb"(?:%b)(?:;%b)*" % (_PAIR, _PAIR))
"""RFC 7239, section 4: pairs with `;` between; blanks around them are borne."""
_PAIRS: Final = re.compile(_PAIR)
_MARKS: Final = re.compile(rb'(?<!\\)(?:\\\\)*"|,')
"""What `_split` looks at: commas, and quotes that no backslash takes the meaning from."""

_ESCAPED: Final = re.compile(rb"\\(.)")

_HOST: Final = re.compile(rb"(?:[0-9A-Za-z._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")


class Node(NamedTuple):
    """What is known of one word: the address in its usual form, empty where it is none, and whether it is trusted."""

    address: bytes
    trusted: bool


class Proxies:
    """The networks (CIDR) of trusted proxies, made ready. IPv4 that is written as IPv6 (`::ffff:10.0.0.1`) is IPv4, in
    networks and in addresses."""

    __slots__ = ("_known", "_networks")

    def __init__(self, networks: tuple[str, ...]) -> None:
        self._networks = [_range(network) for network in networks]
        self._known: dict[bytes, Node] = {}

    def trusts(self, address: bytes) -> bool:
        """Whether one of the networks holds the address. What is no address is not trusted."""
        return self.node(address).trusted

    def node(self, word: bytes) -> Node:
        """The address that `word` is, its port and brackets left off."""
        known = self._known.get(word)
        if known is None:
            known = self._look(word)
            if len(word) <= _MAX_ADDRESS:
                if len(self._known) >= _MAX_KNOWN:
                    self._known.clear()
                self._known[word] = known
        return known

    def _look(self, word: bytes) -> Node:
        address = _address(word)
        if address is None:
            return Node(b"", trusted=False)
        number, version = int(address), address.version
        trusted = any(v == version and first <= number <= last for v, first, last in self._networks)
        return Node(str(address).encode(), trusted)


class Given(NamedTuple):
    """The values of X-Forwarded-For, -Proto, -Host and Forwarded; lines of one name joined with a comma, empty where
    there was none."""

    addresses: bytes = b""
    proto: bytes = b""
    host: bytes = b""
    forwarded: bytes = b""


class Origin(NamedTuple):
    """`lines` are header lines for the arms, each with its end. `host` is the host that the client asked for; empty
    where nothing believable was said about it."""

    client_ip: bytes
    lines: bytes
    host: bytes


def origin(peer: bytes, secure: bool, given: Given, proxies: Proxies) -> Origin:
    """Where the request of a trusted `peer` came from. `secure`: the peer speaks TLS with us.

    The client is the rightmost address of X-Forwarded-For that is not itself trusted; where all are, the leftmost. What
    is no address (garbage, `unknown`, an obfuscated name) ends the walk, and the last address before it is the client:
    at worst the peer. Where there is no X-Forwarded-For, the `for` of Forwarded is read by the same rule, and the proto
    and host beside the client's address count where X-Forwarded-Proto and -Host are missing.

    Sent on is what was given, our peer added to it: of X-Forwarded-For the right end as it came, within its bound; of
    Forwarded as much of the right end as is well-formed, so that no arm can read it another way than we do.
    """
    scheme = b"https" if secure else b"http"
    peer = proxies.node(peer).address or peer
    proto, host = given.proto, given.host
    elements = _elements(given.forwarded)
    if given.addresses:
        chain = _words(given.addresses)
        way = _walk(chain, proxies)
    else:
        way = _walk([_parameter(element, b"for") for element in elements], proxies)
        chain = way[::-1]
        if way:
            proto = proto or _parameter(elements[-len(way)], b"proto")
            host = host or _parameter(elements[-len(way)], b"host")
    proto = proto.lower()
    if proto not in (b"http", b"https"):
        proto = scheme
    lines = b"x-forwarded-for: %b\r\nx-forwarded-proto: %b\r\n" % (b", ".join((*chain, peer)), proto)
    if given.forwarded:
        hop = (b"for=%b;proto=%b" if b":" not in peer else b'for="[%b]";proto=%b') % (peer, scheme)
        lines += b"forwarded: %b\r\n" % b", ".join((*elements, hop))
    return Origin(way[-1] if way else peer, lines, _believable(host))


def _walk(words: list[bytes], proxies: Proxies) -> list[bytes]:
    """The addresses from the right end up to the client's."""
    way = []
    for word in reversed(words):
        node = proxies.node(word)
        if not node.address:
            break
        way.append(node.address)
        if not node.trusted:
            break
    return way


def _words(chain: bytes) -> list[bytes]:
    """The words of X-Forwarded-For that are read and sent on. Empty ones mean nothing (RFC 9110, section 5.6.1)."""
    return _fit([word.strip(b" \t") for word in _end(chain).split(b",")])


def _elements(forwarded: bytes) -> list[bytes]:
    """The elements of Forwarded that are read and sent on: those right of all that is malformed."""
    found = _fit([element.strip(b" \t") for element in _split(_end(forwarded))])
    for place in range(len(found) - 1, -1, -1):
        if _ELEMENT.fullmatch(found[place]) is None:
            return found[place + 1 :]
    return found


def _end(chain: bytes) -> bytes:
    """The chain's right end, within its bound, from a comma on."""
    return chain if len(chain) <= _MAX_CHAIN else chain[-_MAX_CHAIN:].partition(b",")[2]


def _fit(words: list[bytes]) -> list[bytes]:
    """Those right of the last one that holds what no header may hold, without the empty ones."""
    for place in range(len(words) - 1, -1, -1):
        if words[place].translate(None, _FIT):
            words = words[place + 1 :]
            break
    return [word for word in words if word]


def _split(forwarded: bytes) -> list[bytes]:
    """The elements, parted by the commas outside of quotes. Seen from the right: a quote that a client left open then
    spoils what is left of it, and not what a proxy has put right of it."""
    parts = []
    end, quoted = len(forwarded), False
    for mark in reversed(list(_MARKS.finditer(forwarded))):
        if mark[0] != b",":
            quoted = not quoted
        elif not quoted:
            parts.append(forwarded[mark.end() : end])
            end = mark.start()
    parts.append(forwarded[:end])
    return parts[::-1]


def _parameter(element: bytes, name: bytes) -> bytes:
    """The value of a well-formed element's parameter, without quotes; empty where it is missing or comes twice."""
    values = [value for given, value in _PAIRS.findall(element) if given.lower() == name]
    if len(values) != 1:
        return b""
    value: bytes = values[0]
    return _ESCAPED.sub(rb"\1", value[1:-1]) if value.startswith(b'"') else value


def _address(word: bytes) -> IPv4Address | IPv6Address | None:
    node = _NODE.fullmatch(word) if len(word) <= _MAX_ADDRESS else None
    if node is None:
        return None
    try:
        address = ip_address((node["boxed"] or node["v4"] or node["v6"]).decode())
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        return address.ipv4_mapped or address
    return None if node["boxed"] else address


def _range(network: str) -> tuple[int, int, int]:
    """IP version, first and last address as numbers."""
    held = ip_network(network)
    first, last = held.network_address, held.broadcast_address
    if isinstance(first, IPv6Address) and isinstance(last, IPv6Address) and first.ipv4_mapped and last.ipv4_mapped:
        return 4, int(first.ipv4_mapped), int(last.ipv4_mapped)
    return held.version, int(first), int(last)


def _believable(host: bytes) -> bytes:
    return host if len(host) <= _MAX_HOST and _HOST.fullmatch(host) else b""
