"""One process under the supervisor: ready or not, ended or killed, and how long until the next try."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from proxy.control import child as child_module
from proxy.control.child import Backoff, Child, Program, StartError
from proxy.telemetry.clock import SystemClock

SAYS = "import sys; from proxy.telemetry import life; fd = int(sys.argv[sys.argv.index('--ready-fd') + 1]); "
WAITS = "import signal; signal.pause()"
Start = Callable[[Program], Child]


def program(code: str, *, fds: tuple[int, ...] = ()) -> Program:
    return Program("worker 1", (sys.executable, "-c", code), fds)


@pytest.fixture
async def make() -> AsyncIterator[Start]:
    children: list[Child] = []

    def child(given: Program) -> Child:
        children.append(Child(given, SystemClock()))
        return children[-1]

    yield child
    for each in children:
        await each.kill()


async def test_it_is_ready_when_it_says_so_and_tells_what_it_said(make: Start) -> None:
    child = make(program(f"{SAYS} life.say_ready(fd, '127.0.0.1:9900'); {WAITS}"))
    assert not child.ready
    assert await child.start() == "127.0.0.1:9900"
    assert child.ready
    assert child.pid is not None


async def test_what_it_says_it_cannot_is_the_error(make: Start) -> None:
    child = make(program(f"{SAYS} life.say_error(fd, 'crossfade.yaml:3: store: nobody\\nanswers'); sys.exit(1)"))
    with pytest.raises(StartError, match=r"^crossfade.yaml:3: store: nobody answers$"):
        await child.start()
    assert not child.ready


async def test_one_that_ends_without_a_word_is_an_error(make: Start) -> None:
    with pytest.raises(StartError, match="worker 1 ended with 7 before it was ready"):
        await make(program("import sys; sys.exit(7)")).start()


async def test_one_that_stays_silent_is_ended(make: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_module, "START_TIMEOUT", 0.2)
    child = make(program(WAITS))
    with pytest.raises(StartError, match=r"was not ready within 0.2 s"):
        await child.start()
    assert child.pid is None


async def test_stopped_it_ends_by_itself_or_is_killed(make: Start) -> None:
    polite = make(program(f"{SAYS} life.say_ready(fd); {WAITS}"))
    await polite.start()
    assert await polite.stop(5.0)
    assert await polite.ended() == -signal.SIGTERM

    stubborn = make(
        program(f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SAYS} life.say_ready(fd); {WAITS}")
    )
    await stubborn.start()
    assert not await stubborn.stop(0.1)
    assert await stubborn.ended() == -signal.SIGKILL


async def test_what_was_never_started_is_stopped_already(make: Start) -> None:
    child = make(program(WAITS))
    assert await child.stop(0.1)
    child.signal(signal.SIGHUP)


async def test_it_stands_in_a_session_of_its_own(make: Start) -> None:
    child = make(program(f"{SAYS} import os; life.say_ready(fd, str(os.getsid(0))); {WAITS}"))
    assert int(await child.start()) == child.pid != os.getsid(0)


async def test_it_inherits_what_it_is_given_and_nothing_else(make: Start) -> None:
    given, other = os.pipe()
    child = make(
        program(
            f"{SAYS} import os; life.say_ready(fd, ' '.join(sorted(os.listdir('/proc/self/fd'), key=int))); {WAITS}",
            fds=(given,),
        )
    )
    inherited = {int(fd) for fd in (await child.start()).split()}
    assert given in inherited
    assert other not in inherited
    os.close(given)
    os.close(other)


# A foreign program, which says nothing


def foreign(code: str, ready: Callable[[], object], output: Path) -> Program:
    async def wait() -> None:
        result = ready()
        if asyncio.iscoroutine(result):
            await result

    return Program("valkey", (sys.executable, "-c", code), ready=wait, output=output)


async def test_a_foreign_program_is_ready_when_it_serves(make: Start, tmp_path: Path) -> None:
    child = make(foreign(f"print('hello', flush=True); {WAITS}", lambda: None, tmp_path / "log"))
    await child.start()
    assert child.ready


async def test_a_foreign_program_that_ends_is_not_waited_for(make: Start, tmp_path: Path) -> None:
    child = make(foreign("print('no room'); raise SystemExit(3)", lambda: asyncio.sleep(30), tmp_path / "log"))
    with pytest.raises(StartError, match="valkey did not start: it ended with 3"):
        await child.start()
    assert (tmp_path / "log").read_text() == "no room\n"


async def test_a_foreign_program_that_does_not_serve_is_ended(make: Start, tmp_path: Path) -> None:
    def never() -> None:
        raise StartError("no answer")

    child = make(foreign(WAITS, never, tmp_path / "log"))
    with pytest.raises(StartError, match="valkey did not start: no answer"):
        await child.start()
    assert child.pid is None


async def test_what_it_prints_is_kept_within_bounds(
    make: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child_module, "_LARGEST_OUTPUT", 10)
    for number in range(4):
        child = make(foreign(f"print('start number {number}')", lambda: asyncio.sleep(30), tmp_path / "log"))
        with pytest.raises(StartError):
            await child.start()
    assert (tmp_path / "log").read_text() == "start number 3\n"
    assert (tmp_path / "log.old").read_text() == "start number 2\n"


# Again


def test_the_wait_doubles_up_to_its_limit() -> None:
    backoff = Backoff()
    assert [backoff.after(0.5) for _ in range(8)] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]


def test_one_that_lived_well_is_started_again_at_once() -> None:
    backoff = Backoff()
    for _ in range(5):
        backoff.after(0.5)
    assert backoff.after(10.0) == 0.1
    assert backoff.after(0.5) == 0.2
