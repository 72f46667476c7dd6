"""Who may ask: bearer tokens with roles, kept as hashes in a file.

A line of the file is `name role sha256:<hex of the token>`; role is `viewer` (may read), `operator` (may also act),
`reporter` (may report what humans decided, and nothing else: its token lies in the human workflow) or `agent` (may send
spans, and nothing else: its token lies with an agent, which must not say what humans decided). `#` starts a comment.
The file is read again when it changes; a change that cannot be used is logged, and the tokens that were known before
stay.
"""

import hashlib
import hmac
import os
import re
import stat
from enum import StrEnum
from pathlib import Path
from typing import Final, NamedTuple

import structlog

from proxy.model.errors import ConfigError

_log = structlog.get_logger()
_LINE: Final = re.compile(r"(?P<name>[A-Za-z0-9._@-]{1,64})\s+(?P<role>\S+)\s+sha256:(?P<hash>[0-9a-fA-F]{64})")
_MAX_BYTES: Final = 1 << 20


class Role(StrEnum):
    VIEWER = "viewer"
    OPERATOR = "operator"
    REPORTER = "reporter"
    AGENT = "agent"


class Caller(NamedTuple):
    """Who asks. `name` is the token's, empty where no tokens are in use."""

    name: str
    role: Role


class Tokens:
    """The tokens of one file. Raises ConfigError where it cannot be used."""

    def __init__(self, file: str | Path) -> None:
        self._file = Path(file)
        self._seen = self._signature()
        self._callers = _read(self._file)

    def find(self, token: str) -> Caller | None:
        """Whose token this is. Every known hash is compared, so time tells nothing about which one was close."""
        self._refresh()
        given = hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()
        found = None
        for known, caller in self._callers.items():
            if hmac.compare_digest(known, given):
                found = caller
        return found

    def _refresh(self) -> None:
        seen = self._signature()
        if seen == self._seen:
            return
        self._seen = seen
        try:
            self._callers = _read(self._file)
        except ConfigError as error:
            _log.error("tokens_not_reloaded", detail=str(error))
        else:
            _log.info("tokens_reloaded", names=sorted(caller.name for caller in self._callers.values()))

    def _signature(self) -> tuple[int, ...]:
        try:
            status = self._file.stat()
        except OSError:
            return ()
        return (status.st_ino, status.st_size, status.st_mtime_ns, status.st_mode)


def _read(file: Path) -> dict[str, Caller]:
    try:
        with file.open("rb") as opened:
            mode = stat.S_IMODE(os.fstat(opened.fileno()).st_mode)
            data = opened.read(_MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", file=str(file)) from error
    if mode & 0o006:
        raise ConfigError(
            f"everyone on this machine may read or write it (mode {mode:04o}); run chmod 600 {file}", file=str(file)
        )
    if len(data) > _MAX_BYTES:
        raise ConfigError(f"is over {_MAX_BYTES >> 20} MiB", file=str(file))
    return _parse(data.decode("utf-8", "replace"), str(file))


def _parse(text: str, file: str) -> dict[str, Caller]:
    callers: dict[str, Caller] = {}
    names: set[str] = set()
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.partition("#")[0].strip()
        if not line:
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise ConfigError("write `name role sha256:<64 hex digits>`", file=file, line=number)
        if match["role"] not in tuple(Role):
            raise ConfigError(
                f"no role {match['role']!r}; write viewer, operator, reporter or agent", file=file, line=number
            )
        if match["name"] in names or match["hash"].lower() in callers:
            raise ConfigError(f"the name or the token of {match['name']!r} stands here twice", file=file, line=number)
        names.add(match["name"])
        callers[match["hash"].lower()] = Caller(match["name"], Role(match["role"]))
    if not callers:
        raise ConfigError("holds no token", file=file)
    return callers
