"""A rollout's section: what it holds where keys are left out, and what its keys turn into."""

import pytest

from proxy.config.rollout_schema import CookieKey, HeaderKey, QueryKey
from proxy.model.words import Failure
from tests.unit.config.texts import SMALL, rollout_of, with_rollout


def test_the_default_stages_are_those_of_the_design() -> None:
    rollout = rollout_of(SMALL)
    hour = 3600
    assert [(stage.name, stage.weight / 1000, stage.soak / hour) for stage in rollout.stages] == [
        ("shadow", 0, 24), ("canary", 5, 1), ("expand-10", 10, 1), ("expand-25", 25, 1), ("expand-50", 50, 1),
        ("full", 100, 0),
    ]  # fmt: skip


def test_a_rollout_may_have_a_split_instead_of_stages() -> None:
    rollout = rollout_of(with_rollout("split: {weight: 5}"))
    assert rollout.split is not None
    assert (rollout.split.shadow, rollout.split.weight) == (100_000, 5_000)


def test_without_a_key_users_are_told_apart_by_address() -> None:
    assert rollout_of(SMALL).key == ("client_ip",)


def test_keys_are_tried_in_the_order_of_the_file() -> None:
    keys = rollout_of(with_rollout("key: [{query: user}, {header: X-User-Id}, client_ip, {cookie: session}]")).key
    assert keys == (QueryKey(query="user"), HeaderKey(header="X-User-Id"), "client_ip", CookieKey(cookie="session"))


def test_every_failure_falls_back_where_none_is_named() -> None:
    assert rollout_of(SMALL).fallback.on == frozenset(Failure)
    assert rollout_of(with_rollout("fallback: {on: []}")).fallback.on == frozenset()
    assert rollout_of(with_rollout("fallback: {on: [5xx]}")).fallback.on == {Failure.SERVER_ERROR}


def test_equal_weights_may_follow_each_other() -> None:
    stages = rollout_of(with_rollout("stages: [{name: a, weight: 5}, {name: b, weight: 5, soak: 1h}]")).stages
    assert [(stage.weight, stage.soak) for stage in stages] == [(5_000, 0.0), (5_000, 3600.0)]


@pytest.mark.parametrize("path", ["$", "$.decision", "$.items[0].id", "$['not a name']", "$..id", "$.a[?@.b > 1]"])
def test_json_paths(path: str) -> None:
    assert rollout_of(with_rollout(f'compare: {{decision: "{path}"}}')).compare.decision == path


def test_windows_need_no_quotes() -> None:
    rollout = rollout_of(
        with_rollout("freeze: [Fri 16:00 - Mon 08:00, 18:00 - 08:00, 2026-12-23 - 2027-01-02]\ntimezone: Europe/Berlin")
    )
    assert [window.text for window in rollout.freeze] == [
        "Fri 16:00 - Mon 08:00", "18:00 - 08:00", "2026-12-23 - 2027-01-02",
    ]  # fmt: skip


def test_what_moves_a_rollout_where_nothing_is_said() -> None:
    rollout = rollout_of(SMALL)
    assert (rollout.on_failure, rollout.on_inconclusive, rollout.holdback) == ("rollback", "hold", 0)
    assert (rollout.freeze, rollout.timezone, rollout.gates.agreement.min) == ((), "UTC", 0.95)
    assert {stage.approval for stage in rollout.stages} == {"automatic"}
