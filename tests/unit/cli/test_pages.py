"""A list of many pages, read as one."""

from typing import Any

from proxy.cli.pages import entries


def test_pages_are_read_until_there_are_enough() -> None:
    asked: list[tuple[str, str | None, int, str]] = []
    pages = {None: ([1, 2], "a"), "a": ([], "b"), "b": ([3], "c"), "c": ([4], None)}

    def ask(route: str, *, before: str | None, limit: int, verdict: str) -> dict[str, Any]:
        asked.append((route, before, limit, verdict))
        found, following = pages[before]
        return {"things": found[:limit], "next": following}

    assert list(entries(ask, "refunds", "things", 3, verdict="matched")) == [1, 2, 3]
    assert asked == [("refunds", before, left, "matched") for before, left in ((None, 3), ("a", 1), ("b", 1))]
    assert list(entries(ask, "refunds", "things", 10_000, verdict="matched")) == [1, 2, 3, 4]
    assert asked[3] == ("refunds", None, 500, "matched")
