"""What replicas share besides the rollouts themselves: `Replicas` of `proxy.model.ports`.

| key | type | holds |
|---|---|---|
| `crossfade:{:replicas}:lease` | string | the source of the replica that decides; it lasts for LEASE |
| `crossfade:{:replicas}:living` | sorted set | the source of each replica, by when it was heard of |
| `crossfade:{route}:arrivals` | stream | what arrived at each replica, field `report` (msgpack) |

Rules kept here:
- we hold the lease only as long as the store will not give it to another one: by our monotonic clock, counted from
  before the request was sent. That holds but for a step of the server's own clock; then two may decide for a moment,
  and compare-and-set lets one of them win;
- a report is heard once, though it may be sent twice: it bears a number of its source;
- all is bounded: the stream's length and age, a report's rows, and the reports that wait while the store is away.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgpack
import structlog

from proxy.model.clock import Clock
from proxy.model.errors import StoreFormatError
from proxy.model.rollouts import Arrived, Report
from proxy.storage import keys
from proxy.storage.connection import Client, ask, translate, translated

_log = structlog.get_logger()

LEASE: Final = 3.0
"""Seconds for which the lease is given; it is to be renewed several times within them."""
LIVING: Final = 5.0
"""Seconds after which a replica that was not heard of no longer counts."""

MAX_ROWS: Final = 512
"""Slots of one report; what is older is left off."""
MAX_WAITING: Final = 64
"""Reports of one route that wait for the store; the oldest go first."""
MAX_REPORTS: Final = 500
"""Reports that the store keeps of one route, roughly: the server trims whole nodes of its stream."""
REPORTS_SECONDS: Final = 60
MAX_SOURCES: Final = 1_024
"""Replicas' lives whose last number is remembered."""

_FORMAT: Final = 1
_START: Final = b"0-0"

_LEAD: Final = """
-- KEYS: lease, living. ARGV: source, milliseconds of the lease, milliseconds of living.
-- Returns whether the source holds the lease (1 or 0), and how many live.
local holder = redis.call('GET', KEYS[1])
if not holder then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
elseif holder == ARGV[1] then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
-- What is in the future was written before the server's clock stepped back; who lives says so again.
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now - ARGV[3])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '(' .. now, '+inf')
redis.call('ZADD', KEYS[2], now, ARGV[1])
redis.call('PEXPIRE', KEYS[2], ARGV[3])
return {(not holder or holder == ARGV[1]) and 1 or 0, redis.call('ZCARD', KEYS[2])}
"""

_RELEASE: Final = """
-- KEYS: lease, living. ARGV: source.
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return redis.call('ZREM', KEYS[2], ARGV[1])
"""

_TELL: Final = """
-- KEYS: arrivals. ARGV: most reports, seconds to keep them, report.
redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', 'report', ARGV[3])
return redis.call('EXPIRE', KEYS[1], ARGV[2])
"""

_HEAR: Final = """
-- KEYS: arrivals. ARGV: the id after which to read (empty at the first time), most reports.
-- Returns the id after which to read the next time, and the entries.
local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
if not newest then return {'0-0', {}} end
local function parts(id) return tonumber(string.match(id, '^%d+')), tonumber(string.match(id, '%d+$')) end
if ARGV[1] == '' then return {newest[1], {}} end
local time, number = parts(newest[1])
local read_time, read_number = parts(ARGV[1])
-- A stream that was lost, and begun anew before a clock that steps back had come so far again.
if time < read_time or (time == read_time and number < read_number) then return {newest[1], {}} end
local entries = redis.call('XRANGE', KEYS[1], '(' .. ARGV[1], '+', 'COUNT', ARGV[2])
return {#entries > 0 and entries[#entries][1] or ARGV[1], entries}
"""


