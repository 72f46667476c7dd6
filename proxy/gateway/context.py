"""What an agent is told of its role in the headers that tracing carries on: W3C Trace Context's `tracestate` and W3C
Baggage. Its telemetry comes back with the first, by which its spans find their pair (`proxy.telemetry.otlp`).

A client's own members go on, behind ours. But what begins with `crossfade` is ours to say: an agent that acts only in
canary must not be told by a client that it is. SDKs decode the names of baggage (percent, plus, spaces around) and
take the last of two, so a name is ours by what they make of it.
"""

from typing import Final
from urllib.parse import unquote_plus

STATE: Final = b"tracestate"
BAGGAGE: Final = b"baggage"

MAX_MEMBERS: Final = 32
MAX_BAGGAGE_MEMBERS: Final = 64
"""Of each header (Trace Context, section 3.3.1.1; Baggage, section 3.3.2): members past it are left out."""
MAX_STATE: Final = 512
MAX_BAGGAGE: Final = 8192
"""Bytes of each, likewise."""

_OURS: Final = "crossfade"


def own(mode: str, route: str) -> dict[bytes, bytes]:
    """Our members, by the header's name."""
    return {
        STATE: f"crossfade={mode}:{route}".encode("latin-1"),
        BAGGAGE: f"crossfade.mode={mode},crossfade.route={route}".encode("latin-1"),
    }


def lines(members: dict[bytes, bytes]) -> bytes:
    """The header lines where the client has none of its own."""
    return b"".join([b"%b: %b\r\n" % each for each in members.items()])


def joined(members: dict[bytes, bytes], noted: list[tuple[bytes, bytes]]) -> bytes:
    """The header lines with the client's members behind ours."""
    return b"".join(
        [
            b"%b: %b\r\n" % (header, _with_others(ours, [value for name, value in noted if name == header], header))
            for header, ours in members.items()
        ]
    )


def _with_others(ours: bytes, values: list[bytes], header: bytes) -> bytes:
    most, longest = (MAX_MEMBERS, MAX_STATE) if header == STATE else (MAX_BAGGAGE_MEMBERS, MAX_BAGGAGE)
    members = [ours]
    left, size = most - ours.count(b",") - 1, len(ours)
    for value in values:
        for raw in value.split(b","):
            member = raw.strip(b" \t")
            if not member or _is_ours(member):
                continue
            size += len(member) + 1
            if not left or size > longest:
                return b",".join(members)
            members.append(member)
            left -= 1
    return b",".join(members)


def _is_ours(member: bytes) -> bool:
    name = member.partition(b"=")[0].decode("latin-1")
    return unquote_plus(name).strip().lower().startswith(_OURS)
