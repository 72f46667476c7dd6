"""Evidence for Hypothesis to draw, with names that try to be mistaken for fields."""

from hypothesis import strategies as st

from proxy.model.rollouts import Evidence
from proxy.storage.tally import FIELDS, from_row

COUNTS = st.integers(0, 10**12)
NAMES = st.one_of(
    st.sampled_from(["a", "a:matched", ":mismatched", "segment:a", "(other)", "(none)", '["x","y"]', "grün", "%d{}"]),
    st.text(st.characters(exclude_categories=["C"]), min_size=1, max_size=8),
)
EVIDENCE: st.SearchStrategy[Evidence] = st.builds(
    from_row,
    st.lists(COUNTS, min_size=len(FIELDS), max_size=len(FIELDS)),
    st.dictionaries(NAMES, st.tuples(COUNTS, COUNTS), max_size=4),
    st.dictionaries(st.tuples(NAMES, NAMES), st.integers(1, 10**12), max_size=4),
)
