"""What an upstream may be."""

from proxy.config.upstream_schema import Upstream, UpstreamTls
from tests.unit.config.texts import SMALL, loaded


def test_a_retry_on_503_may_be_a_number_or_text() -> None:
    text = SMALL.replace('9002"}', '9002", retry: {attempts: 1, on: [503, connect_failure]}}')
    assert loaded(text).upstreams["agent"].retry.on == {"503", "connect_failure"}
    assert loaded(text.replace("[503,", '["503",')).upstreams["agent"].retry.on == {"503", "connect_failure"}


def test_an_upstream_is_verified_unless_told_otherwise() -> None:
    assert (UpstreamTls().insecure_skip_verify, UpstreamTls().min_version) == (False, "1.2")


def test_credentials_are_in_no_repr() -> None:
    upstream = Upstream(url="http://a", set_headers={"authorization": "Bearer hunter2"})
    assert "hunter2" not in repr(upstream)
    assert "hunter2" not in upstream.model_dump_json()
    assert upstream.set_headers == {"authorization": "Bearer hunter2"}


def test_the_longest_that_a_request_may_take_counts_its_waits_and_tries() -> None:
    """Its turn and its connection each time, the pauses between, and the answer once."""
    plain = {"url": "http://a", "queue_timeout": "20s", "timeouts": {"connect": "1s", "response": "30s"}}
    assert Upstream.model_validate(plain).longest == 20 + 1 + 30
    retried = Upstream.model_validate({**plain, "retry": {"attempts": 2, "backoff": "1s"}})
    assert retried.longest == 3 * (20 + 1) + (1 + 2) + 30
