"""What comes in is checked at the edge; a refusal names the path and does not repeat the input."""

import pytest
from pydantic import BaseModel

from proxy.admin.answers import ApiError
from proxy.admin.bodies import HistoryQuery, PairsQuery, read_query
from proxy.model.words import Match


def test_a_query_has_defaults() -> None:
    assert read_query({}, PairsQuery) == PairsQuery(verdict=None, before=None, limit=50)


def test_a_query_is_read_from_text() -> None:
    query = read_query({"verdict": "mismatched", "limit": "7", "before": "1-2"}, PairsQuery)
    assert query == PairsQuery(verdict=Match.MISMATCHED, before="1-2", limit=7)


@pytest.mark.parametrize(
    ("model", "query", "path"),
    [
        (PairsQuery, {"verdict": "wrong"}, "verdict"),
        (PairsQuery, {"limit": "0"}, "limit"),
        (PairsQuery, {"limit": "501"}, "limit"),
        (PairsQuery, {"limit": "ten"}, "limit"),
        (PairsQuery, {"before": "a b"}, "before"),
        (PairsQuery, {"verdcit": "matched"}, "verdcit"),
        (HistoryQuery, {"limit": "-1"}, "limit"),
    ],
)
def test_a_wrong_query_is_refused_with_its_path(model: type[BaseModel], query: dict[str, str], path: str) -> None:
    with pytest.raises(ApiError, match=f"^{path}: ") as refused:
        read_query(query, model)
    assert (refused.value.status, refused.value.extra["path"]) == (422, path)


def test_what_is_not_known_is_told_what_is() -> None:
    with pytest.raises(ApiError, match=r"^verdcit: is not known here; known are before, limit, reveal, verdict$"):
        read_query({"verdcit": "matched"}, PairsQuery)