class ReplicaStore:
    """`source` is the life of this control process."""

    def __init__(self, redis: Client, clock: Clock, source: str) -> None:
        self._redis, self._clock, self._source = redis, clock, source
        self._until = 0.0
        self._number = 0
        self._waiting: dict[str, deque[bytes]] = {}
        self._read: dict[str, bytes] = {}
        self._heard: dict[tuple[str, str], int] = {}
        self._foreign: set[str] = set()

    # The lease

    @property
    def leads(self) -> bool:
        return self._clock.monotonic() < self._until

    async def lead(self) -> int:
        begun = self._clock.monotonic()
        times = (round(LEASE * 1000), round(LIVING * 1000))
        held, living = await self._eval(_LEAD, self._source, *times)
        self._until = begun + LEASE if held else 0.0
        return int(living)

    async def release(self) -> None:
        self._until = 0.0
        await self._eval(_RELEASE, self._source)

    async def _eval(self, script: str, *values: str | int) -> Any:
        names = (keys.replicas("lease"), keys.replicas("living"))
        return await ask(self._redis, "EVAL", script, len(names), *names, *values, key=names[0])

    # What arrived

    async def tell(self, reports: Sequence[Report]) -> None:
        """What cannot be told now waits, and is told with the next ones."""
        for report in reports:
            self._number += 1
            waiting = self._waiting.setdefault(report.route, deque(maxlen=MAX_WAITING))
            if len(waiting) == MAX_WAITING:
                _log.warning("report_dropped", route=report.route, problem="the store was away for too long")
            waiting.append(_pack(report, self._number))
        commands = [
            (_TELL, keys.arrivals(route), MAX_REPORTS, REPORTS_SECONDS, report)
            for route, waiting in self._waiting.items()
            for report in waiting
        ]
        for _ in await self._run(commands):
            pass
        self._waiting.clear()

    async def hear(self, routes: Sequence[str]) -> list[Report]:
        commands = [(_HEAR, keys.arrivals(route), self._read.get(route, b""), MAX_REPORTS) for route in routes]
        self._read = {route: self._read[route] for route in routes if route in self._read}
        reports: list[Report] = []
        for place, (read, entries) in await self._run(commands):
            route = routes[place]
            self._read[route] = read
            reports += self._others(route, entries)
        return reports

    async def _run(self, commands: list[tuple[Any, ...]]) -> list[tuple[int, Any]]:
        """The replies, by their place, of scripts that have one key each. A key that is not ours is told once, and has
        no reply; anything else raises StoreUnavailableError."""
        if not commands:
            return []
        pipeline = self._redis.pipeline(transaction=False)
        for script, key, *values in commands:
            pipeline.execute_command("EVAL", script, 1, key, *values)
        with translated():
            replies = await pipeline.execute(raise_on_error=False)
        found: list[tuple[int, Any]] = []
        for place, reply in enumerate(replies):
            if not isinstance(reply, Exception):
                found.append((place, reply))
                continue
            error = translate(reply, commands[place][1])
            if not isinstance(error, StoreFormatError):
                raise error from reply
            self._refuse(error)
        return found

    def _others(self, route: str, entries: list[Any]) -> Iterator[Report]:
        for _, fields in entries:
            try:
                number, report = _unpack(route, fields[1])
            except (ValueError, TypeError, IndexError, msgpack.UnpackException):
                self._refuse(StoreFormatError(keys.arrivals(route), "holds what this Crossfade cannot read"))
                continue
            life = (route, report.source)
            last = self._heard.pop(life, 0)
            self._heard[life] = max(last, number)  # the last place is the most recent one
            if len(self._heard) > MAX_SOURCES:
                del self._heard[next(iter(self._heard))]
            if report.source != self._source and number > last:
                yield report

    def _refuse(self, error: StoreFormatError) -> None:
        if error.key not in self._foreign:
            self._foreign.add(error.key)
            _log.error("store_format", error=str(error))


def _pack(report: Report, number: int) -> bytes:
    rows = [_short(row) for row in report.rows[-MAX_ROWS:]]
    packed: bytes = msgpack.packb([_FORMAT, number, report.version, report.epoch, report.source, rows])
    return packed


def _short(row: Arrived) -> tuple[int, ...]:
    """Without the zeros at its end: mostly nothing failed."""
    length = len(row)
    while length > 1 and row[length - 1] == 0:
        length -= 1
    return row[:length]


def _unpack(route: str, data: bytes) -> tuple[int, Report]:
    """Raises ValueError, TypeError or UnpackException on what `_pack` did not make."""
    form, number, version, epoch, source, rows = msgpack.unpackb(data)
    if form != _FORMAT:
        raise ValueError(f"is of format {form}")
    whole = (number, epoch, *(count for row in rows for count in row))
    if any(type(each) is not int for each in whole) or (type(version), type(source)) != (str, str):
        raise TypeError("is no report")
    return number, Report(route, version, epoch, source, tuple(Arrived(*row) for row in rows))
