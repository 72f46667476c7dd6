from pathlib import Path

from benchmarks.load.cases import CASES, GOALS, Traffic, choose
from benchmarks.load.peers import PEERS, Place
from benchmarks.load.session import Plan
from benchmarks.load.upstreams import Upstream
from proxy.config.load import load


def plan(rounds: int) -> Plan:
    return Plan(CASES, tuple(PEERS.values()), rounds, seconds=1, reference_seconds=1)


def test_each_peer_runs_what_it_can_and_idle_runs_once() -> None:
    steps = list(plan(rounds=3).steps())
    ran = {(case.name, peer.name) for _, case, peer in steps}

    assert ("split-post", "haproxy") in ran
    assert ("mirror-post", "haproxy") not in ran
    assert {peer for case, peer in ran if case == "pairs-post"} == {"crossfade", "crossfade-pure"}
    assert {peer for case, peer in ran if case == "dead-agent"} == {"nginx", "envoy", "crossfade"}
    others = len(PEERS) - 1  # crossfade-pure takes part with POST only
    assert sum(case.name == "idle" for _, case, _ in steps) == others
    assert sum(case.name == "plain-get" for _, case, _ in steps) == 3 * others


def test_the_rounds_begin_with_different_peers() -> None:
    first = [next(peer.name for number, _, peer in plan(rounds=3).steps() if number == turn) for turn in range(3)]
    assert len(set(first)) == 3


def test_every_goal_is_of_a_case_that_is_run() -> None:
    names = {case.name for case in CASES}
    assert all(goal.case in names and (not goal.peer or goal.other in names) for goal in GOALS)


def test_cases_are_chosen_by_a_part_of_their_name() -> None:
    assert [case.name for case in choose(("split", "idle"))] == ["split-get", "split-post", "idle"]
    assert choose(()) == CASES


def test_crossfade_s_configuration_is_valid_and_has_a_route_for_each_traffic(tmp_path: Path) -> None:
    place = Place(tmp_path, 8080, 9900, Upstream(9001, (9001,)), Upstream(9002, (9002, 9003)))
    config = load(Path(place.write("crossfade.yaml")).read_text(), "crossfade.yaml", {}, lambda path: path)
    assert {route.match.path_prefix for route in config.routes} == {f"/{traffic}" for traffic in Traffic}


def test_nginx_gets_every_port_of_the_agent(tmp_path: Path) -> None:
    place = Place(tmp_path, 8080, 9900, Upstream(9001, (9001,)), Upstream(9002, (9002, 9003)))
    written = Path(place.write("nginx.conf")).read_text()
    assert "upstream agent { server 127.0.0.1:9002; server 127.0.0.1:9003; keepalive" in written
