"""The sockets that clients connect to. The supervisor opens them, one for each worker, and keeps them open.

This is the one thing it owns. A socket that its worker alone held would die with the worker, and the kernel would
reset the connections that wait in its queue. Held here, it outlives the worker, and those connections are answered by
the next one. With SO_REUSEPORT the kernel spreads new connections over the workers' sockets.

A listening socket that is closed resets those who wait in its queue, and those whose handshake is not over. So the door
is shut first (`shut_door`), the queue emptied, and only then the socket closed.
"""

import ctypes
import errno
import os
import socket
import struct
import sys
from contextlib import suppress
from dataclasses import replace
from typing import Final

import structlog

from proxy.config.fields import Address
from proxy.model.errors import ConfigError

_log = structlog.get_logger()

_SO_ATTACH_FILTER: Final = 26
_NO_SYN: Final = b"".join(
    struct.pack("HBBI", *instruction)
    for instruction in (
        (0x30, 0, 0, 13),  # load the byte of the TCP header that holds the flags (RFC 9293, section 3.1)
        (0x45, 0, 1, 0x02),  # is SYN among them?
        (0x06, 0, 0, 0),  # yes: drop the packet
        (0x06, 0, 0, 0xFFFFFFFF),  # no: take all of it
    )
)
"""A socket filter (bpf(4), Linux's networking/filter) that lets no new connection begin."""


def open_sockets(address: Address, count: int) -> list[socket.socket]:
    """`count` sockets bound to one address; their workers call `listen`. ConfigError where it cannot be had.

    SO_REUSEPORT lets any process of the same user join, another Crossfade too, and then both get some of the traffic.
    So a probe without it comes first, which fails where anybody is there. Port 0 picks a free port.
    """
    opened: list[socket.socket] = []
    try:
        with _bound(address, shared=False) as probe:
            port = probe.getsockname()[1]
        for _ in range(count):
            opened.append(_bound(replace(address, port=port), shared=True))  # noqa: PERF401  # those opened before an error are closed below
    except OSError as error:
        close_sockets(opened)
        raise ConfigError(_problem(address, error), path="listen.address") from error
    return opened


def shut_door(sockets: list[socket.socket]) -> None:
    """Let no further connection begin. Those whose handshake is under way, or who wait in a queue, are still served.
    Others try again by themselves, and are refused as soon as the sockets are closed. Takes no privilege."""
    if sys.platform != "linux":
        return
    program = ctypes.create_string_buffer(_NO_SYN, len(_NO_SYN))
    attached = struct.pack("HP", len(_NO_SYN) // 8, ctypes.addressof(program))
    for each in sockets:
        try:
            each.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, attached)
        except OSError as error:
            _log.warning("door_not_shut", problem=str(error), hint="who connects in this moment may be reset")


def close_sockets(sockets: list[socket.socket]) -> None:
    for each in sockets:
        each.close()


def _bound(address: Address, *, shared: bool) -> socket.socket:
    found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, where = found[0]
    made = socket.socket(family, kind, protocol)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            with suppress(OSError):  # a host without IPv4
                made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        made.bind(where)
    except OSError:
        made.close()
        raise
    return made


def _problem(address: Address, error: OSError) -> str:
    match error:
        case socket.gaierror():
            return f"{address.host} is no address of this machine: {error.strerror}"
        case OSError(errno=errno.EADDRINUSE):
            return f"{address} is in use by another process; stop that one or write another port"
        case OSError(errno=errno.EADDRNOTAVAIL):
            return f"{address.host} is no address of this machine; write one that is, or 0.0.0.0 for all"
        case OSError(errno=errno.EACCES):
            return f"{address} may not be bound by this user; ports below 1024 need the right to"
        case _:
            return f"{address} cannot be bound: {os.strerror(error.errno) if error.errno else error}"
