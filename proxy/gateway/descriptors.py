"""File descriptors: as many as may be had, and a word where they are too few.

Each client takes one, and its request another one towards an arm. A worker that has run out can neither accept nor
connect, so fewer clients are admitted than would need that (see `admission`).
"""

import resource
import sys
from typing import Final

import structlog

_log = structlog.get_logger()

_PER_CLIENT: Final = 2
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


def clients_that_fit(limit: int) -> int:
    """How many clients a process can serve that may have `limit` descriptors; at least 1."""
    return max(1, (limit - _OURS) // _PER_CLIENT)


def tell_if_few(limit: int, wanted: int) -> None:
    """Log where `wanted` clients, which the configuration admits, do not fit."""
    fit = clients_that_fit(limit)
    if fit < wanted:
        _log.warning(
            "descriptors_too_few",
            limit=limit,
            max_connections=wanted,
            fit=fit,
            needed=wanted * _PER_CLIENT + _OURS,
            hint="only so many clients as fit are admitted; raise the hard limit (ulimit -Hn, LimitNOFILE=), or lower"
            " limits.max_connections",
        )
