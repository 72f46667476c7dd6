"""What is kept of people, by the whole of Crossfade as it is run: sealed on every disk, with keys that change, and gone
when it shall be gone."""

import asyncio
import base64
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
from click.testing import CliRunner, Result

from proxy.cli.main import crossfade as command
from proxy.routing.bucket import key_hasher
from proxy.storage import keys
from proxy.storage.connection import ask as ask_plainly
from proxy.storage.connection import connect
from tests.integration.control_world import Crossfade, Stage
from tests.integration.gateway.peers import answer

JANE, JOHN = "jane.roe@example.com", "john.doe@example.com"


def key(byte: int) -> str:
    return base64.b64encode(bytes([byte]) * 32).decode()


def with_keys(text: str, *ids: tuple[str, int]) -> str:
    listed = ", ".join(f'{{id: "{name}", key: "{key(byte)}"}}' for name, byte in ids)
    return f"{text}encryption: {{keys: [{listed}]}}\n"


async def ask(crossfade: Crossfade, person: str, times: int) -> None:
    for number in range(times):
        body = {"customer": person, "number": number, "note": "late " * 50}
        async with crossfade.session.post(
            crossfade.users + "/refunds/1", json=body, headers={"x-user": person}
        ) as response:
            assert response.status == 200
            await response.read()


async def kept(crossfade: Crossfade, count: int) -> list[dict[str, Any]]:
    """The pairs, once there are so many."""
    async with asyncio.timeout(20):
        while True:
            with suppress(aiohttp.ClientError):  # control may have been killed
                if len(pairs := await crossfade.pairs()) == count:
                    return pairs
            await asyncio.sleep(0.05)


def on_disk(folder: Path) -> bytes:
    found = [path for path in folder.rglob("*") if path.is_file()]
    return b"\n".join(path.read_bytes() for path in found)


async def run(crossfade: Crossfade, *arguments: str, stdin: bytes = b"") -> Result:
    environment = {"CROSSFADE_ADMIN": crossfade.admin}
    return await asyncio.to_thread(CliRunner().invoke, command, arguments, stdin, env=environment)


async def test_on_no_disk_is_anything_readable_and_keys_may_change(scene: Stage, crossfade: Crossfade) -> None:
    scene.agent.answers = lambda _: answer(b'{"decision": "deny", "to": "' + JANE.encode() + b'"}')
    scene.file.write_text(with_keys(scene.text, ("k1", 1)))
    await crossfade.start()
    await ask(crossfade, JANE, 3)
    pairs = await kept(crossfade, 3)
    assert pairs[0]["request"]["body"]["customer"] == JANE
    assert pairs[0]["agent"]["body"]["to"] == JANE

    scene.file.write_text(with_keys(scene.text, ("k2", 2), ("k1", 1)))
    assert (await run(crossfade, "reload")).exit_code == 0
    await ask(crossfade, JANE, 2)
    pairs = await kept(crossfade, 5)
    assert {pair["request"]["body"]["customer"] for pair in pairs} == {JANE}

    crossfade.kill("control")  # until the next one is there, workers keep on disk what they report
    await ask(crossfade, JANE, 1)
    await kept(crossfade, 6)
    written = await asyncio.to_thread(on_disk, scene.folder / "data")
    assert JANE.encode() not in written
    assert key_hasher("s")(JANE.encode()).hex().encode() not in written
    assert b"k1" in written
    assert b"k2" in written

    scene.file.write_text(with_keys(scene.text, ("k2", 2)))
    assert (await run(crossfade, "reload")).exit_code == 0
    pairs = await kept(crossfade, 6)
    assert ["unreadable" in pair for pair in pairs] == [False] * 3 + [True] * 3
    assert await crossfade.metric('crossfade_unreadable_total{of="refunds"}')
    for arguments in (("pairs", "refunds"), ("pairs", "refunds", "--json")):
        shown = await run(crossfade, *arguments)
        assert shown.exit_code == 0, shown.output
    assert "k1" in shown.stdout
    erased = await run(crossfade, "pairs", "erase", "--key", JANE)
    assert erased.exit_code == 1
    assert [line.split() for line in erased.stdout.splitlines()[1:2]] == [["refunds", "3", "0", "0", "0", "0", "3"]]
    assert "not everything could be searched on refunds" in erased.stderr


async def test_a_person_is_forgotten_by_the_command_down_to_the_disk(scene: Stage, crossfade: Crossfade) -> None:
    await crossfade.start()
    redis = connect(f"unix://{scene.folder}/data/store/valkey.sock")
    await ask_plainly(redis, "CONFIG", "SET", "rdbcompression", "no")
    await ask(crossfade, JANE, 4)
    await kept(crossfade, 4)
    hers = [fields[b"pair"] for _, fields in await ask_plainly(redis, "XRANGE", keys.pairs("refunds"), "-", "+")]
    await ask(crossfade, JOHN, 4)
    await kept(crossfade, 8)
    before = await asyncio.to_thread(on_disk, scene.folder / "data")
    assert all(document in before for document in hers)

    done = await run(crossfade, "pairs", "erase", "--key", "-", "--reason", "ticket 12", stdin=JANE.encode() + b"\n")
    assert done.exit_code == 0, done.output
    assert [line.split()[:2] for line in done.stdout.splitlines()[1:2]] == [["refunds", "4"]]
    assert "not erased" in done.stdout
    assert {pair["request"]["body"]["customer"] for pair in await kept(crossfade, 4)} == {JOHN}
    gone = (*hers, JANE.encode(), key_hasher("s")(JANE.encode()).hex().encode())
    async with asyncio.timeout(20):
        while found := await asyncio.to_thread(on_disk, scene.folder / "data"):
            if not any(each in found for each in gone):
                break
            await asyncio.sleep(0.1)  # the server removes its old file a little later
    (his, *_) = await ask_plainly(redis, "XRANGE", keys.pairs("refunds"), "-", "+")
    assert his[1][b"pair"] in found
    await redis.aclose()
    assert await crossfade.metric('crossfade_pairs_erased_total{route="refunds"}') == 4
    line = await crossfade.line("person_erased", route="refunds")
    assert (line["pairs"], line["reason"]) == (4, "ticket 12")
    assert not [text for text in crossfade.log if JANE in str(text)]


async def test_who_names_nobody_is_told_so(scene: Stage, crossfade: Crossfade) -> None:
    await crossfade.start()
    for arguments, said in (
        (("--key", ""), "the key is empty"),
        (("--key", "u", "--route", "nowhere"), "no route 'nowhere' has a rollout"),
    ):
        result = await run(crossfade, "pairs", "erase", *arguments)
        assert result.exit_code == 1
        assert said in result.output
    nobody = await run(crossfade, "pairs", "erase", "--key", "nobody", "--json")
    assert nobody.exit_code == 0
    assert '"pairs": 0' in nobody.stdout
