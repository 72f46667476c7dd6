"""A client in an open loop: `python -m benchmarks.load.openloop PORT PATH RATE SECONDS [BYTES]`, the last of a body.

The rules of this file:

- When a request is due is settled beforehand and depends on no answer. Where all connections are busy, it waits.
- Its latency counts from when it was due, not from when it was sent. Otherwise a proxy that stalls would be asked less
  just then, and its stall would show as one slow answer instead of hundreds (coordinated omission).
- The gaps are exponential (as of many independent users) and drawn from a fixed seed: every proxy gets the same ones.

Prints one line of JSON, all of it lists: latencies in µs, requests sent, errors. Its own share is in the latencies,
with a proxy as without; what a proxy adds is the difference.
"""

import gc
import itertools
import json
import math
import random
import re
import select
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Generic, TypeVar

CONNECTIONS = 64
WARM_UP = 0.3
"""Seconds at the beginning whose requests are sent and not counted."""
PATIENCE = 5.0
"""How long the last answers are waited for."""
_SEED = 2000
_USERS = 1000
BODY = 1024
_BODY = b'{"order":"A-1002","amount":129.90,"currency":"EUR","note":"%b"}'
_HEAD = b"POST %b HTTP/1.1\r\nhost: bench.test\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)

Connection = TypeVar("Connection")


def schedule(rate: float, seconds: float, seed: int = _SEED) -> list[float]:
    """When requests are due, in seconds from the start: `rate` a second on average, for `seconds`."""
    generator = random.Random(seed)
    due, at = [], generator.expovariate(rate)
    while at < seconds:
        due.append(at)
        at += generator.expovariate(rate)
    return due


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The nearest rank: the smallest value that `percent` of all are not above. `ordered` rises and is not empty."""
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


class Ledger(Generic[Connection]):
    """Which request is sent next and what its latency was. Knows neither sockets nor the clock: `now` is given, in
    seconds from the start."""

    def __init__(self, due: Sequence[float], counted_from: float = 0.0) -> None:
        self._due = due
        self._counted_from = counted_from
        self.sent = 0
        """Requests, those that are not counted included."""
        self._under_way: dict[Connection, float] = {}
        self.latencies: list[float] = []
        self.errors = 0

    @property
    def done(self) -> bool:
        return self.sent == len(self._due) and not self._under_way

    def waits_for(self, connection: Connection) -> bool:
        return connection in self._under_way

    def until_due(self, now: float) -> float | None:
        """Seconds until the next request is due, 0 where it is already; None when there is no further one."""
        return max(0.0, self._due[self.sent] - now) if self.sent < len(self._due) else None

    def send(self, connection: Connection) -> None:
        """The next request goes out on `connection`."""
        self._under_way[connection] = self._due[self.sent]
        self.sent += 1

    def answered(self, connection: Connection, now: float) -> None:
        due = self._under_way.pop(connection)
        if due >= self._counted_from:
            self.latencies.append(now - due)

    def failed(self, connection: Connection) -> None:
        """Its connection broke, or the answer was no 2xx. It counts whenever it was due."""
        del self._under_way[connection]
        self.errors += 1

    def give_up(self) -> None:
        """What is still under way, or was never sent, has failed."""
        self.errors += len(self._under_way) + len(self._due) - self.sent


class Client:
    """One kept-alive connection, with one request at a time."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket = socket.socket()
        self.connect()

    def connect(self) -> None:
        """Anew, in place of the connection there was."""
        self._socket.close()
        self._socket = socket.create_connection(("127.0.0.1", self._port), timeout=PATIENCE)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._seen = b""

    def close(self) -> None:
        self._socket.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, request: bytes) -> None:
        with suppress(ConnectionError):  # it is told by `receive`
            self._socket.sendall(request)

    def receive(self) -> bool | None:
        """As `complete`, of what came so far."""
        try:
            data = self._socket.recv(65536)
        except ConnectionError:
            return None
        self._seen += data
        state = complete(self._seen) if data else None
        if state:
            self._seen = b""
        return state


def complete(seen: bytes) -> bool | None:
    """Whether an answer that begins so is complete. None when it is no 2xx, or does not tell its length."""
    head = seen.find(b"\r\n\r\n")
    if head < 0:
        return False
    told = _LENGTH.search(seen, 0, head + 2)
    if told is None or not seen.startswith(b"HTTP/1.1 2"):
        return None
    return len(seen) >= head + 4 + int(told[1])


def run(port: int, path: str, due: Sequence[float], counted_from: float = 0.0, body: int = BODY) -> Ledger[Client]:
    """Send all that is due; ends PATIENCE after the last one at the latest."""
    ledger: Ledger[Client] = Ledger(due, counted_from)
    with ExitStack() as stack:
        clients = [stack.enter_context(closing(Client(port))) for _ in range(CONNECTIONS)]
        _send_all(ledger, clients, itertools.cycle(_requests(path, body)), due[-1] + PATIENCE)
    ledger.give_up()
    return ledger


def _send_all(ledger: Ledger[Client], clients: Sequence[Client], requests: Iterator[bytes], end: float) -> None:
    """Until all were answered, or until `end` in seconds from now."""
    free = list(clients)
    start = time.perf_counter()
    now = 0.0
    while not ledger.done and now < end:
        while free and ledger.until_due(now) == 0.0:
            client = free.pop()
            ledger.send(client)
            client.send(next(requests))
            now = time.perf_counter() - start
        pause = ledger.until_due(now) if free else None
        readable, _, _ = select.select(clients, (), (), max(0.0, end - now) if pause is None else pause)
        now = time.perf_counter() - start
        for client in readable:
            if not ledger.waits_for(client):
                client.connect()  # the server closed it while it was at rest
                continue
            state = client.receive()
            if state is None:
                ledger.failed(client)
                client.connect()
            elif state:
                ledger.answered(client, now)
            if state is not False:
                free.append(client)


def _requests(path: str, size: int) -> list[bytes]:
    body = _BODY % (b"x" * (size - len(_BODY) + 2))
    head = _HEAD % (path.encode(), len(body))
    return [b"%bx-user-id: user-%05d\r\n\r\n%b" % (head, user, body) for user in range(_USERS)]


def main(port: int, path: str, rate: float, seconds: float, body: int = BODY) -> None:
    with suppress(OSError):  # a kernel without it, or another user's: then timers are up to 50 µs late
        Path("/proc/self/timerslack_ns").write_text("1")
    gc.disable()  # there is nothing to collect, and a pause would be told as the proxy's
    ledger = run(port, path, schedule(rate, WARM_UP + seconds), WARM_UP, body)
    micros = [round(latency * 1e6) for latency in ledger.latencies]
    print(json.dumps({"latencies": micros, "requests": [ledger.sent], "errors": [ledger.errors]}))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], float(sys.argv[3]), float(sys.argv[4]), *map(int, sys.argv[5:6]))
