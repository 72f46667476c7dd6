"""File descriptors: as many as may be had, and a word where they are too few.

A worker that has run out can neither accept nor connect, and then users whose requests are under way pay for those who
come. So no more clients are admitted than there are descriptors for (see `admission`).
"""

import resource
import sys
from typing import Final

import structlog

from proxy.model.snapshot import Snapshot

_log = structlog.get_logger()

_PER_CLIENT: Final = 3
"""Its own, the one towards its arm, that of its copy."""
_OURS: Final = 64
"""Of the worker itself, with some to spare: sockets to listen on, link, spool, event loop, name look-ups, certificates
that are read again, health checks."""


def take_all() -> int:
    """Raise this process's soft limit to its hard one. How many it may have now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError) as error:  # some systems have a lower limit of their own
            _log.warning("descriptors_not_raised", limit=soft, hard=hard, problem=str(error))
        else:
            soft = hard
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


class Descriptors:
    """Of this process, which may have `limit` of them."""

    def __init__(self, limit: int = sys.maxsize) -> None:
        self._limit = limit
        self._told = (0, 0)

    def fit(self, snapshot: Snapshot) -> int:
        """How many clients there are descriptors for, at least 1. Fewer than the snapshot admits are logged, once."""
        upstreams = _upstream_connections(snapshot)
        spare = self._limit - _OURS
        fit = max(1, spare // _PER_CLIENT, spare - upstreams)
        wanted = snapshot.limits.max_connections
        if fit < wanted and self._told != (fit, wanted):
            self._told = (fit, wanted)
            _log.warning(
                "descriptors_too_few",
                limit=self._limit,
                fit=fit,
                max_connections=wanted,
                needed=_OURS + min(wanted * _PER_CLIENT, wanted + upstreams),
                hint="no more clients than fit are admitted; raise the hard limit (ulimit -Hn, LimitNOFILE=), or lower"
                " limits.max_connections",
            )
        return fit


def _upstream_connections(snapshot: Snapshot) -> int:
    """The most there can be, however many clients there are."""
    if any(not upstream.max_inflight for upstream in snapshot.upstreams):
        return sys.maxsize
    return sum(upstream.max_inflight + upstream.max_idle for upstream in snapshot.upstreams)
