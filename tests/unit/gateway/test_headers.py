"""What is done with a header, by its name."""

import pytest

from proxy.gateway import headers
from proxy.gateway.headers import answer_names, nominated, request_names, without


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (b"Accept", headers.PASS),
        (b"X-User-Id", headers.NOTE),
        (b"Host", headers.HOST),
        (b"CONTENT-LENGTH", headers.LENGTH),
        (b"Transfer-Encoding", headers.CODING),
        (b"connection", headers.CONNECTION),
        (b"Keep-Alive", headers.DROP),
        (b"Upgrade", headers.UPGRADE),
        (b"TE", headers.DROP),
        (b"Proxy-Authorization", headers.DROP),
        (b"X-Forwarded-For", headers.FORWARDED),
        (b"X-Crossfade-Arm", headers.OVERRIDE),
        (b"X-Crossfade-Mode", headers.DROP),
        (b"x_user_id", headers.DROP),
        (b"Authorization", headers.PASS),
    ],
)
def test_of_a_request(name: bytes, kind: int) -> None:
    names = request_names(frozenset({b"x-user-id"}))
    assert names.classify(name) == kind
    assert names.kinds[name] == kind


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (b"X_Any", headers.PASS),
        (b"x_key", headers.NOTE),
        (b"X_User_Id", headers.DROP),
        (b"Content_Length", headers.DROP),
        (b"Transfer_Encoding", headers.DROP),
        (b"X_Forwarded_For", headers.DROP),
        (b"X_Crossfade_Mode", headers.DROP),
        (b"X-Crossfade_Mode", headers.DROP),
    ],
)
def test_of_a_request_where_underscores_may_pass(name: bytes, kind: int) -> None:
    """But for one that many origins would take for a name that means something."""
    assert request_names(frozenset({b"x-user-id", b"x_key"}), underscores=True).classify(name) == kind


def test_an_answers_underscores_pass_but_for_ours() -> None:
    names = answer_names(frozenset({b"x-crossfade-escalate"}))
    assert names.classify(b"X_Any") == headers.PASS
    for name in (b"X_Crossfade_Arm", b"X_Crossfade_Escalate", b"Content_Length"):
        assert names.classify(name) == headers.DROP


def test_an_answers_own_words_stay_with_us() -> None:
    names = answer_names(frozenset({b"x-crossfade-escalate"}))
    assert names.classify(b"X-Crossfade-Escalate") == headers.NOTE
    assert names.classify(b"X-Crossfade-Arm") == headers.DROP
    assert names.classify(b"X-Request-Id") == headers.DROP


def test_spellings_are_remembered_up_to_a_bound() -> None:
    names = request_names(frozenset())
    for number in range(10_000):
        assert names.classify(b"X-%d" % number) == headers.PASS
    assert len(names.kinds) == 4096


def test_nominated_headers_leave_with_the_hop() -> None:
    names = nominated(b"close, X-One , keep-alive,Host,content-length")
    assert names == {b"x-one"}
    assert without([b"X-ONE: 1\r\n", b"X-Two: 2\r\n"], names) == [b"X-Two: 2\r\n"]
