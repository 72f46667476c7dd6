"""The error tree: who is at fault, what the client sees, one line for the operator."""

from typing import TypeVar

import pytest

from proxy.model import errors
from proxy.model.errors import (
    ClientError,
    CommandError,
    ConfigError,
    ConflictError,
    ConnectFailureError,
    CrossfadeError,
    GatewayError,
    RequestError,
    ResetError,
    StoreError,
    StoreFormatError,
    StoreUnavailableError,
    UpstreamError,
    UpstreamTimeoutError,
)
from proxy.model.words import Failure

Kind = TypeVar("Kind", bound=CrossfadeError)


def kinds(kind: type[Kind]) -> set[type[Kind]]:
    return {kind} | {found for inner in kind.__subclasses__() for found in kinds(inner)}


def test_every_error_of_the_module_is_in_the_tree() -> None:
    named = {value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, Exception)}
    assert named <= kinds(CrossfadeError)


@pytest.mark.parametrize("kind", sorted(kinds(ClientError), key=str))
def test_a_client_at_fault_sees_a_4xx_or_what_http_has_for_it(kind: type[ClientError]) -> None:
    assert 400 <= kind.status < 500 or kind.status in {501, 505}


@pytest.mark.parametrize(
    ("kind", "status", "error", "failure"),
    [
        (ConnectFailureError, 502, "connect_failure", Failure.CONNECT_FAILURE),
        (UpstreamTimeoutError, 504, "upstream_timeout", Failure.TIMEOUT),
        (ResetError, 502, "upstream_reset", Failure.RESET),
    ],
)
def test_an_upstream_at_fault_has_its_failure(
    kind: type[UpstreamError], status: int, error: str, failure: Failure
) -> None:
    assert (kind.status, kind.error, kind.failure) == (status, error, failure)


def test_requests_errors_have_words_of_their_own() -> None:
    words = [kind.error for kind in kinds(RequestError) if "error" in vars(kind)]
    assert sorted(words) == sorted(set(words))
    assert "unavailable" in words
    assert GatewayError("draining").detail == "draining"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ConfigError("is empty"), "is empty"),
        (ConfigError("is empty", file="c.yaml"), "c.yaml: is empty"),
        (ConfigError("is missing", file="c.yaml", line=3, path="routes"), "c.yaml:3: routes: is missing"),
        (ConfigError("is missing", path="routes"), "routes: is missing"),
        (StoreFormatError("cf:{refunds}:state", "is no state"), "cf:{refunds}:state: is no state"),
        (CommandError("the rollout is paused", ("resume", "abort")), "the rollout is paused"),
    ],
)
def test_an_error_is_one_line_fit_for_an_operator(error: CrossfadeError, line: str) -> None:
    assert str(error) == line


def test_a_config_error_alone_is_its_only_problem() -> None:
    error = ConfigError("is empty", file="c.yaml")
    assert error.problems == (error,)


def test_a_config_error_of_several_is_the_first_and_counts_the_others() -> None:
    problems = tuple(ConfigError(f"problem {number}", file="c.yaml", line=number) for number in (1, 2, 3))
    error = ConfigError("problem 1", file="c.yaml", line=1, problems=problems)
    assert str(error) == "c.yaml:1: problem 1 (and 2 more)"
    assert [str(problem) for problem in error.problems] == [f"c.yaml:{n}: problem {n}" for n in (1, 2, 3)]


def test_a_config_error_with_one_problem_counts_nothing() -> None:
    problem = ConfigError("is empty", file="c.yaml")
    assert str(ConfigError("is empty", file="c.yaml", problems=(problem,))) == "c.yaml: is empty"


def test_who_asks_whether_the_store_is_at_fault_need_not_know_how() -> None:
    assert issubclass(StoreUnavailableError, StoreError)
    assert issubclass(StoreFormatError, StoreError)


def test_a_lost_race_is_a_command_error_too() -> None:
    with pytest.raises(CommandError) as caught:
        raise ConflictError("someone else was faster")
    assert caught.value.allowed == ()


def test_several_are_joined_into_the_first_which_knows_all() -> None:
    first = ConfigError("is empty", file="c.yaml", line=3, path="a")
    others = ConfigError.joined([ConfigError("is gone", path="b"), ConfigError("is bad", path="c")])
    joined = ConfigError.joined([first, others])
    assert str(joined) == "c.yaml:3: a: is empty (and 2 more)"
    assert [problem.path for problem in joined.problems] == ["a", "b", "c"]
    assert str(ConfigError.joined([first])) == str(first)
