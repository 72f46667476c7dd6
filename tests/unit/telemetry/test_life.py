"""A child's two pipes to the supervisor."""

import asyncio
import os

import pytest

from proxy.telemetry import life


def said(fd: int) -> str:
    with os.fdopen(fd) as pipe:
        return pipe.read()


def test_ready_with_and_without_a_word() -> None:
    hears, speaks = os.pipe()
    life.say_ready(speaks)
    assert said(hears) == "ready\n"
    hears, speaks = os.pipe()
    life.say_ready(speaks, "127.0.0.1:9900")
    assert said(hears) == "ready 127.0.0.1:9900\n"


def test_an_error_is_one_line_whatever_it_was() -> None:
    hears, speaks = os.pipe()
    life.say_error(speaks, "c.yaml:3: store:\n  nobody answers")
    assert said(hears) == "error c.yaml:3: store: nobody answers\n"


def test_with_nobody_there_to_hear_nothing_is_raised() -> None:
    hears, speaks = os.pipe()
    os.close(hears)
    life.say_ready(speaks)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(speaks)


async def test_the_end_of_the_other_side_is_noticed_once() -> None:
    watched, kept = os.pipe()
    gone = asyncio.Event()
    calls: list[int] = []

    def orphaned() -> None:
        calls.append(1)
        gone.set()

    life.when_orphaned(watched, orphaned)
    await asyncio.sleep(0)
    assert calls == []
    os.close(kept)
    async with asyncio.timeout(5):
        await gone.wait()
    await asyncio.sleep(0.01)
    assert calls == [1]
    os.close(watched)


async def test_started_by_hand_there_is_nothing_to_say_and_nobody_to_miss() -> None:
    life.say_ready(None)
    life.say_error(None, "never mind")
    life.when_orphaned(None, lambda: None)
