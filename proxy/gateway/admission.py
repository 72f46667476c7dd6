"""How many client connections there may be: in all, and from one address.

The rules of this file: a connection counts from the moment it is accepted, its handshake still to come; whoever admits
one lets it go once; what is refused is counted at once, and only so many of those are held on to as long as it takes to
tell them why.
"""

import sys
from typing import Any, Final

from proxy.gateway.counters import Counters
from proxy.gateway.table import Table

LIMIT: Final = "limit"
ADDRESS_LIMIT: Final = "address_limit"
PROXY_HEADER: Final = "proxy_header"
TLS: Final = "tls"

ADMITTED: Final = 1
TOLD: Final = 2
TURNED_AWAY: Final = 3

_MOST_TOLD: Final = 256
"""Refused connections that are told why at the same time, each for a few seconds. The others are closed."""


class Admission:
    """The connections of one worker. `open` are those admitted and not gone, `told` the refused ones that are being
    told why. `fit` is how many this process has descriptors for, whatever the table's limit."""

    def __init__(self, counters: Counters) -> None:
        self.open = self.told = 0
        self.fit = sys.maxsize
        self._counters = counters
        self._addresses: dict[bytes, int] = {}

    def admit(self, address: bytes, table: Table) -> int:
        """ADMITTED by the table's limits; refused and to be TOLD why; or to be TURNED_AWAY, which means closed at once.
        Whichever it is, `leave` is to be called with it once."""
        limits = table.limits
        here = self._addresses.get(address, 0)
        if self.open >= limits.max_connections or self.open >= self.fit:
            return self._tell_or_not(LIMIT)
        # Last: whether an address is trusted is asked of those only that come over the limit.
        if 0 < limits.max_connections_per_address <= here and not table.proxies.trusts(address):
            return self._tell_or_not(ADDRESS_LIMIT)
        self.open += 1
        self._addresses[address] = here + 1
        return ADMITTED

    def leave(self, address: bytes, standing: int) -> None:
        """The connection is gone. `standing` is what `admit` returned for it."""
        if standing == TOLD:
            self.told -= 1
        elif standing == ADMITTED:
            self.open -= 1
            left = self._addresses[address] - 1
            if left:
                self._addresses[address] = left
            else:
                del self._addresses[address]

    def refuse(self, reason: str) -> None:
        """Count a connection that is refused."""
        self._counters.connections_refused[(reason,)] += 1

    def _tell_or_not(self, reason: str) -> int:
        self.refuse(reason)
        if self.told >= _MOST_TOLD:
            return TURNED_AWAY
        self.told += 1
        return TOLD


def address_of(peer: Any) -> bytes:
    """The address in what a socket says of its peer. IPv4 is written as such also where a socket of IPv6 met it."""
    if not isinstance(peer, tuple):
        return b"127.0.0.1"  # a UNIX socket: this machine
    address = str(peer[0]).partition("%")[0]
    return (address[7:] if address.startswith("::ffff:") and "." in address else address).encode()
