"""Every key of the store in one place.

The braces are a Cluster hash tag: all keys of one route live in one slot, so that one script may touch them together.
Route names hold neither braces nor colons, and stage names no colon; a version may hold anything printable, so it
stands last.

| key | type | holds |
|---|---|---|
| `crossfade:{route}:format` | string | the number of the layout below, written with the first batch |
| `crossfade:{route}:state` | string | the rollout's state (JSON) |
| `crossfade:{route}:history` | stream | its moves, field `event` (JSON) |
| `crossfade:{route}:guard` | string | the guard's memory, for whoever decides next; see `proxy.control.guard` |
| `crossfade:{route}:pairs` | stream | the pairs, field `pair` (JSON) |
| `crossfade:{route}:verdict:<verdict>` | stream | the ids of the pairs of one verdict, nothing else |
| `crossfade:{route}:totals:<epoch>:<stage>:<version>` | hash | the evidence of one stage, see `totals` |
| `crossfade:{route}:users:<epoch>:<stage>:<weight>:<arm>:<version>` | string | a bit for each bucket that was served |
| `crossfade:{route}:stages` | sorted set | `<epoch>:<stage>:<version>` of each stage that has evidence |
| `crossfade:{route}:seen:<source>` | string | the highest sequence number written of one worker's life |
| `crossfade:{route}:arrivals` | stream | what arrived at each replica lately, see `replicas` |
| `crossfade:{:replicas}:<what>` | | what replicas share that is of no single route, see `replicas` |

Layout 1 had neither `users`, `stages` nor `guard`, and fewer fields in its totals. It is read, and brought to 2 before
the first write (see `upgrade`).
"""

from typing import Final

PREFIX: Final = "crossfade:"

LAYOUT: Final = 2
"""The layout that this program writes."""

READABLE: Final = (1, 2)
"""Those that it reads. A store with any other is refused."""


def layout(route: str) -> str:
    return f"{PREFIX}{{{route}}}:format"


def state(route: str) -> str:
    return f"{PREFIX}{{{route}}}:state"


def history(route: str) -> str:
    return f"{PREFIX}{{{route}}}:history"


def guard(route: str) -> str:
    return f"{PREFIX}{{{route}}}:guard"


def pairs(route: str) -> str:
    return f"{PREFIX}{{{route}}}:pairs"


def verdict(route: str, word: str) -> str:
    return f"{PREFIX}{{{route}}}:verdict:{word}"


def totals(route: str, version: str, epoch: int, stage: str) -> str:
    return f"{PREFIX}{{{route}}}:totals:{stage_name(version, epoch, stage)}"


def totals_pattern() -> str:
    """The totals of all routes, as SCAN matches them."""
    return f"{PREFIX}{{*}}:totals:*"


def split_totals(key: str) -> tuple[str, str]:
    """Route and `stage_name` of a totals' key."""
    route, _, name = key.removeprefix(f"{PREFIX}{{").partition("}:totals:")
    return route, name


def users(route: str, version: str, epoch: int, stage: str, weight: int, arm: str) -> str:
    return f"{PREFIX}{{{route}}}:users:{epoch}:{stage}:{weight}:{arm}:{version}"


def stages(route: str) -> str:
    return f"{PREFIX}{{{route}}}:stages"


def stage_name(version: str, epoch: int, stage: str) -> str:
    """What `stages` calls one stage of one epoch of one version; also the end of its totals' key."""
    return f"{epoch}:{stage}:{version}"


def split_stage(name: str) -> tuple[str, int, str]:
    """(version, epoch, stage). Raises ValueError where it is no `stage_name`."""
    epoch, stage, version = name.split(":", 2)
    return version, int(epoch), stage


def seen(route: str, source: str) -> str:
    return f"{PREFIX}{{{route}}}:seen:{source}"


def arrivals(route: str) -> str:
    return f"{PREFIX}{{{route}}}:arrivals"


def replicas(what: str) -> str:
    """No route is called `:replicas`: names of routes hold no colon."""
    return f"{PREFIX}{{:replicas}}:{what}"
