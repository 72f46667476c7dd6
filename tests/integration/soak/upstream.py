"""An arm that does with each request what the request's own header tells it, and remembers what it saw."""

import asyncio
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Final

from tests.integration.gateway.peers import Message
from tests.integration.soak.acts import ACTS, Act
from tests.integration.soak.play import Play

FAILING_CHECK: Final = 3
"""Each so-manieth health check fails."""
EARLY: Final = frozenset({"early", "early_then_reset"})


@dataclass(slots=True)
class Seen:
    """One request as it came: `mode` is what the gateway said its role is, `reason` why it was handed on, `whole`
    whether the answer was written to its end."""

    act: Act
    mode: str
    reason: str
    whole: bool = False


@dataclass(slots=True)
class FaultyUpstream:
    """`log` holds, by the request's number, each time it was seen; `wrong` what must never come from a gateway. `came`,
    which both arms share, is set where a request has been seen."""

    arm: str
    came: defaultdict[int, asyncio.Event]
    log: dict[int, list[Seen]] = field(default_factory=dict)
    checks: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    tunnelled: Counter[int] = field(default_factory=Counter)
    port: int = 0
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0, limit=1 << 20, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def tries(self, number: int, *modes: str) -> list[Seen]:
        return [seen for seen in self.log.get(number, ()) if seen.mode in modes]

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self.converse(reader, writer)
        finally:
            self._tasks.discard(task)
            writer.close()

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until either side has enough."""
        try:
            while await self._serve(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the gateway has left, or we are stopped
        except RuntimeError:
            assert writer.is_closing(), "uvloop refuses to write to what is closed, and nothing else"
        except (AssertionError, ValueError, LookupError) as error:
            self.wrong.append(f"{self.arm}: {error!r}")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request. Whether the connection goes on."""
        head = await _head(reader)
        if head is None:
            return False
        if head.target == "/health":
            return self._check(writer)
        number, act = int(head["x-number"] or ""), ACTS[head[f"x-{self.arm}-act"] or ""]
        tried = self.log.setdefault(number, [])
        if tried and act.once:
            act = ACTS["length"]
        seen = Seen(act, head["x-crossfade-mode"] or "", head["x-crossfade-escalation-reason"] or "")
        tried.append(seen)
        self.came[number].set()
        play = Play(reader, writer, self.arm, number, act, head, len(tried))
        if head["upgrade"] is not None and act.name == "length":
            self.tunnelled[number] += 1
            seen.whole = True
            return await play.tunnel()
        if act.name not in EARLY:
            await play.take_body()
        seen.whole = act.whole and not act.open_end
        return await play.through()

    def _check(self, writer: asyncio.StreamWriter) -> bool:
        passed = (self.checks.total() + 1) % FAILING_CHECK > 0
        self.checks["passed" if passed else "failed"] += 1
        writer.write(b"HTTP/1.1 %d Checked\r\nContent-Length: 0\r\n\r\n" % (200 if passed else 503))
        return True


async def _head(reader: asyncio.StreamReader) -> Message | None:
    """The next request's head, None where there is none."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        assert not error.partial, f"half a head: {error.partial!r}"
        return None
    start, *lines = head[:-4].decode("latin-1").split("\r\n")
    fields = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    return Message(start, fields, raw=head)
