"""Lists of the admin API come page by page; commands show them as one."""

from collections.abc import Callable, Iterator
from typing import Any, Final

_PAGE: Final = 500


def entries(ask: Callable[..., dict[str, Any]], route: str, name: str, limit: int, **query: Any) -> Iterator[Any]:
    """At most `limit` entries of the list `name`. A page may be short, even empty, and yet have one behind it."""
    before = None
    while limit > 0:
        page = ask(route, before=before, limit=min(limit, _PAGE), **query)
        yield from page[name]
        limit -= len(page[name])
        before = page["next"]
        if before is None:
            return
