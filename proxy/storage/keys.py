"""Every key of the store in one place.

The braces are a Cluster hash tag: all keys of one route live in one slot, so that one script may touch them together.
Route names hold neither braces nor colons, and stage names no colon; a version may hold anything printable, so it
stands last.

| key | type | holds |
|---|---|---|
| `crossfade:{route}:format` | string | the number of the layout below, written with the first batch |
| `crossfade:{route}:state` | string | the rollout's state (JSON) |
| `crossfade:{route}:history` | stream | its moves, field `event` (JSON) |
| `crossfade:{route}:pairs` | stream | the pairs, field `pair` (JSON) |
| `crossfade:{route}:verdict:<verdict>` | stream | the ids of the pairs of one verdict, nothing else |
| `crossfade:{route}:totals:<epoch>:<stage>:<version>` | hash | the evidence of one stage, see `totals` |
| `crossfade:{route}:seen:<source>` | string | the highest sequence number written of one worker's life |
"""

from typing import Final

PREFIX: Final = "crossfade:"

LAYOUT: Final = 1
"""The layout that this program reads and writes. A store with another one is refused."""


def layout(route: str) -> str:
    return f"{PREFIX}{{{route}}}:format"


def state(route: str) -> str:
    return f"{PREFIX}{{{route}}}:state"


def history(route: str) -> str:
    return f"{PREFIX}{{{route}}}:history"


def pairs(route: str) -> str:
    return f"{PREFIX}{{{route}}}:pairs"


def verdict(route: str, word: str) -> str:
    return f"{PREFIX}{{{route}}}:verdict:{word}"


def totals(route: str, version: str, epoch: int, stage: str) -> str:
    return f"{PREFIX}{{{route}}}:totals:{epoch}:{stage}:{version}"


def seen(route: str, source: str) -> str:
    return f"{PREFIX}{{{route}}}:seen:{source}"
