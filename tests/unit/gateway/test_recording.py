"""What is kept of a request: within the bound, by allow-list, never the key."""

from proxy.gateway.recording import Excerpt, Notes, outcome
from proxy.gateway.request import Request
from proxy.model.records import Record
from proxy.model.snapshot import KeySource, RecordSpec, RolloutSpec
from proxy.model.words import Phase

ROLLOUT = RolloutSpec("agent", "v1", "shadow", Phase.PROGRESSING, 1, 0, (KeySource("client_ip"),), "s",
                      record=RecordSpec(max_body=10, headers=("content-type",)))  # fmt: skip
SERVED = ("legacy", "legacy", "no_key")


def request(*chunks: bytes) -> Request:
    noted = [(b"content-type", b"text/plain"), (b"authorization", b"Bearer s")]
    made = Request(b"POST", b"/refunds?token=secret", b"a", [], noted, -1, b"127.0.0.1", b"")
    for chunk in chunks:
        made.take(chunk)
    return made


def test_an_excerpt_is_the_beginning() -> None:
    excerpt = Excerpt(5)
    for data in (b"abc", b"def", b"ghi"):
        excerpt.add(data)
    assert (excerpt.body(), excerpt.truncated) == (b"abcde", True)


def test_a_body_of_just_the_limit_is_whole() -> None:
    excerpt = Excerpt(5)
    excerpt.add(b"abcde")
    assert (excerpt.body(), excerpt.truncated) == (b"abcde", False)


def test_only_allowed_headers_are_kept() -> None:
    told = outcome(ROLLOUT.record, 200, 0.1, "", [(b"set-cookie", b"x"), (b"content-type", b"a/b")], Excerpt(5), 0.1)
    assert told[3] == (("content-type", "a/b"),)


def test_no_answer_has_no_body() -> None:
    assert outcome(ROLLOUT.record, 0, 0.1, "timeout", [], None, 0.0) == (0, 0.1, "timeout", (), None, False, 0.0)


def test_a_record_holds_no_query_no_credentials_and_no_more_than_the_limit() -> None:
    fields, size = Notes(ROLLOUT, 1.0).pack(request(b"0123456789", b"more"), "refunds", "hash", 7, SERVED)
    record = Record(*fields)
    assert (record.target, record.headers, record.body, record.truncated) == (
        "/refunds", (("content-type", "text/plain"),), b"0123456789", True,
    )  # fmt: skip
    assert (record.bucket, record.key_hash, record.at) == (7, "hash", 1.0)
    assert size > 400


def test_of_a_body_that_was_let_go_the_beginning_is_recorded() -> None:
    made, notes = request(b"0123", b"456789", b"rest"), Notes(ROLLOUT, 1.0)
    notes.first = made.let_go(10)
    made.take(b"even more")
    record = Record(*notes.pack(made, "refunds", "", None, SERVED)[0])
    assert (record.body, record.truncated, record.bucket) == (b"0123456789", True, -1)


def test_an_answer_that_is_not_given_leaves_no_trace() -> None:
    notes = Notes(ROLLOUT, 1.0)
    notes.answer([(b"content-type", b"a/b")])
    notes.body(b"abc")
    assert notes.outcome(200, 0.2, "", 0.1) == (200, 0.2, "", (("content-type", "a/b"),), b"abc", False, 0.1)
    notes.forget()
    assert notes.outcome(200, 0.1, "timeout", 0.1) == (0, 0.1, "timeout", (), None, False, 0.0)
