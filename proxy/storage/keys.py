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
| `crossfade:{route}:pairs` | stream | the pairs as they were recorded, field `pair` (JSON, sealed; see `sealing`) |
| `crossfade:{route}:verdict:<verdict>` | stream | field `of`: the ids of the pairs of one verdict, as they came |
| `crossfade:{route}:closed:<pair>` | string | what a late decision made of a pair that was pending, see `late` |
| `crossfade:{route}:pending` | sorted set | the ids of open pairs, by when they expire |
| `crossfade:{route}:ref:<ref>` | string | the id of the pair that a late decision means by `ref` |
| `crossfade:{route}:outcomes` | stream | late decisions to be joined: `outcome` (sealed), or `again`, see `late` |
| `crossfade:{route}:early:<ref>` | list | late decisions that came before their pair |
| `crossfade:{route}:early` | sorted set | the refs of these, by when their pairs are given up |
| `crossfade:{route}:escalations` | stream | `id`, `pair`, `reason` of each hand-over to the human, see `escalations` |
| `crossfade:{route}:told` | string | the id of the last entry of that stream which was taken to be told, see `untold` |
| `crossfade:{route}:untold` | sorted set | what is to be told to the human queue, by when it is tried next |
| `crossfade:{route}:escalation:<id>` | string | the id of its pair |
| `crossfade:{route}:handed:<id>` | string | what is known of it while legacy is at it (JSON, sealed) |
| `crossfade:{route}:steps:<trace>` | hash | what the agent did in one trace, see `steps` |
| `crossfade:{route}:traces` | sorted set | the traces of which there are steps, by when the first came |
| `crossfade:{route}:trace_bytes` | hash | how much room the steps of each take |
| `crossfade:{route}:erased` | hash | who was erased, and until when nothing of them is kept, see `erasure` |
| `crossfade:{route}:erasing` | string | who erases now |
| `crossfade:{route}:<stream>:anew` | stream | while an erasure writes one anew |
| `crossfade:{route}:totals:<epoch>:<stage>:<version>` | hash | the evidence of one stage, see `totals` |
| `crossfade:{route}:users:<epoch>:<stage>:<weight>:<arm>:<version>` | string | a bit for each bucket that was served |
| `crossfade:{route}:stages` | sorted set | `<epoch>:<stage>:<version>` of each stage that has evidence |
| `crossfade:{route}:seen:<source>` | string | the highest sequence number written of one worker's life |
| `crossfade:{route}:arrivals` | stream | what arrived at each replica lately, see `replicas` |
| `crossfade:{:replicas}:<what>` | | what replicas share that is of no single route, see `replicas` |

Layout 1 had neither `users`, `stages` nor `guard`, and fewer fields in its totals. It is read, and brought to 2 before
the first write (see `upgrade`). Layout 2 had nothing of what comes late, and in `verdict` the pairs' own ids; it is
read, and the first write makes it 3.
"""

from typing import Final

PREFIX: Final = "crossfade:"

LAYOUT: Final = 3
"""The layout that this program writes."""

READABLE: Final = (1, 2, 3)
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


def closed(route: str, pair: str) -> str:
    return f"{PREFIX}{{{route}}}:closed:{pair}"


def pending(route: str) -> str:
    return f"{PREFIX}{{{route}}}:pending"


def ref(route: str, digest: str) -> str:
    return f"{PREFIX}{{{route}}}:ref:{digest}"


def outcomes(route: str) -> str:
    return f"{PREFIX}{{{route}}}:outcomes"


def early(route: str, digest: str) -> str:
    return f"{PREFIX}{{{route}}}:early:{digest}"


def given_up(route: str) -> str:
    return f"{PREFIX}{{{route}}}:early"


def escalations(route: str) -> str:
    return f"{PREFIX}{{{route}}}:escalations"


def escalation(route: str, escalation_id: str) -> str:
    return f"{PREFIX}{{{route}}}:escalation:{escalation_id}"


def told(route: str) -> str:
    return f"{PREFIX}{{{route}}}:told"


def untold(route: str) -> str:
    return f"{PREFIX}{{{route}}}:untold"


def handed(route: str, escalation_id: str) -> str:
    return f"{PREFIX}{{{route}}}:handed:{escalation_id}"


def steps(route: str, trace: str) -> str:
    return f"{PREFIX}{{{route}}}:steps:{trace}"


def traces(route: str) -> str:
    return f"{PREFIX}{{{route}}}:traces"


def trace_bytes(route: str) -> str:
    return f"{PREFIX}{{{route}}}:trace_bytes"


def erased(route: str) -> str:
    return f"{PREFIX}{{{route}}}:erased"


def erasing(route: str) -> str:
    return f"{PREFIX}{{{route}}}:erasing"


def anew(stream: str) -> str:
    return f"{stream}:anew"


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
