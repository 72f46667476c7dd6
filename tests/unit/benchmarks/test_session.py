import os
import ssl
from pathlib import Path

import pytest

from benchmarks.load.cases import CASES, GOALS, Case, Kind, Tls, Traffic, choose
from benchmarks.load.certificates import Certificates, make_certificates
from benchmarks.load.children import pick_cores
from benchmarks.load.peers import PEERS, Crossfade, Nginx
from benchmarks.load.place import Place
from benchmarks.load.session import Plan
from benchmarks.load.upstreams import Upstream
from proxy.config.listen_schema import Limits
from proxy.config.load import load


def plan(rounds: int | None) -> Plan:
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


def test_without_a_number_of_rounds_each_case_has_its_own() -> None:
    ran = [case.name for _, case, peer in plan(rounds=None).steps() if peer.name == "crossfade"]
    assert [ran.count(name) for name in ("split-post", "split-10000", "idle")] == [3, 2, 1]


def test_aiohttp_and_the_plain_python_sources_keep_to_the_first_table() -> None:
    ran = {(case.kind, peer.name) for _, case, peer in plan(rounds=1).steps()}
    assert {kind for kind, peer in ran if peer == "aiohttp"} == {Kind.LOAD, Kind.IDLE}
    assert {kind for kind, peer in ran if peer == "crossfade-pure"} == {Kind.LOAD}
    assert {kind for kind, peer in ran if peer == "haproxy"} == set(Kind)


def test_the_rounds_begin_with_different_peers() -> None:
    first = [next(peer.name for number, _, peer in plan(rounds=3).steps() if number == turn) for turn in range(3)]
    assert len(set(first)) == 3


def test_every_goal_is_of_a_case_that_is_run() -> None:
    names = {case.name for case in CASES}
    assert all(goal.case in names and (not goal.peer or goal.other in names) for goal in GOALS)


def test_every_base_is_a_case_of_the_same_traffic_and_method() -> None:
    cases = {case.name: case for case in CASES}
    for case in CASES:
        if case.base:
            base = cases[case.base]
            assert (base.traffic, base.method, base.connections) == (case.traffic, case.method, 64)


def test_cases_are_chosen_by_a_part_of_their_name() -> None:
    assert [case.name for case in choose(("split-post", "idle"))] == ["split-post", "idle"]
    assert [case.name for case in choose(("split-1",))] == ["split-1000", "split-10000"]
    assert choose(()) == CASES


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("bench") / "certificates")


def place(folder: Path, certificates: Certificates, case: Case) -> Place:
    return Place(
        folder, 8080, 9900, Upstream(9001, (9001,), 9443), Upstream(9002, (9002, 9003), 9444), case, certificates
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_crossfade_s_configuration_is_valid_and_has_a_route_for_each_traffic(
    case: Case, tmp_path: Path, certificates: Certificates
) -> None:
    path = Path(Crossfade.config(place(tmp_path, certificates, case)))
    config = load(path.read_text(), str(path), {}, lambda name: Path(name).read_text())

    assert {route.match.path_prefix for route in config.routes} == {f"/{traffic}" for traffic in Traffic}
    assert config.workers == case.workers
    assert (config.listen.tls is not None) == (case.tls is not Tls.NOWHERE)
    assert all(upstream.url.startswith("https:") == (case.tls is Tls.BOTH) for upstream in config.upstreams.values())


@pytest.mark.parametrize("case", [case for case in CASES if case.kind in (Kind.LOAD, Kind.IDLE)], ids=lambda c: c.name)
def test_the_cases_of_old_run_with_all_limits_at_their_defaults(
    case: Case, tmp_path: Path, certificates: Certificates
) -> None:
    path = Path(Crossfade.config(place(tmp_path, certificates, case)))
    config = load(path.read_text(), str(path), {}, lambda name: Path(name).read_text())

    assert config.limits == Limits()
    assert all(not upstream.model_fields_set - {"url"} for upstream in config.upstreams.values())


def test_a_crowd_is_let_in_and_waits_for_its_turn(tmp_path: Path, certificates: Certificates) -> None:
    crowd = next(case for case in CASES if case.name == "split-10000")
    path = Path(Crossfade.config(place(tmp_path, certificates, crowd)))
    config = load(path.read_text(), str(path), {}, lambda name: Path(name).read_text())

    assert config.limits.max_connections >= 10_000
    assert config.limits.max_connections_per_address == 0
    assert all(upstream.max_inflight + upstream.max_queue >= 10_000 for upstream in config.upstreams.values())


def test_nginx_gets_every_port_of_the_agent(tmp_path: Path, certificates: Certificates) -> None:
    Nginx().command(place(tmp_path, certificates, CASES[0]))
    written = (tmp_path / "nginx.conf").read_text()
    assert "upstream agent { server 127.0.0.1:9002; server 127.0.0.1:9003; keepalive" in written


def test_the_certificate_is_believed_by_its_authority_only(certificates: Certificates) -> None:
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(certificates.cert, certificates.key)
    server.load_cert_chain(certificates.both)  # as HAProxy does
    assert len(certificates.client().get_ca_certs()) == 1


def test_each_turn_meets_another_port() -> None:
    upstream = Upstream(9001, (9001, 9002))
    assert [upstream.turned(turn).port for turn in range(3)] == [9001, 9002, 9001]


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_the_load_s_core_is_the_last_that_a_proxy_gets() -> None:
    cores = pick_cores()
    assert cores.proxy[0] != cores.load == cores.proxy[-1]
