"""What both arms said, compared by real processes: a decision in a header, labels, costs, and the agent's own noise."""

import asyncio
import subprocess
from itertools import count

import pytest

from tests.integration.control_world import COMMAND, Crossfade, Stage
from tests.integration.gateway.peers import answer

COMPARE = """\
compare:
        decision: {header: X-Decision}
        labels: {approve: [ok]}
        fields: {sets: ["$.tags"]}
        cost: {"approve->deny": 10}
      shadow: {repeat: 100}
"""


@pytest.fixture
def decided(scene: Stage) -> Stage:
    """The agent denies what ends in /no, and words its text anew each time."""
    words = count()
    scene.human.answers = lambda _: answer(b'{"text": "t", "tags": [1, 2]}', 200, "X-Decision: ok")
    scene.agent.answers = lambda request: answer(
        b'{"text": "%d", "tags": [2, 1]}' % next(words),
        200,
        f"X-Decision: {'deny' if '/no ' in request.start else 'approve'}",
    )
    scene.write(("compare: {decision: $.decision}\n", COMPARE))
    return scene


async def test_decisions_in_a_header_become_a_matrix_and_what_is_noise_is_marked(
    decided: Stage, crossfade: Crossfade
) -> None:
    await crossfade.start()
    for number in range(12):
        assert (await crossfade.ask(f"u{number}", "/refunds/no" if number % 3 == 0 else "/refunds/1"))[0] == 200
    route = await crossfade.until(lambda route: route["consistency"]["repeats"] == 12)

    assert [(cell["legacy"], cell["agent"], cell["pairs"], cell["cost"]) for cell in route["confusion"]] == [
        ("approve", "approve", 8, 0.0),
        ("approve", "deny", 4, 40.0),
    ]
    assert route["misses"] == {"pairs": 4, "cost": 40.0, "cost_per_pair": 40 / 12}
    assert route["consistency"]["alike"] == 12
    assert [(field["path"], field["pairs"], field["repeats"], field["noisy"]) for field in route["fields"]] == [
        ("$.text", 12, 12, None)  # too few repeats to tell
    ]
    for pair in await crossfade.pairs():
        assert [(each["path"], each["noise"]) for each in pair["differences"]] == [("$.text", True)]
        assert pair["repeat"]["decision"] == pair["agent"]["decision"]
        assert pair["legacy"]["decision"] == "approve"
        assert pair["legacy"]["headers"]["x-decision"] == "ok"

    command = (COMMAND, "evidence", "refunds", "--admin", crossfade.admin)
    shown = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    told = (await shown.communicate())[0].decode()
    assert "legacy \\ agent  approve  deny  agree" in told
    assert "misses 4, which cost 40" in told


async def test_a_cost_counts_nothing_anew_and_a_label_does(decided: Stage, crossfade: Crossfade) -> None:
    await crossfade.start()
    await crossfade.ask("u", "/refunds/no")
    await crossfade.until(lambda route: route["misses"]["cost"] == 10.0)

    decided.write(("compare: {decision: $.decision}\n", COMPARE.replace('deny": 10', 'deny": 3')))
    await crossfade.until(lambda route: route["misses"]["cost"] == 3.0)

    decided.write(("compare: {decision: $.decision}\n", COMPARE.replace("[ok]", "[ok, deny]")))
    await crossfade.until(lambda route: route["confusion"] == [])
